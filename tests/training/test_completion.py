"""Completion predicts hidden entries better than neighbours do, and touches nothing counted."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from hypergene.spots import rings
from hypergene.training.completion import (
    NEIGHBOURS,
    WIDTH,
    Completion,
    first_ring,
    fit_completion,
    trust,
)
from hypergene.training.denoise import fit_denoiser
from hypergene.training.expression import Expression, average_with
from hypergene.training.modules import fit_modules

GENES, SIDE = 120, 8


@pytest.fixture(scope="module")
def slides(as_expression: Callable[..., Expression]) -> list[Expression]:
    """Three slides of few counts: two programmes of genes, one of them in patches."""
    programmes = np.random.default_rng(0).normal(size=(2, GENES))
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed + 1)
        place = np.stack(np.divmod(np.arange(SIDE * SIDE), SIDE), 1).astype(float)
        patch = np.where(place[:, 0] + rng.normal(0, 0.3) < SIDE / 2, 1.0, -1.0)
        level = np.stack([patch, rng.normal(size=len(place))], 1)
        log = np.log1p(rng.poisson(np.exp(0.5 * level @ programmes - 0.5)))
        near = average_with(rings(place, place, (0.0, 1.25))[0])
        made.append(replace(as_expression(log), name=str(seed), around=lambda near=near: near))
    return made


@pytest.fixture(scope="module")
def fitted(slides: list[Expression]) -> Completion:
    train = slides[:2]
    return fit_completion(train, fit_modules(train, WIDTH), seed=0)


def squared_error(table: np.ndarray, guess: np.ndarray) -> float:
    return float(np.square(table - guess).mean())


def test_it_predicts_a_new_slide_better_than_its_means_and_its_neighbours(
    slides: list[Expression], fitted: Completion
) -> None:
    new = slides[2]
    table = new.dense()
    ring = new.neighbours().tolil()
    ring.setdiag(0)
    ring = sparse.csr_matrix(ring)
    guesses = {
        "zero": np.zeros_like(table),
        "mean of the slide": (table.sum(0) - table) / (len(table) - 1),
        "neighbours": (ring / ring.sum(1)[:, None]) @ table,
    }
    best = min(squared_error(table, guess) for guess in guesses.values())
    assert squared_error(table, fitted.predict(new)) < 0.9 * best


def test_a_prediction_does_not_know_the_entry_it_predicts(
    slides: list[Expression], fitted: Completion
) -> None:
    """Only the mean of the gene over the slide, of which the entry is a 64th, gives it away."""
    new = slides[2]
    table = new.dense()
    spot, gene = 27, int(np.square(fitted.network.loadings.numpy()).sum(0).argmax())
    told = table.copy()
    told[spot, gene] += 1.0
    other = replace(new, tables=replace(new.tables, log_table=sparse.csr_matrix(told)))
    moved = fitted.predict(other) - fitted.predict(new)
    assert abs(moved[spot, gene] - 1 / len(table)) < 2e-3
    # The same news does reach the genes of the other hands, and the spots around.
    elsewhere = np.abs(moved - moved[:, [gene]] * (np.arange(GENES) == gene))
    assert elsewhere[spot].max() > 5e-3
    assert elsewhere[spot + 1].max() > 0


def test_what_was_counted_stays_bit_for_bit_and_zeros_are_filled(
    slides: list[Expression],
) -> None:
    targets = fit_denoiser("completion", slides[:2], seed=0)(slides[0])
    table = slides[0].dense()
    counted = table > 0
    np.testing.assert_array_equal(targets[counted].view(np.uint32), table[counted].view(np.uint32))
    assert (targets >= 0).all()
    assert (targets[~counted] > 0).mean() > 0.9


def test_the_seed_decides_and_torch_is_left_as_it_was(
    slides: list[Expression], fitted: Completion
) -> None:
    train = slides[:2]
    modules = fit_modules(train, WIDTH)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = fit_completion(train, modules, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    another = fit_completion(train, modules, seed=1)
    expected = fitted.predict(slides[2])
    np.testing.assert_array_equal(again.predict(slides[2]), expected)
    assert not np.array_equal(another.predict(slides[2]), expected)


def test_the_order_of_spots_does_not_matter(slides: list[Expression], fitted: Completion) -> None:
    new = slides[2]
    order = np.random.default_rng(0).permutation(SIDE * SIDE)
    near = new.neighbours()[order][:, order]
    table = sparse.csr_matrix(new.log()[order])
    turned = replace(new, tables=replace(new.tables, log_table=table), around=lambda: near)
    np.testing.assert_allclose(fitted.predict(turned), fitted.predict(new)[order], atol=1e-4)


def test_one_section_is_in_memory_at_a_time(
    slides: list[Expression], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table that was read before is alive when the next one is read."""
    read: list[weakref.ref] = []

    def log(self: Expression) -> sparse.csr_matrix:
        assert not any(table() is not None for table in read)
        table = self.tables.log().copy()
        read.append(weakref.ref(table))
        return table

    modules = fit_modules(slides, WIDTH)
    monkeypatch.setattr(Expression, "log", log)
    fit_completion(slides, modules, seed=0, epochs=2)
    assert len(read) == 2 * len(slides)


# Modules that are noise are not trusted


def test_modules_of_noise_are_trusted_little_and_modules_of_signal_much(
    as_expression: Callable[..., Expression],
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 200))
    signal = noise + 3 * np.outer(rng.normal(size=60), rng.normal(size=200))
    of_noise = trust(fit_modules([as_expression(noise)], WIDTH), 60)
    of_signal = trust(fit_modules([as_expression(signal)], WIDTH), 60)
    assert of_noise.max() < 0.5
    assert of_signal[0] > 0.9 > 0.5 > of_signal[1:].max()
    assert ((of_noise >= 0) & (of_noise <= 1)).all()


def test_fewer_spots_than_modules_trust_the_empty_ones_not_at_all(
    as_expression: Callable[..., Expression],
) -> None:
    table = np.random.default_rng(0).normal(size=(4, 30))
    shares = trust(fit_modules([as_expression(table)], WIDTH), 4)
    assert shares.shape == (WIDTH,) and np.isfinite(shares).all()
    assert not shares[3:].any()


# Neighbours


def test_the_first_ring_leaves_the_spot_itself_out_and_marks_what_is_missing() -> None:
    matrix = sparse.csr_matrix(
        np.array([[0.5, 0.5, 0, 0], [0.25, 0.5, 0.25, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1.0]])
    )
    near = first_ring(matrix)
    assert near.shape == (4, NEIGHBOURS) and near.dtype == np.int64
    assert [row[row >= 0].tolist() for row in near] == [[1], [0, 2], [1], []]


def test_of_a_crowd_a_spot_looks_at_no_more_than_it_can() -> None:
    crowd = sparse.csr_matrix(np.full((12, 12), 1 / 12))
    near = first_ring(crowd)
    assert near.shape == (12, NEIGHBOURS) and (near >= 0).all()
    assert all(spot not in row for spot, row in enumerate(near))
