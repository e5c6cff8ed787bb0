"""The radius is no meter of depth and no mark of slides; no dimension collapses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.model.losses import collapse, radius_dependence

SEEDS = st.integers(0, 2**32 - 1)
SLIDE = torch.arange(3).repeat_interleave(8)


def naive_dependence(radius: np.ndarray, depth: np.ndarray, slide: np.ndarray) -> float:
    inside, within, means = [], [], np.zeros(len(radius))
    for s in set(slide.tolist()):
        rows = slide == s
        inside.extend(radius[rows] - radius[rows].mean())
        within.extend(depth[rows] - depth[rows].mean())
        means[rows] = radius[rows].mean()
    squares = ((means - radius.mean()) ** 2).sum(), ((radius - radius.mean()) ** 2).sum()
    return float(np.corrcoef(inside, within)[0, 1] ** 2 + squares[0] / squares[1])


@given(SEEDS)
def test_dependence_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    radius, depth = rng.uniform(0.5, 3, 24), rng.normal(8, 1, 24)
    slide = rng.integers(0, 4, 24)
    ours = radius_dependence(*map(torch.from_numpy, (radius, depth, slide)))
    assert ours.item() == pytest.approx(naive_dependence(radius, depth, slide), rel=1e-3, abs=1e-4)


def test_a_radius_that_is_depth_costs_1_and_one_that_is_the_slide_costs_1() -> None:
    depth = torch.randn(24)
    depth = depth - torch.stack([depth[s == SLIDE].mean() for s in range(3)])[SLIDE]
    as_depth = radius_dependence(2 + 0.1 * depth, depth, SLIDE)
    assert as_depth.item() == pytest.approx(1, abs=1e-4)
    assert radius_dependence(2 - 0.1 * depth, depth, SLIDE).item() == pytest.approx(1, abs=1e-4)
    assert radius_dependence(SLIDE.float(), depth, SLIDE).item() == pytest.approx(1, abs=1e-4)
    other = torch.tensor([1.0, -1.0]).repeat(12)
    balanced = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(6)
    assert radius_dependence(2 + other, balanced, SLIDE) < 1e-6, "neither of both"


@given(SEEDS, st.floats(0.1, 10), st.floats(-3, 3))
def test_units_of_radius_and_depth_do_not_matter(seed: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    radius, depth = torch.randn(2, 24, generator=generator).double()
    torch.testing.assert_close(
        radius_dependence(scale * radius + shift, shift - scale * depth, SLIDE),
        radius_dependence(radius, depth, SLIDE),
        rtol=1e-3,
        atol=1e-4,
    )


def test_descent_frees_the_radius_of_depth() -> None:
    depth = torch.randn(24, generator=torch.Generator().manual_seed(0))
    radius = (2 + 0.3 * depth + 0.5 * SLIDE).requires_grad_()
    start = radius_dependence(radius, depth, SLIDE).item()
    for _ in range(200):
        (slope,) = torch.autograd.grad(radius_dependence(radius, depth, SLIDE), radius)
        radius = (radius - slope).detach().requires_grad_()
    assert radius_dependence(radius, depth, SLIDE) < 0.05 < 1 < start


DEGENERATE = {
    "one radius": (torch.ones(6), torch.randn(6), torch.tensor([0, 0, 0, 1, 1, 1])),
    "one depth": (torch.rand(6), torch.ones(6), torch.tensor([0, 0, 0, 1, 1, 1])),
    "one slide": (torch.rand(6), torch.randn(6), torch.zeros(6, dtype=torch.long)),
    "all alone": (torch.rand(6), torch.randn(6), torch.arange(6)),
    "one spot": (torch.rand(1), torch.randn(1), torch.zeros(1, dtype=torch.long)),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_batches_have_finite_gradients(case: str) -> None:
    radius, depth, slide = DEGENERATE[case]
    radius = radius.clone().requires_grad_()
    loss = radius_dependence(radius, depth, slide)
    loss.backward()
    assert radius.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(radius.grad).all()


def naive_collapse(v: np.ndarray, slide: np.ndarray, floor: float) -> float:
    hinges = []
    for s in set(slide.tolist()):
        rows = v[slide == s]
        if len(rows) > 1:
            spread = rows.std(axis=0, ddof=1) * v.shape[1] ** 0.5
            hinges.append(np.maximum(0, floor - spread).mean())
    return float(np.mean(hinges)) if hinges else 0.0


@given(SEEDS, st.integers(1, 20), st.floats(0.1, 3))
def test_collapse_is_its_definition(seed: int, spots: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    v, slide = rng.normal(size=(spots, 5)) * rng.uniform(0, 1, 5), rng.integers(0, 3, spots)
    ours = collapse(torch.from_numpy(v), torch.from_numpy(slide), floor)
    # The floor under the root hides what is smaller than 1e-3 of a dimension that hardly varies.
    assert ours.item() == pytest.approx(naive_collapse(v, slide, floor), rel=1e-6, abs=1e-3)


def spread_out(dim: int, size: float) -> Tensor:
    """Vectors of one slide whose every dimension has standard deviation `size`."""
    signs = torch.tensor([1.0, -1.0]).repeat(32)[:, None].expand(64, dim)
    return size * signs * (63 / 64) ** 0.5


def test_the_floor_counts_in_units_of_the_scale_at_which_the_lift_starts() -> None:
    slide = torch.zeros(64, dtype=torch.long)
    for dim in (2, 64, 1024):
        unit = dim**-0.5
        assert collapse(spread_out(dim, 0.51 * unit), slide, 0.5) == 0
        half = collapse(spread_out(dim, 0.25 * unit), slide, 0.5).item()
        assert half == pytest.approx(0.25, abs=1e-3)
        assert collapse(torch.ones(64, dim), slide, 0.5).item() == pytest.approx(0.499, abs=1e-3)


def test_slides_apart_do_not_hide_a_collapse_within_them() -> None:
    apart = 10.0 * SLIDE[:, None].float().expand(24, 4)
    assert collapse(apart, SLIDE, 0.5) > 0.49
    assert collapse(apart, torch.zeros(24, dtype=torch.long), 0.5) == 0


def test_collapse_has_finite_gradients_that_spread_what_is_not_yet_one_point() -> None:
    tight = (1 + 1e-3 * torch.randn(24, 4)).requires_grad_()
    collapse(tight, SLIDE, 0.5).backward()
    point = torch.ones(24, 4, requires_grad=True)
    collapse(point, SLIDE, 0.5).backward()
    alone = torch.randn(3, 4, requires_grad=True)
    collapse(alone, torch.arange(3), 0.5).backward()
    for vectors in (tight, point, alone):
        assert vectors.grad is not None
        assert torch.isfinite(vectors.grad).all()
    assert tight.grad is not None
    inside = tight.detach() - torch.stack([tight[s == SLIDE].mean(0) for s in range(3)])[SLIDE]
    assert (tight.grad * inside).sum() < 0, "descent moves away from the mean"
