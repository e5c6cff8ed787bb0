"""Targets are made of training tables, denoised or not, one slide at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from hypergene.features.cache import ArrayCache
from hypergene.training import targets as module
from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit
from hypergene.training.recipe import TargetChoice
from hypergene.training.targets import Targets, build_targets

KINDS = ("none", "modules", "neighbours", "completion")


@pytest.fixture
def slides(as_expression: Callable[..., Expression]) -> list[Expression]:
    """Two slides on a line of spots, each next to two others, of two programmes and noise."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 40))
    line = sparse.diags_array([np.ones(29), np.ones(30), np.ones(29)], offsets=[-1, 0, 1])
    line = sparse.csr_matrix(sparse.diags_array(1 / line.sum(1)) @ line)
    made = []
    for number in range(2):
        level = np.cumsum(rng.normal(size=(30, 2)), 0) / 5
        rate = np.exp(0.3 * level @ loadings)
        one = as_expression(np.log1p(rng.poisson(rate)))
        made.append(replace(one, name=str(number), fingerprint=str(number), around=lambda: line))
    return made


@pytest.fixture
def build(slides: list[Expression], tmp_path: Path) -> Callable[..., Targets]:
    def run(denoise: str = "none", **more: object) -> Targets:
        choice = TargetChoice.model_validate({"denoise": denoise})
        return build_targets(slides, 3, choice, ArrayCache(tmp_path / "cache"), **more)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_every_spot_gets_its_scores(build, kind: str) -> None:
    built = build(kind)
    assert [scores.shape for scores in built.scores] == [(30, 3), (30, 3)]
    assert all(np.isfinite(scores).all() for scores in built.scores)
    np.testing.assert_allclose(np.concatenate(built.scores).var(0), 1, atol=1e-3)


def test_neighbours_make_the_targets_smoother(build) -> None:
    def roughness(kind: str) -> float:
        return float(np.mean([np.square(np.diff(s, axis=0)).mean() for s in build(kind).scores]))

    assert roughness("neighbours") < 0.8 * roughness("none")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_spread_is_that_of_what_is_measured_and_not_of_smooth_targets(build, kind: str) -> None:
    plain, denoised = build().modules, build(kind).modules
    np.testing.assert_array_equal(denoised.mean, plain.mean)

    def total(fit: ModuleFit) -> np.ndarray:
        return np.square(fit.loadings).sum(0) + fit.residual_variance

    assert total(denoised).mean() > 0.95 * total(plain).mean()


def test_counts_without_a_slide_take_part_in_the_modules_alone(
    build, slides: list[Expression]
) -> None:
    more = replace(slides[1], fingerprint="more", tables=replace_log(slides[1]))
    alone, joined = build(), build(counts_only=[more])
    assert len(joined.scores) == 2
    assert not np.allclose(abs(alone.modules.loadings), abs(joined.modules.loadings), atol=1e-3)


def replace_log(slide: Expression) -> object:
    table = slide.log()[:, ::-1].tocsr()
    return type(slide.tables)(table, slide.counts())


def test_what_was_denoised_once_comes_from_the_cache(
    build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build("neighbours")

    monkeypatch.setattr(module, "fit_denoiser", lambda *_, **__: pytest.fail("fitted again"))
    again = build("neighbours")
    for left, right in zip(first.scores, again.scores, strict=True):
        assert left.tobytes() == right.tobytes()


def test_another_seed_or_cohort_is_denoised_anew(build, slides: list[Expression], tmp_path) -> None:
    build("neighbours")
    entries = len(list((tmp_path / "cache").glob("*.h5")))
    build("neighbours", seed=1)
    build("neighbours", counts_only=[replace(slides[0], fingerprint="more")])
    assert len(list((tmp_path / "cache").glob("*.h5"))) == entries + 2 + 3
