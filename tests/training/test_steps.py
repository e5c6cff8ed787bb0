from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.run import EVERYTHING, tiny_trainer
from torch import Tensor

from hypergene.errors import HypergeneError
from hypergene.training import steps as steps_module
from hypergene.training.assembly import Loaded
from hypergene.training.sampler import balanced_batches
from hypergene.training.trainer import Trainer

Break = Callable[[Trainer, Loaded], Loaded]


def begun(folder: Path, *overrides: str) -> tuple[Trainer, list[Loaded]]:
    """A trainer that is about to take its first step, and the batches of its first epoch."""
    trainer = tiny_trainer(folder, *overrides)
    trainer._begin()
    trainer.model.train()
    batches = balanced_batches(trainer.train_sections, 2, 12, trainer.generator)
    return trainer, [trainer.assembly.load(batch, trainer.generator) for batch in batches]


def state(trainer: Trainer) -> dict[str, Tensor]:
    """Everything that a step changes."""
    parts = {
        f"{whose}.{name}": value
        for whose, model in (("model", trainer.model), ("average", trainer.average))
        for name, value in [*model.named_parameters(), *model.encoder.named_buffers()]
    }
    parts |= {f"objective.{name}": p for name, p in trainer.objective.named_parameters()}
    for number, moments in enumerate(trainer.steps.optimizer.state.values()):
        parts |= {f"moment {number} {name}": value for name, value in moments.items()}
    if trainer.means is not None:
        parts |= {"means": trainer.means.values, "seen": trainer.means.seen}
    return {name: value.detach().clone() for name, value in parts.items()}


def assert_untouched(trainer: Trainer, before: dict[str, Tensor]) -> None:
    after = state(trainer)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert bool(value.isfinite().all()), name
        assert torch.equal(value, before[name]), name


