"""The training loop: epochs of steps, looks at the validation, and a state that can go on."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from hypergene.errors import HypergeneError
from hypergene.features.device import repeatable
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.training import distributed
from hypergene.training.assembly import Assembly, Loaded, SlideMeans, one_ahead
from hypergene.training.assess import (
    GeneSets,
    choose_blend,
    encode_sections,
    fit_readouts,
    selection_metric,
    validate,
)
from hypergene.training.checkpoint import State, load_state, save_state
from hypergene.training.course import EpochMeans, refuse_not_finite
from hypergene.training.facts import gather_facts
from hypergene.training.fixed import changing, load_changing
from hypergene.training.lora import add_lora, merge_lora
from hypergene.training.modules import ModuleFit
from hypergene.training.objective import Objective
from hypergene.training.recipe import Recipe
from hypergene.training.sampler import balanced_batches, batches_per_epoch
from hypergene.training.section import Section
from hypergene.training.start import start_at_unit_radius
from hypergene.training.steps import Steps
from hypergene.training.targets import Targets

RANK_STRIDE = 1_000_003
"""Between the seeds of two processes."""

Row = dict[str, float | int | str]
Log = Callable[[Row], None]


@dataclass
class Best:
    """The best state seen on the validation sections.

    Attributes
    ----------
    epoch
        Epochs trained until then.
    blend
        Parts of the closed-form readouts in the answer.
    metric
        Mean Pearson over the gene sets; NaN without validation.
    pearson
        Mean Pearson by gene set.
    """

    epoch: int
    blend: Blend
    metric: float = math.nan
    pearson: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Best:
        """Take the fields as a checkpoint or a message between processes has them."""
        return cls(**fields | {"blend": Blend(*fields["blend"])})

    def fields(self) -> dict[str, Any]:
        """Return the fields in plain types."""
        return asdict(self) | {"blend": list(self.blend)}


class Trainer:
    """Trains one model on sections, watching others.

    Under torchrun each process makes a trainer of the same arguments. Each draws its own batches,
    gradients are averaged, and all end with the same weights; the main one alone looks at the
    validation, writes the checkpoint and calls `log`, whose losses are those of its own batches.

    Parameters
    ----------
    model
        A fresh model; trained in place.
    recipe
        How.
    train, validation
        Sections to learn from, and those that choose epoch and blend (may be empty).
    targets
        Gene modules, and the scores of the training sections.
    sets
        Gene sets scored on validation.
    device
        Where.
    seed
        Of batches and views.
    run
        What this run is, in one string: a checkpoint of another run is refused.
    checkpoint
        File of the run's state.
    log
        Called with a row of numbers after each epoch.
    """

    def __init__(
        self,
        model: HyperGene,
        recipe: Recipe,
        train: Sequence[Section],
        validation: Sequence[Section],
        targets: Targets,
        sets: GeneSets,
        *,
        device: torch.device,
        seed: int,
        run: str,
        checkpoint: Path,
        log: Log,
    ) -> None:
        settings = recipe.train
        if settings.encoder == "lora":
            add_lora(model.encoder, settings.lora)
        self.model, self.recipe, self.sets, self.device = model.to(device), recipe, sets, device
        self.train_sections, self.validation_sections = list(train), list(validation)
        self.run_name = f"{run}, processes: {distributed.size()}"
        self.checkpoint, self.log, self.scores = checkpoint, log, targets.scores
        set_modules(self.model, targets.modules)
        self.objective = Objective(self.model, recipe.loss).to(device)
        frozen = settings.encoder == "frozen"
        shared = {id(model.encoder): model.encoder} if frozen else {}
        self.average = copy.deepcopy(self.model, shared).eval().requires_grad_(False)
        self.means = None
        if not frozen:
            self.means = SlideMeans(len(self.train_sections), model.encoder.features, device)
        facts = gather_facts(self.train_sections, targets, recipe.loss, seed)
        self.assembly = Assembly(self.train_sections, facts, model.config, recipe, device)
        drawn = (self.train_sections, settings.slides_per_batch, settings.spots_per_slide)
        steps = settings.epochs * batches_per_epoch(*drawn, distributed.size())
        self.steps = Steps(
            self.model,
            self.average,
            self.objective,
            recipe,
            means=self.means,
            steps=steps,
            device=device,
        )
        self.fixed = self.steps.fixed
        self.generator = torch.Generator().manual_seed(seed + RANK_STRIDE * distributed.rank())
        self.epoch = self.looks_since_best = 0
        self.best: Best | None = None
        self.best_weights: dict[str, Tensor] = {}

    def fit(self, stop_epoch: int | None = None, blend: Blend | None = None) -> Best:
        """Train, and leave the best averaged weights in the model.

        Parameters
        ----------
        stop_epoch
            Stop after so many epochs of the recipe's schedule; None = train until the validation
            no longer improves.
        blend
            Parts of the closed-form readouts where no validation chooses them; None = the default.

        Raises
        ------
        HypergeneError
            Features or losses are not finite, the checkpoint is damaged or of another run, or the
            recipe is deterministic and the device cannot be.
        """
        settings = self.recipe.train
        last = min(stop_epoch or settings.epochs, settings.epochs)
        blend = Blend() if blend is None else blend
        with repeatable(settings.deterministic):
            self._begin()
            off = None if distributed.is_main() else True
            with tqdm(total=last, initial=self.epoch, unit="epoch", disable=off) as bar:
                while self.epoch < last and self.looks_since_best < settings.patience:
                    row = self._epoch()
                    if self.epoch % settings.assess_every == 0 or self.epoch == last:
                        row |= self._assess(last=self.epoch == last, blend=blend)
                        self._save()
                    if distributed.is_main():
                        self.log(row)
                    bar.update()
                    bar.set_postfix(loss=f"{row.get('total', math.nan):.3f}", best=self._best())
        assert self.best is not None  # the last epoch is always assessed
        load_changing(self.model, self.best_weights, self.fixed)
        merge_lora(self.model.encoder)
        self.model.eval()
        return self.best

    def _begin(self) -> None:
        """Go on from the checkpoint; without one let all processes start from the same weights."""
        state = load_state(self.checkpoint, self.run_name)
        distributed.barrier()  # nobody writes the checkpoint before everybody has read it
        if state is None:
            for model in (self.model, self.average):
                distributed.broadcast_(list(changing(model, self.fixed).values()))
            distributed.broadcast_(list(self.objective.state_dict().values()))
            if distributed.rank():  # dropout differs between processes
                torch.manual_seed(torch.initial_seed() + RANK_STRIDE * distributed.rank())
        else:
            self._restore(state)
        self._look_around()
        if state is None and self.model.config.geometry.start == "unit":
            niches = [facts.niche_scores for facts in self.assembly.facts]
            for model in (self.model, self.average):
                start_at_unit_radius(model, self.assembly.encoded, self.scores, niches)
        if state is None and self.model.config.readout.anchor:
            if distributed.is_main():
                encoded = self.assembly.encoded
                fit_readouts(self.average, encoded, self.scores, self.device, only_ridge=True)
            distributed.broadcast_(list(self.average.ridge.buffers()))
            self.model.ridge.load_state_dict(self.average.ridge.state_dict())

    def _look_around(self) -> None:
        """Renew the context of the training spots, as the averaged encoder sees it."""
        encoded = encode_sections(self.average, self.train_sections, self.device)
        refuse_not_finite(encoded)
        self.assembly.see(encoded)

    def _epoch(self) -> Row:
        self.model.train()
        settings, begun = self.recipe.train, time.perf_counter()
        drawn = balanced_batches(
            self.train_sections,
            settings.slides_per_batch,
            settings.spots_per_slide,
            self.generator,
            distributed.size(),
            settings.balance,
        )
        batches = one_ahead(self.assembly.load(batch, self.generator) for batch in drawn)
        means, waited, asked = EpochMeans(), 0.0, begun
        for loaded in batches:
            waited += time.perf_counter() - asked
            means.add(self._step(loaded))
            asked = time.perf_counter()
        self.epoch += 1
        return {
            "epoch": self.epoch,
            **means.row(),
            "lr": self.steps.optimizer.param_groups[0]["lr"],
            **self.steps.diagnose(loaded),
            "data_s": waited,
            "epoch_s": time.perf_counter() - begun,
        }

    def _step(self, loaded: Loaded) -> dict[str, float]:
        try:
            return self.steps.take(loaded)
        except torch.cuda.OutOfMemoryError as error:
            raise HypergeneError(
                f"The device {self.device} is out of memory with {len(loaded.seen)} spots a step.",
                hint="Lower train.spots_per_slide or train.slides_per_batch.",
            ) from error

    def _assess(self, *, last: bool, blend: Blend) -> Row:
        """Renew the context; fit the readouts; look at the validation."""
        self._look_around()
        if not self.validation_sections and not last:
            return {}
        now = Best(self.epoch, blend)
        if distributed.is_main():
            fit_readouts(self.average, self.assembly.encoded, self.scores, self.device)
            if self.validation_sections:
                now = self._validated()
        message = distributed.text_of_main(json.dumps(now.fields()), self.device)
        now = Best.of(json.loads(message))
        fitted = (b for name, b in self.average.named_buffers() if not name.startswith("encoder."))
        distributed.broadcast_(list(fitted))
        self.looks_since_best += 1
        if self.best is None or now.metric > self.best.metric or not self.validation_sections:
            self._keep(now)
            self.looks_since_best = 0
        if not self.validation_sections:
            return {}
        return {
            "validation": now.metric,
            **{f"{name}_share": share for name, share in now.blend._asdict().items()},
            **{f"pearson {name}": value for name, value in now.pearson.items()},
        }

    def _validated(self) -> Best:
        watched = encode_sections(self.average, self.validation_sections, self.device)
        refuse_not_finite(watched)
        genes = self.model.config.genes
        by_blend = validate(self.average, watched, genes, self.sets, self.device)
        blend = choose_blend(by_blend)
        return Best(self.epoch, blend, selection_metric(by_blend[blend]), by_blend[blend])

    def _keep(self, best: Best) -> None:
        self.best = best
        self.average.set_blend(best.blend)
        self.best_weights = {
            name: value.detach().cpu().clone()
            for name, value in changing(self.average, self.fixed).items()
        }

    def _best(self) -> str:
        return "-" if self.best is None else f"{self.best.metric:.3f}@{self.best.epoch}"

    def _save(self) -> None:
        """Write the state: what all processes share, and what each has for itself, by rank."""
        own = {name: distributed.gathered(part, self.device) for name, part in self._own().items()}
        if distributed.is_main():
            state = {
                "run": self.run_name,
                "model": changing(self.model, self.fixed),
                "average": changing(self.average, self.fixed),
                "objective": self.objective.state_dict(),
                "optimizer": self.steps.optimizer.state_dict(),
                "own": own,
                "epoch": self.epoch,
                "step": self.steps.step,
                "looks_since_best": self.looks_since_best,
                "best": None if self.best is None else self.best.fields(),
                "best_weights": self.best_weights,
            }
            save_state(self.checkpoint, state)

    def _own(self) -> dict[str, Tensor]:
        """Return what only this process has: generators, and means of the slides it drew."""
        own = {"generator": self.generator.get_state(), "dropout": torch.get_rng_state()}
        if self.device.type == "cuda":
            own["dropout_cuda"] = torch.cuda.get_rng_state(self.device)
        if self.means is not None:
            own |= {"means": self.means.values, "seen": self.means.seen}
        return own

    def _restore(self, state: State) -> None:
        load_changing(self.model, state["model"], self.fixed)
        load_changing(self.average, state["average"], self.fixed)
        self.objective.load_state_dict(state["objective"])
        self.steps.optimizer.load_state_dict(state["optimizer"])
        own = {name: parts[distributed.rank()] for name, parts in state["own"].items()}
        self.generator.set_state(own["generator"])
        torch.set_rng_state(own["dropout"])
        if self.device.type == "cuda" and "dropout_cuda" in own:
            torch.cuda.set_rng_state(own["dropout_cuda"], self.device)
        if self.means is not None:
            self.means.values, self.means.seen = own["means"].to(self.device), own["seen"]
        self.epoch, self.steps.step = state["epoch"], state["step"]
        self.looks_since_best = state["looks_since_best"]
        self.best = None if state["best"] is None else Best.of(state["best"])
        self.best_weights = state["best_weights"]


def set_modules(model: HyperGene, modules: ModuleFit) -> None:
    """Put gene modules into a model."""
    genes = model.modules_to_genes
    genes.mean.copy_(torch.from_numpy(modules.mean))
    genes.loadings.copy_(torch.from_numpy(modules.loadings))
    genes.residual_variance.copy_(torch.from_numpy(modules.residual_variance))
