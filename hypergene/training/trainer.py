"""The training loop: encoder, niche, alignment and head together, from tiles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import block_diag
from torch import Tensor, nn
from tqdm import tqdm

from hypergene.errors import HypergeneError
from hypergene.features.context import as_sparse
from hypergene.features.device import encoder_precision
from hypergene.model.network import HyperGene, Surroundings
from hypergene.training.assess import (
    EncodedSection,
    GeneSets,
    choose_share,
    encode_sections,
    fit_readout,
    selection_metric,
    validate,
)
from hypergene.training.augment import random_views
from hypergene.training.checkpoint import State, load_state, save_state
from hypergene.training.fixed import average_into, changing, fixed_names, load_changing
from hypergene.training.lora import add_lora, merge_lora
from hypergene.training.modules import ModuleFit
from hypergene.training.objective import objective
from hypergene.training.recipe import Recipe
from hypergene.training.sampler import balanced_batches, batches_per_epoch
from hypergene.training.section import Section, SectionTiles
from hypergene.training.targets import Targets

MOMENTUM = 0.9
"""Of a slide's running mean features, per batch in which the slide occurs."""
BAD_STEPS = 10
"""So many steps in a row that give no finite loss end the training."""

Log = Callable[[dict[str, float | int | str]], None]


@dataclass
class Best:
    """The best state seen on the validation sections.

    Attributes
    ----------
    epoch
        Epochs trained until then.
    share
        Part of the closed-form readout in the blend.
    metric
        Mean Pearson over the gene sets; NaN without validation.
    pearson
        Mean Pearson by gene set.
    """

    epoch: int
    share: float
    metric: float = math.nan
    pearson: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains one model on sections, watching others.

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
        if recipe.train.encoder == "lora":
            add_lora(model.encoder, recipe.train.lora)
        self.model, self.recipe, self.sets, self.device = model.to(device), recipe, sets, device
        self.train_sections, self.validation_sections = list(train), list(validation)
        self.run_name, self.checkpoint, self.log = run, checkpoint, log
        self.generator = torch.Generator().manual_seed(seed)
        set_modules(self.model, targets.modules)
        frozen = recipe.train.encoder == "frozen"
        shared = {id(model.encoder): model.encoder} if frozen else {}
        self.average = copy.deepcopy(self.model, shared).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, recipe), lr=recipe.train.lr)
        self.fixed = fixed_names(self.model, frozen=frozen)
        self.scores = targets.scores
        self.niche_scores = [
            (s.neighbours @ scores).astype(np.float32)
            for s, scores in zip(self.train_sections, self.scores, strict=True)
        ]
        self.means = torch.full((len(self.train_sections), model.encoder.features), math.nan)
        self.epoch = self.step = self.bad_steps = 0
        self.best: Best | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.looks_since_best = 0
        self.steps_per_epoch = batches_per_epoch(
            self.train_sections, recipe.train.slides_per_batch, recipe.train.spots_per_slide
        )
        self._encoded: list[EncodedSection] = []

    def fit(self, stop_epoch: int | None = None, share: float = 0.5) -> Best:
        """Train, and leave the best averaged weights in the model.

        Parameters
        ----------
        stop_epoch
            Stop after so many epochs of the recipe's schedule; None = train until the validation
            no longer improves.
        share
            Part of the closed-form readout where no validation chooses it.

        Raises
        ------
        HypergeneError
            The loss stays non-finite, or the checkpoint is damaged or of another run.
        """
        settings = self.recipe.train
        last = min(stop_epoch or settings.epochs, settings.epochs)
        state = load_state(self.checkpoint, self.run_name)
        if state is not None:
            self._restore(state)
        self._encoded = encode_sections(self.average, self.train_sections, self.device)
        with tqdm(total=last, initial=self.epoch, unit="epoch", disable=None) as bar:
            while self.epoch < last and self.looks_since_best < settings.patience:
                row = self._epoch()
                if self.epoch % settings.assess_every == 0 or self.epoch == last:
                    row |= self._assess(last=self.epoch == last, share=share)
                    save_state(self.checkpoint, self._state())
                self.log(row)
                bar.update()
                bar.set_postfix(loss=f"{row.get('loss', math.nan):.3f}", best=self._best_text())
        assert self.best is not None  # the last epoch is always assessed
        load_changing(self.model, self.best_weights, self.fixed)
        merge_lora(self.model.encoder)
        self.model.eval()
        return self.best

    def _epoch(self) -> dict[str, float | int | str]:
        self.model.train()
        sums: dict[str, float] = {}
        batches = 0
        settings = self.recipe.train
        for batch in balanced_batches(
            self.train_sections,
            settings.slides_per_batch,
            settings.spots_per_slide,
            self.generator,
        ):
            for name, value in self._train_step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            batches += 1
        self.epoch += 1
        space = self.model.space
        return {
            "epoch": self.epoch,
            **{name: value / batches for name, value in sums.items()},
            "lr": self.optimizer.param_groups[0]["lr"],
            "curvature": space.curvature.item(),
            "temperature": space.temperature.item(),
        }

    def _train_step(self, batch: list[tuple[int, Tensor]]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.train.lr * self._schedule()
        terms = self._losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if not self._is_finite(terms):
            return {}
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.train.clip)
        if not self._is_finite({"the gradient": norm}):
            return {}
        self.bad_steps = 0
        self.optimizer.step()
        self._update_average()
        return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}

    def _losses(self, batch: list[tuple[int, Tensor]]) -> dict[str, Tensor]:
        rows = [(number, spots.numpy()) for number, spots in batch]
        features = self._features(rows)
        around = self._around(rows)
        slide = torch.cat([torch.full((len(spots),), number) for number, spots in rows])
        self._update_means(features.detach(), slide)
        centered = features - self.means.to(self.device)[slide]
        reading = self.model(centered, around)

        def gathered(tables: Sequence[np.ndarray]) -> Tensor:
            parts = [torch.from_numpy(tables[number][spots]) for number, spots in rows]
            return torch.cat(parts).float().to(self.device)

        return objective(
            self.model,
            reading,
            gathered(self.scores),
            gathered(self.niche_scores),
            slide.to(self.device),
            gathered([section.xy_um for section in self.train_sections]),
            self.recipe.loss,
        )

    def _features(self, rows: list[tuple[int, np.ndarray]]) -> Tensor:
        parts = []
        for number, spots in rows:
            images = self.train_sections[number].images
            if isinstance(images, SectionTiles):
                parts.append(images.wide[spots])
            else:
                parts.append(images.drawn(spots, self.generator))
        batch = torch.from_numpy(np.concatenate(parts)).to(self.device)
        if self.recipe.train.encoder == "frozen":
            return batch
        pixels = batch.permute(0, 1, 4, 2, 3)
        config = self.model.config.encoder
        views = random_views(pixels, config.tile_px, self.recipe.augment, self.generator)
        with encoder_precision(self.device, training=True):
            return self.model.encode(views)

    def _around(self, rows: list[tuple[int, np.ndarray]]) -> Surroundings:
        """Contexts of several slides under one another, so that their rings lie in blocks."""
        contexts = [torch.from_numpy(self._encoded[n].context.features) for n, _ in rows]
        blocks = [[ring[spots] for ring in self.train_sections[n].rings] for n, spots in rows]
        joined = tuple(
            as_sparse(block_diag(ring, format="coo")).to(self.device)
            for ring in zip(*blocks, strict=True)
        )
        return Surroundings(torch.cat(contexts).to(self.device), joined)

    def _update_means(self, features: Tensor, slide: Tensor) -> None:
        for number in slide.unique().tolist():
            now = features[(slide == number).to(features.device)].mean(0).cpu()
            old = self.means[number]
            first = bool(old.isnan().any())
            self.means[number] = now if first else MOMENTUM * old + (1 - MOMENTUM) * now

    def _is_finite(self, terms: dict[str, Tensor]) -> bool:
        wrong = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
        if not wrong:
            return True
        self.bad_steps += 1
        if self.bad_steps >= BAD_STEPS:
            raise HypergeneError(
                f"Training stopped in epoch {self.epoch + 1}: {', '.join(wrong)} was not finite "
                f"in {BAD_STEPS} steps in a row.",
                hint="Lower train.lr, or the weight of that term.",
            )
        return False

    def _schedule(self) -> float:
        """Factor on the learning rate: linear warm-up, then a half cosine to 1 %."""
        total = self.recipe.train.epochs * self.steps_per_epoch
        warm = max(1, round(self.recipe.train.warmup * total))
        if self.step < warm:
            return (self.step + 1) / warm
        progress = (self.step - warm) / max(1, total - warm)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def _update_average(self) -> None:
        # Young averages forget fast, or the random start would stay in them for long.
        decay = min(self.recipe.train.ema, (1 + self.step) / (10 + self.step))
        average_into(self.average, self.model, decay, self.fixed)

    def _assess(self, *, last: bool, share: float) -> dict[str, float | int | str]:
        """Renew the context from the averaged encoder; fit the readout; look at the validation."""
        self._encoded = encode_sections(self.average, self.train_sections, self.device)
        if not self.validation_sections and not last:
            return {}
        fit_readout(self.average, self._encoded, self.scores, self.device)
        if not self.validation_sections:
            self._keep(Best(self.epoch, share))
            return {}
        watched = encode_sections(self.average, self.validation_sections, self.device)
        genes = self.model.config.genes
        by_share = validate(self.average, watched, genes, self.sets, self.device)
        share = choose_share(by_share)
        now = Best(self.epoch, share, selection_metric(by_share[share]), by_share[share])
        self.looks_since_best += 1
        if self.best is None or now.metric > self.best.metric:
            self._keep(now)
            self.looks_since_best = 0
        return {
            "validation": now.metric,
            "ridge_share": share,
            **{f"pearson {name}": value for name, value in now.pearson.items()},
        }

    def _keep(self, best: Best) -> None:
        self.best = best
        self.average.ridge.share.fill_(best.share)
        self.best_weights = {
            name: value.detach().cpu().clone()
            for name, value in changing(self.average, self.fixed).items()
        }

    def _best_text(self) -> str:
        return "-" if self.best is None else f"{self.best.metric:.3f}@{self.best.epoch}"

    def _state(self) -> State:
        return {
            "run": self.run_name,
            "model": changing(self.model, self.fixed),
            "average": changing(self.average, self.fixed),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": self._cuda_state(),
            "means": self.means,
            "epoch": self.epoch,
            "step": self.step,
            "looks_since_best": self.looks_since_best,
            "best": None if self.best is None else vars(self.best),
            "best_weights": self.best_weights,
        }

    def _cuda_state(self) -> Tensor | None:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    def _restore(self, state: State) -> None:
        load_changing(self.model, state["model"], self.fixed)
        load_changing(self.average, state["average"], self.fixed)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["dropout"])
        if self.device.type == "cuda" and state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"], self.device)
        self.means = state["means"]
        self.epoch, self.step = state["epoch"], state["step"]
        self.looks_since_best = state["looks_since_best"]
        self.best = None if state["best"] is None else Best(**state["best"])
        self.best_weights = state["best_weights"]


def set_modules(model: HyperGene, modules: ModuleFit) -> None:
    """Put gene modules into a model."""
    genes = model.modules_to_genes
    genes.mean.copy_(torch.from_numpy(modules.mean))
    genes.loadings.copy_(torch.from_numpy(modules.loadings))
    genes.residual_variance.copy_(torch.from_numpy(modules.residual_variance))


def parameter_groups(model: HyperGene, recipe: Recipe) -> list[dict[str, Any]]:
    """Weights with decay; biases, norms and the scalars of the geometry without.

    A frozen encoder is in neither, and gets no gradient; of one with adapters, they alone are.
    """
    if recipe.train.encoder != "lora":
        model.encoder.requires_grad_(recipe.train.encoder == "train")
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {
            "params": [p for p in trained if p.dim() > 1],
            "weight_decay": recipe.train.weight_decay,
        },
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