class FiniteWithBadGradient(torch.autograd.Function):
    """Zero, and a gradient that is none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.new_full(ctx.shape, torch.nan)


def break_term(trainer: Trainer, loaded: Loaded) -> Loaded:
    whole = trainer.objective._terms["hea"]
    trainer.objective._terms["hea"] = lambda seen: whole(seen) * torch.nan
    return loaded


def break_gradient(trainer: Trainer, loaded: Loaded) -> Loaded:
    whole = trainer.objective._terms["intra"]
    weight = trainer.model.project[0].weight
    trainer.objective._terms["intra"] = lambda seen: (
        whole(seen) + FiniteWithBadGradient.apply(weight)
    )
    return loaded


def break_pixels(trainer: Trainer, loaded: Loaded) -> Loaded:
    loaded.seen[3].fill_(torch.nan)
    return loaded


def break_means(trainer: Trainer, loaded: Loaded) -> Loaded:
    """Let the mean of the second slide overflow: each of its features is finite."""
    assert trainer.means is not None
    centred = trainer.means.centred

    def overflowing(features: Tensor, parts: Any) -> tuple[Tensor, list[Tensor]]:
        found, means = centred(features, parts)
        return found, [means[0], means[1] * torch.inf]

    trainer.means.centred = overflowing  # type: ignore[method-assign]
    return loaded


def break_scores(trainer: Trainer, loaded: Loaded) -> Loaded:
    complete = loaded.complete

    def without_scores(features: Tensor) -> Any:
        batch = complete(features)
        return batch._replace(scores=batch.scores * torch.inf)

    return loaded._replace(complete=without_scores)


BREAKS = [
    (break_term, "hea"),
    (break_gradient, "the gradient of intra"),
    (break_pixels, "the features"),
    (break_means, "the slide means"),
    (break_scores, "the targets, regression"),
]


@pytest.mark.parametrize(("break_it", "named"), BREAKS)
def test_nothing_that_is_not_finite_gets_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: Break, named: str
) -> None:
    trainer, batches = begun(tmp_path, *EVERYTHING)
    trainer.steps.take(batches[0])
    before = state(trainer)
    with caplog.at_level(logging.WARNING):
        row = trainer.steps.take(break_it(trainer, batches[1]))
    assert row == {"skipped": 1.0}
    assert_untouched(trainer, before)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"Step 2 is left out: {named}")
    assert batches[1].complete(torch.zeros(24, 16)).spots in message
    assert "A1 spots" in message and "B1 spots" in message


def test_without_the_guard_a_bad_gradient_is_caught_and_named_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, batches = begun(tmp_path, *EVERYTHING, "loss.guard=false")
    before = state(trainer)
    trainer.steps.take(break_gradient(trainer, batches[0]))
    assert_untouched(trainer, before)
    assert "the gradient of intra" in caplog.text


def test_looking_for_the_guilty_term_draws_nothing_at_random(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path, *EVERYTHING)
    drawn = []
    for break_it in (break_term, break_gradient):
        torch.manual_seed(0)
        trainer.steps.take(break_it(trainer, batches[0]))
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_training_goes_on_after_a_bad_step(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path)
    broken = copy.deepcopy(batches[0].seen)
    broken[0] = torch.nan
    trainer.steps.take(batches[0]._replace(seen=broken))
    before = state(trainer)
    row = trainer.steps.take(batches[0])
    assert row["skipped"] == 0.0
    after = state(trainer)
    assert not torch.equal(before["model.project.0.weight"], after["model.project.0.weight"])
    assert all(bool(value.isfinite().all()) for value in after.values())


def test_only_bad_steps_in_a_row_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "BAD_STEPS", 2)
    trainer, batches = begun(tmp_path)
    good = batches[0]
    bad = good._replace(seen=torch.full_like(good.seen, torch.nan))
    for loaded in (bad, good, bad, good, bad):
        trainer.steps.take(loaded)
    with pytest.raises(HypergeneError, match="Training stopped at step 6") as caught:
        trainer.steps.take(bad)
    assert "the features" in caught.value.message and "A1 spots" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("guard", ["true", "false"])
def test_the_gradient_that_is_applied_is_never_longer_than_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    clip = 0.05
    trainer, batches = begun(tmp_path, *EVERYTHING, f"loss.guard={guard}", f"train.clip={clip}")
    applied = []
    step = trainer.steps.optimizer.step

    def watched() -> None:
        gradients = [p.grad for p in trainer.steps.parameters if p.grad is not None]
        applied.append(float(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients]))))
        step()

    monkeypatch.setattr(trainer.steps.optimizer, "step", watched)
    rows = [trainer.steps.take(loaded) for loaded in batches]
    assert len(applied) == len(rows) == 3
    assert all(row["gradient_norm"] > 2 * clip for row in rows)  # so it had something to clip
    assert all(norm == pytest.approx(clip, rel=1e-3) for norm in applied)
    assert all(norm <= clip * (1 + 1e-6) for norm in applied)


def test_a_short_gradient_is_not_made_longer(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path, "train.clip=1e6")
    norm = trainer.steps.take(batches[0])["gradient_norm"]
    gradients = [p.grad for p in trainer.steps.parameters if p.grad is not None]
    found = torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients]))
    assert float(found) == pytest.approx(norm, rel=1e-5)


def test_with_the_guard_the_regression_has_its_way_on_what_is_shared(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path, "loss.guard=true", "loss.hca.weight=1")
    whole = trainer.objective._terms["hca"]
    regression = trainer.objective._terms["regression"]
    # The auxiliary term is now the regression's enemy.
    trainer.objective._terms["hca"] = lambda seen: whole(seen) * 0 - 0.5 * regression(seen)
    found: dict[str, list[Tensor | None]] = {}
    gradients = trainer.steps._gradients

    def kept(loss: Tensor, *, keep_graph: bool) -> Any:
        found["regression" if keep_graph else "auxiliary"] = gradients(loss, keep_graph=keep_graph)
        return found["regression" if keep_graph else "auxiliary"]

    trainer.steps._gradients = kept  # type: ignore[method-assign]
    row = trainer.steps.take(batches[0])
    assert row["conflict_rate"] == 1.0
    r = [g for g, a in zip(*found.values(), strict=True) if g is not None and a is not None]
    applied = [
        p.grad
        for p, g, a in zip(trainer.steps.parameters, *found.values(), strict=True)
        if g is not None and a is not None
    ]
    slope = sum(float((x * y).sum()) for x, y in zip(r, applied, strict=True))  # type: ignore[operator]
    length = sum(float(x.square().sum()) for x in r)
    clip = min(1.0, trainer.recipe.train.clip / row["gradient_norm"])
    assert slope == pytest.approx(clip * length, rel=1e-2)


def test_conflicts_are_counted_only_where_they_are_looked_for(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path, "loss.guard=false")
    assert "conflict_rate" not in trainer.steps.take(batches[0])


def test_the_raw_terms_are_reported_and_their_weighted_sum(tmp_path: Path) -> None:
    trainer, batches = begun(tmp_path, *EVERYTHING)
    row = trainer.steps.take(batches[0])
    weights = trainer.objective.weights(0.0)
    terms = {name.removeprefix("loss/") for name in row if name.startswith("loss/")}
    assert terms == set(weights) and len(terms) == 11
    total = sum(weight * row[f"loss/{name}"] for name, weight in weights.items())
    assert row["total"] == pytest.approx(total, rel=1e-5)


def test_the_precision_of_the_recipe_is_that_of_the_encoder_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        trainer, batches = begun(tmp_path, f"train.precision={precision}")
        seen: list[torch.dtype] = []
        first = next(m for m in trainer.model.encoder.modules() if isinstance(m, torch.nn.Conv2d))
        hook = first.register_forward_hook(
            lambda module, given, out, seen=seen: seen.append(out.dtype)
        )
        batch, _ = trainer.steps._batch(batches[0])
        reading = trainer.model(batch.features, batch.around)
        hook.remove()
        assert seen == [dtype]
        assert batch.features.dtype == reading.image.spot.dtype == torch.float32
        assert reading.head.mean.dtype == torch.float32
