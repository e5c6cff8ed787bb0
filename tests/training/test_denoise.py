"""A denoiser lends strength within a slide, learns from training slides alone, invents no gene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hypergene.spots import rings
from hypergene.training.denoise import fit_denoiser
from hypergene.training.expression import Expression, average_with

KINDS = ("none", "modules", "neighbours", "completion")
GENES = 40


@pytest.fixture(scope="module")
def slide(as_expression: Callable[..., Expression]) -> Callable[..., Expression]:
    """A square of spots; what is counted follows a slope over them, and two programmes of genes."""

    def make(seed: int, side: int = 6, missing: tuple[int, ...] = ()) -> Expression:
        rng = np.random.default_rng(seed)
        place = np.stack(np.divmod(np.arange(side * side), side), 1).astype(float)
        programmes = np.random.default_rng(99).normal(size=(2, GENES))
        level = place / max(side - 1, 1) - 0.5
        log = np.log1p(rng.poisson(np.exp(level @ programmes)))
        columns = np.arange(GENES)
        columns[list(missing)] = -1
        near = average_with(rings(place, place, (0.0, 1.25))[0])
        made = as_expression(log, columns=columns)
        return replace(made, name=f"slide {seed}", around=lambda: near)

    return make


def changed(slide: Expression) -> Expression:
    """Other expression on the same spots."""
    table = sparse.csr_matrix(slide.tables.log()[::-1] * np.float32(2))
    return replace(slide, tables=replace(slide.tables, log_table=table))


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_dense_and_of_every_gene(slide, kind: str) -> None:
    one = slide(0, missing=(3,))
    targets = fit_denoiser(kind, [one, slide(1)], seed=0, rank=4)(one)
    assert targets.shape == (36, GENES) and targets.dtype == np.float32
    assert np.isfinite(targets).all()


def test_none_changes_nothing(slide) -> None:
    one = slide(0)
    np.testing.assert_array_equal(fit_denoiser("none", [one], seed=0)(one), one.dense())


@pytest.mark.parametrize("kind", KINDS)
def test_a_slide_is_denoised_by_itself(slide, kind: str) -> None:
    """Nothing of another slide enters its targets, but through what was fitted."""
    one, other = slide(0), slide(1)
    denoise = fit_denoiser(kind, [one, other], seed=0, rank=4)
    before = denoise(one)
    denoise(changed(other))
    np.testing.assert_array_equal(denoise(one), before)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), own=st.floats(0, 1))
def test_neighbours_of_another_slide_never_enter(slide, seed: int, own: float) -> None:
    one, other = slide(seed), slide(seed + 1)
    with_one = fit_denoiser("neighbours", [one, other], seed=0, own=own)(one)
    with_another = fit_denoiser("neighbours", [one, changed(other)], seed=0, own=own)(one)
    np.testing.assert_array_equal(with_one, with_another)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slide_that_is_tested_changes_no_denoiser(slide, kind: str) -> None:
    train, tested = [slide(0), slide(1)], slide(2)
    denoise = fit_denoiser(kind, train, seed=0, rank=4)
    before = denoise(train[0])
    of_tested, of_changed = denoise(tested), denoise(changed(tested))
    assert not np.array_equal(of_tested, of_changed)
    np.testing.assert_array_equal(denoise(train[0]), before)
    again = fit_denoiser(kind, train, seed=0, rank=4)
    np.testing.assert_array_equal(again(train[0]), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_targets(slide, kind: str) -> None:
    train = [slide(0), slide(1)]
    first, second = (fit_denoiser(kind, train, seed=3, rank=4)(train[1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# Genes that a slide did not measure


@pytest.mark.parametrize("kind", KINDS)
def test_a_gene_not_measured_is_at_its_mean_over_the_slides_that_did(slide, kind: str) -> None:
    blind, seeing, seeing_too = slide(0, missing=(5, 11)), slide(1), slide(2)
    targets = fit_denoiser(kind, [blind, seeing, seeing_too], seed=0, rank=4)(blind)
    mean = np.mean([one.dense()[:, [5, 11]].mean(0) for one in (seeing, seeing_too)], axis=0)
    np.testing.assert_allclose(targets[:, [5, 11]], np.tile(mean, (36, 1)), rtol=1e-5)
    assert (mean > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_gene_that_nobody_measured_is_at_zero(slide, kind: str) -> None:
    train = [slide(0, missing=(7,)), slide(1, missing=(7,))]
    assert not fit_denoiser(kind, train, seed=0, rank=4)(train[0])[:, 7].any()


# Modules


def test_modules_as_many_as_spots_take_nothing_away(slide) -> None:
    train = [slide(0, side=3), slide(1, side=3)]
    denoise = fit_denoiser("modules", train, seed=0, rank=18)
    for one in train:
        np.testing.assert_allclose(denoise(one), one.dense(), atol=1e-4)


def test_modules_keep_the_mean_of_the_slide_and_project(slide) -> None:
    train = [slide(0), slide(1)]
    targets = fit_denoiser("modules", train, seed=0, rank=2)(train[0])
    np.testing.assert_allclose(targets.mean(0), train[0].dense().mean(0), atol=1e-4)
    assert np.linalg.matrix_rank(targets - targets.mean(0), tol=1e-3) == 2


# Neighbours


def test_neighbours_share_what_the_weight_leaves(slide) -> None:
    one = slide(0, side=3)
    table = one.dense()
    targets = fit_denoiser("neighbours", [one], seed=0, own=0.7)(one)
    corner = 0.7 * table[0] + 0.3 * (table[1] + table[3]) / 2
    centre = 0.7 * table[4] + 0.3 * table[[1, 3, 5, 7]].mean(0)
    np.testing.assert_allclose(targets[[0, 4]], [corner, centre], rtol=1e-5, atol=1e-6)


def test_all_weight_on_the_spot_changes_nothing(slide) -> None:
    one = slide(0)
    targets = fit_denoiser("neighbours", [one], seed=0, own=1.0)(one)
    np.testing.assert_array_equal(targets, one.dense())


@pytest.mark.parametrize("kind", KINDS)
def test_a_slide_of_one_spot_stays_as_it_is(slide, kind: str) -> None:
    single = slide(0, side=1)
    denoise = fit_denoiser(kind, [single, slide(1)], seed=0, rank=4, own=0.2)
    # Completion has learnt a little of what no neighbour and no deviation mean.
    atol = 0.05 if kind == "completion" else 1e-6
    np.testing.assert_allclose(denoise(single), single.dense(), atol=atol)
