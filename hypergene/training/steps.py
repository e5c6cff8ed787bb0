"""One step of training: from a batch to changed weights, or to a step left out and said why."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypergene.errors import HypergeneError
from hypergene.features.device import encoder_precision
from hypergene.model.network import HyperGene
from hypergene.training import distributed
from hypergene.training.assembly import Loaded, SlideMeans
from hypergene.training.batch import Batch
from hypergene.training.fixed import fixed_names
from hypergene.training.guard import guarded
from hypergene.training.objective import Objective, Terms
from hypergene.training.optimiser import (
    average_decay,
    average_into,
    parameter_groups,
    rate_factor,
)
from hypergene.training.recipe import Recipe

log = logging.getLogger(__name__)

BAD_STEPS = 10
"""So many steps in a row that are not finite end the training."""


class Steps:
    """Takes the steps of a run.

    Nothing that is not finite gets into the weights, their average, the statistics of the encoder
    or the slides' means: such a step is left out as a whole, in all processes at once.

    Parameters
    ----------
    model, average
        The model in training, and its averaged twin.
    objective
        What is minimised.
    recipe
        How.
    means
        Running means of the slides; None with a frozen encoder, whose batches come centred.
    steps
        Steps of the recipe's whole schedule.
    device
        Where.

    Attributes
    ----------
    step
        Steps so far, with those left out.
    fixed
        Names in the model's state dict that no step changes.
    """

    def __init__(
        self,
        model: HyperGene,
        average: HyperGene,
        objective: Objective,
        recipe: Recipe,
        *,
        means: SlideMeans | None,
        steps: int,
        device: torch.device,
    ) -> None:
        self.model, self.average, self.objective = model, average, objective
        self.recipe, self.means = recipe, means
        self.steps, self.device = steps, device
        groups = parameter_groups(model, recipe, objective)
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self.fixed = fixed_names(model, frozen=recipe.train.encoder == "frozen")
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.train.lr)
        self.step = self._bad_in_a_row = 0

    @property
    def progress(self) -> float:
        """Share of the schedule that is done, 0..1."""
        return min(1.0, self.step / self.steps)

    def take(self, loaded: Loaded) -> dict[str, float]:
        """Take one step.

        Returns
        -------
        dict
            Raw terms as ``loss/<term>``, their weighted sum ``total``, ``gradient_norm`` before
            clipping, ``conflict_rate`` (0 or 1) with the guard on, and ``skipped`` (0 or 1); of a
            step left out the last alone.

        Raises
        ------
        HypergeneError
            Too many steps in a row were not finite.
        """
        train, progress = self.recipe.train, self.progress
        rate = train.lr * rate_factor(self.step, self.steps, train.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        statistics = [buffer.clone() for buffer in self._statistics()]
        batch, means = self._batch(loaded)
        reading = self.model(batch.features, batch.around)
        terms = self.objective(self.model, reading, batch, progress)
        wrong = _not_finite(batch, means, terms)
        conflict = self._set_gradients(terms, broken=bool(wrong))
        norm = float(nn.utils.clip_grad_norm_(self.parameters, train.clip))
        self.step += 1
        if not torch.isfinite(torch.tensor(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            for buffer, before in zip(self._statistics(), statistics, strict=True):
                buffer.copy_(before)
            self._leave_out(wrong or self._wrong_gradients(batch, progress), batch)
            return {"skipped": 1.0}
        self._bad_in_a_row = 0
        self.optimizer.step()
        distributed.average_(self._statistics())
        if self.means is not None:
            self.means.keep(loaded.parts, means)
        average_into(self.average, self.model, average_decay(self.step, train.ema), self.fixed)
        return _row(terms) | conflict | {"gradient_norm": norm, "skipped": 0.0}

    @torch.no_grad()
    def diagnose(self, loaded: Loaded) -> dict[str, float]:
        """Say how the model uses the shared space (:meth:`Objective.diagnostics`) on a batch."""
        training = self.model.training
        self.model.eval()
        batch, _ = self._batch(loaded)
        row = self.objective.diagnostics(
            self.model, self.model(batch.features, batch.around), batch
        )
        self.model.train(training)
        return row

    def _batch(self, loaded: Loaded) -> tuple[Batch, list[Tensor]]:
        """Complete a batch; with an encoder in training, and the means its slides would have."""
        if self.means is None:
            return loaded.complete(loaded.seen), []
        precision = self.recipe.train.precision
        with encoder_precision(self.device, training=True, precision=precision):
            features = self.model.encode(loaded.seen)
        centred, means = self.means.centred(features, loaded.parts)
        return loaded.complete(centred), means

    def _set_gradients(self, terms: Terms, *, broken: bool) -> dict[str, float]:
        """Give the parameters the gradient that all processes agree on; NaN if one is `broken`."""
        losses = [terms.total]
        if self.recipe.loss.guard and terms.regression is not None and terms.auxiliary is not None:
            losses = [terms.regression, terms.auxiliary]
        parts = [
            distributed.averaged(
                [torch.full_like(p, torch.nan) for p in self.parameters]
                if broken
                else self._gradients(loss, keep_graph=loss is not losses[-1]),
                self.parameters,
            )
            for loss in losses
        ]
        gradients, conflict = parts[0], {}
        if len(parts) == 2:
            gradients, opposed = guarded(*parts)
            conflict = {"conflict_rate": float(opposed)}
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return conflict

    def _gradients(self, loss: Tensor, *, keep_graph: bool) -> Sequence[Tensor | None]:
        return torch.autograd.grad(
            loss, self.parameters, retain_graph=keep_graph, allow_unused=True
        )

    def _statistics(self) -> list[Tensor]:
        """Return what an encoder in training gathers by being run: running means of norms."""
        return [] if self.means is None else list(self.model.encoder.buffers())

    def _wrong_gradients(self, batch: Batch, progress: float) -> list[str]:
        """Say of which terms the gradient is not finite, by looking at each of them alone."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            features = batch.features.detach().requires_grad_()
            reading = self.model(features, batch.around)
            terms = self.objective(self.model, reading, batch._replace(features=features), progress)
            reached = [features, *self.parameters]
            wrong = []
            for name, value in terms.values.items():
                if not value.requires_grad:
                    continue
                found = torch.autograd.grad(value, reached, retain_graph=True, allow_unused=True)
                if not all(g is None or bool(g.isfinite().all()) for g in found):
                    wrong.append(f"the gradient of {name}")
        elsewhere = "the gradient" if distributed.size() == 1 else "the gradient of some process"
        return wrong or [elsewhere]

    def _leave_out(self, wrong: Sequence[str], batch: Batch) -> None:
        self._bad_in_a_row += 1
        what = f"{', '.join(wrong)} {'was' if len(wrong) == 1 else 'were'} not finite"
        log.warning("Step %d is left out: %s (%s).", self.step, what, batch.spots)
        if self._bad_in_a_row >= BAD_STEPS:
            raise HypergeneError(
                f"Training stopped at step {self.step}: {what} ({batch.spots}), and neither was "
                f"any of the last {BAD_STEPS} steps.",
                hint="Lower train.lr, or the weight of that term.",
            )


def _not_finite(batch: Batch, means: Sequence[Tensor], terms: Terms) -> list[str]:
    """Name what is not finite of a batch's inputs and terms, with one wait for the GPU."""
    inputs = {
        "the features": [batch.features],
        "the context": [batch.around.context],
        "the slide means": means,
        "the targets": [batch.scores, batch.niche_scores],
    }
    checked = {name: tensors for name, tensors in inputs.items() if tensors}
    checked |= {name: [value] for name, value in terms.values.items()}
    sound = [torch.stack([t.isfinite().all() for t in ts]).all() for ts in checked.values()]
    return [
        name for name, fine in zip(checked, torch.stack(sound).tolist(), strict=True) if not fine
    ]


def _row(terms: Terms) -> dict[str, float]:
    values = torch.stack([terms.total, *terms.values.values()]).detach().tolist()
    return dict(zip(["total", *(f"loss/{name}" for name in terms.values)], values, strict=True))
