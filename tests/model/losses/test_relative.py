"""The listwise loss orders the spots of a slide, and knows nothing of what they share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import UsageError
from hypergene.model.losses import listwise

SEEDS = st.integers(0, 2**32 - 1)


def naive(
    f: np.ndarray, c: np.ndarray, depth: np.ndarray, slide: np.ndarray, measured: np.ndarray
) -> float:
    """One list after the other, with exponentials and sums as they stand in the formula."""
    lists = []
    for s in set(slide.tolist()):
        rows = np.flatnonzero(slide == s)
        for gene in range(f.shape[1]):
            kept = [i for i in rows if measured[i, gene]]
            total = sum(c[i, gene] for i in kept)
            if len(kept) < 2 or total == 0:
                continue
            weight = {i: depth[i] * math.exp(f[i, gene]) for i in kept}
            p = {i: w / sum(weight.values()) for i, w in weight.items()}
            lists.append(-sum(c[i, gene] * math.log(p[i]) for i in kept) / total)
    return float(np.mean(lists)) if lists else 0.0


@given(SEEDS, st.integers(1, 12), st.integers(1, 4))
def test_it_is_its_definition(seed: int, spots: int, genes: int) -> None:
    rng = np.random.default_rng(seed)
    f, c = rng.normal(size=(spots, genes)), rng.poisson(0.7, (spots, genes))
    depth, slide = rng.integers(1, 2000, spots), rng.integers(0, 3, spots)
    measured = (rng.random((3, genes)) < 0.8)[slide]
    ours = listwise(
        torch.from_numpy(f),
        torch.from_numpy(c).double(),
        torch.from_numpy(np.log(depth)),
        torch.from_numpy(slide),
        measured=torch.from_numpy(measured),
    )
    assert ours.item() == pytest.approx(naive(f, c, depth, slide, measured), rel=1e-9, abs=1e-12)


def test_values_known_by_hand() -> None:
    one_slide, zeros = torch.zeros(8, dtype=torch.long), torch.zeros(8)
    counts = torch.poisson(torch.full((8, 3), 4.0)) + 1
    uniform = listwise(torch.zeros(8, 3), counts, zeros, one_slide)
    assert uniform.item() == pytest.approx(math.log(8)), "no opinion, equal depths"
    two = listwise(
        torch.tensor([[math.log(3)], [0.0]]), torch.tensor([[1.0], [1.0]]), zeros[:2], one_slide[:2]
    )
    assert two.item() == pytest.approx(-0.5 * (math.log(3 / 4) + math.log(1 / 4)))


@given(SEEDS)
def test_what_a_slide_shares_costs_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(12, 5, generator=generator).double()
    depth = torch.randn(12, generator=generator).double()
    counts = torch.poisson(torch.ones(12, 5), generator=generator).double()
    slide = torch.tensor([0, 1, 2]).repeat(4)
    level = torch.randn(3, 5, generator=generator).double()[slide]
    sequencing = torch.randn(3, generator=generator).double()[slide]
    torch.testing.assert_close(
        listwise(f + level, counts, depth + sequencing, slide), listwise(f, counts, depth, slide)
    )


def test_descent_finds_the_ratios_of_rates() -> None:
    rates, slide = torch.tensor([[1.0], [2.0], [4.0], [8.0]]), torch.zeros(4, dtype=torch.long)
    depth = torch.tensor([100.0, 50.0, 200.0, 10.0])
    counts = rates * depth[:, None]
    f = torch.zeros(4, 1, requires_grad=True)
    for _ in range(500):
        (slope,) = torch.autograd.grad(listwise(f, counts, depth.log(), slide), f)
        f = (f - 4 * slope).detach().requires_grad_()
    found = (f - f[0]).detach().exp()
    torch.testing.assert_close(found, rates, rtol=1e-2, atol=0)


def test_gradients_are_right_and_finite_where_nothing_is_known() -> None:
    slide = torch.tensor([0, 0, 0, 1])
    counts = torch.tensor([[3.0, 0], [1, 0], [0, 0], [5, 5]]).double()
    f = torch.randn(4, 2).double().requires_grad_()
    depth = torch.randn(4).double()
    assert torch.autograd.gradcheck(lambda x: listwise(x, counts, depth, slide), [f])
    listwise(f, counts, depth, slide).backward()
    assert f.grad is not None
    assert (f.grad[:, 1] == 0).all(), "a gene without a count in a list of two or more"
    assert (f.grad[3] == 0).all(), "a spot alone on its slide"
    for no_counts in (torch.zeros(4, 2).double(), counts[:1].expand(4, 2).contiguous()):
        x = f.detach().clone().requires_grad_()
        alone = torch.arange(4) if no_counts.any() else slide
        loss = listwise(x, no_counts, depth, alone)
        assert loss == 0
        loss.backward()
        assert x.grad is None or (x.grad == 0).all()


def test_a_far_prediction_stays_finite() -> None:
    f = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = listwise(f, torch.tensor([[0.0], [1.0]]), torch.zeros(2), torch.zeros(2))
    loss.backward()
    assert f.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(f.grad).all()


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="counts"):
        listwise(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))
