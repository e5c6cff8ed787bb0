"""Closed-form readouts compute their formulas, and at share 0 nothing of them is left."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.hyperbolic import distance, exp0
from hypergene.model import readout
from hypergene.model.readout import (
    CAP,
    NEIGHBOURS,
    Blend,
    Gallery,
    KernelKind,
    KernelReadout,
    pairwise,
    similarity,
)

WIDTH, MODULES, PLACES = 5, 3, 8
KINDS = pytest.mark.parametrize("kind", ["laplacian", "rbf", "hyperbolic"])
CURVATURE = torch.tensor(0.7)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted_kernel(kind: KernelKind, points: int = PLACES) -> KernelReadout:
    kernel = KernelReadout(WIDTH, MODULES, PLACES, kind)
    scale = torch.ones(WIDTH) if kind == "hyperbolic" else torch.linspace(0.5, 2, WIDTH)
    kernel.hold(
        drawn(points, WIDTH, seed=1), drawn(points, MODULES, seed=2), scale, torch.tensor(0.6)
    )
    return kernel


def filled_gallery(places: int = PLACES, held: int = PLACES) -> Gallery:
    gallery = Gallery(WIDTH, MODULES, places)
    gallery.hold(
        drawn(held, WIDTH, seed=3),
        drawn(held, MODULES, seed=4),
        torch.linspace(0.5, 2, WIDTH),
        torch.tensor(0.4),
    )
    return gallery


def by_hand(kind: KernelKind, kernel: KernelReadout, spot: Tensor) -> Tensor:
    answer = torch.zeros(MODULES)
    for point, weight in zip(kernel.points, kernel.weight, strict=True):
        if kind == "hyperbolic":
            d = distance(spot, point, CURVATURE)
        else:
            d = torch.linalg.vector_norm((spot - point) / kernel.scale)
        answer += weight * torch.exp(-0.6 * (d**2 if kind == "rbf" else d))
    return answer


@KINDS
@pytest.mark.parametrize("rows_at_once", [3, 4096])
def test_a_kernel_readout_is_a_weighted_sum_of_kernels(
    kind: KernelKind, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "_ROWS", rows_at_once)
    kernel, spots = fitted_kernel(kind), drawn(10, WIDTH)
    wanted = torch.stack([by_hand(kind, kernel, spot) for spot in spots])
    torch.testing.assert_close(kernel(spots, CURVATURE), wanted, rtol=1e-4, atol=1e-5)


@KINDS
def test_fewer_points_than_places_leave_nothing_of_an_earlier_fit(kind: KernelKind) -> None:
    kernel, spots = fitted_kernel(kind), drawn(4, WIDTH)
    few = fitted_kernel(kind, points=3)
    few_points, few_weight = few.points[:3].clone(), few.weight[:3].clone()
    before = kernel(spots, CURVATURE)
    kernel.hold(few_points, few_weight, kernel.scale.clone(), kernel.gamma.clone())
    assert torch.equal(kernel(spots, CURVATURE), few(spots, CURVATURE))
    assert not torch.allclose(kernel(spots, CURVATURE), before)


def test_a_hyperbolic_kernel_asks_for_its_curvature() -> None:
    with pytest.raises(ValueError, match="curvature"):
        fitted_kernel("hyperbolic")(drawn(2, WIDTH))
    flat, curved = (fitted_kernel("hyperbolic")(drawn(2, WIDTH), torch.tensor(c)) for c in (0.1, 9))
    assert not torch.allclose(flat, curved)


@KINDS
@given(
    dim=st.integers(1, 8),
    count=st.integers(2, 12),
    gamma=st.floats(0.01, 10),
    c=st.floats(0.1, 10),
    spread=st.floats(0.01, 2),
    twins=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_every_kernel_is_positive_definite(
    kind: KernelKind,
    dim: int,
    count: int,
    gamma: float,
    c: float,
    spread: float,
    twins: bool,
    seed: int,
) -> None:
    points = spread * drawn(count, dim, seed=seed).double()
    points = torch.cat([points, points[:1]]) if twins else points
    points = exp0(points, c) if kind == "hyperbolic" else points
    d = pairwise(kind, points, points, torch.tensor(c, dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(similarity(kind, d, gamma))
    # Hyperbolic distances have a floor of 1e-6/sqrt(c), which takes so much off the diagonal.
    assert eigenvalues[0] > -1e-8 - 4e-6 * gamma * len(points)
    assert eigenvalues[-1] >= 1 - 1e-4, "no empty claim: the matrix is not zero"


def test_a_gaussian_of_the_hyperbolic_distance_is_not_positive_definite() -> None:
    axes = torch.eye(3, dtype=torch.float64)
    star = exp0(1.5 * torch.cat([axes, -axes, torch.zeros(1, 3, dtype=torch.float64)]), 1.0)
    d = pairwise("hyperbolic", star, star, torch.tensor(1.0, dtype=torch.float64))
    assert torch.linalg.eigvalsh(torch.exp(-0.01 * d.square()))[0] < -1e-3
    assert torch.linalg.eigvalsh(similarity("hyperbolic", d, 0.01))[0] > 0


def test_a_share_of_the_kernel_is_its_part_of_the_answer() -> None:
    kernel, one, other = fitted_kernel("rbf"), drawn(4, MODULES), drawn(4, MODULES, seed=9)
    assert torch.equal(kernel.blend(one, other, 0.0), one)
    assert torch.equal(kernel.blend(one, other), one), "0 from the start"
    kernel.share.fill_(0.25)
    torch.testing.assert_close(kernel.blend(one, other), 0.75 * one + 0.25 * other)
    torch.testing.assert_close(kernel.blend(one, other, 1.0), other)


def test_a_gallery_without_share_or_without_residuals_changes_no_bit() -> None:
    answer, inputs = drawn(6, MODULES), drawn(6, WIDTH, seed=5)
    gallery = filled_gallery()
    assert torch.equal(gallery(answer, inputs), answer), "0 from the start"
    gallery.share.fill_(1.0)
    assert not torch.equal(gallery(answer, inputs), answer)
    assert torch.equal(gallery(answer, inputs, 0.0), answer)
    assert torch.equal(Gallery(WIDTH, MODULES, PLACES)(answer, inputs, 1.0), answer)


@given(
    size=st.just(0.0) | st.floats(1e-6, 1e4),
    residual=st.floats(0, 1e4),
    share=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_no_correction_is_longer_than_the_cap(
    size: float, residual: float, share: float, seed: int
) -> None:
    answer, inputs = size * drawn(4, MODULES, seed=seed), drawn(4, WIDTH, seed=seed + 1)
    gallery = filled_gallery()
    gallery.residuals.mul_(residual)
    moved = torch.linalg.vector_norm(gallery(answer, inputs, share) - answer, dim=1)
    length = torch.linalg.vector_norm(answer, dim=1)
    # Beside the cap, one rounding of the sum.
    assert (moved <= share * CAP * length * (1 + 1e-5) + 1e-6 * length).all()
    if residual > 100 * size > 0.1 and share > 0.1:
        assert (moved > 0.9 * share * CAP * length).all(), "long residuals are cut, not dropped"


def test_a_spot_reads_the_nearest_residuals_by_distance() -> None:
    gallery = filled_gallery(places=40, held=NEIGHBOURS + 4)
    spot, answer = drawn(1, WIDTH, seed=7), 1e3 * torch.ones(1, MODULES)
    held = NEIGHBOURS + 4
    far = torch.linalg.vector_norm((gallery.keys[:held] - spot) / gallery.scale, dim=1)
    nearest = far.argsort()[:NEIGHBOURS]
    weight = torch.softmax(-far[nearest] / 0.4, dim=0)
    wanted = answer + 0.5 * weight @ gallery.residuals[nearest]
    torch.testing.assert_close(gallery(answer, spot, 0.5), wanted, rtol=0, atol=2e-4)


def test_a_gallery_with_empty_places_is_that_of_what_it_holds() -> None:
    full, roomy = filled_gallery(places=PLACES), filled_gallery(places=3 * PLACES)
    roomy.hold(drawn(20, WIDTH), drawn(20, MODULES), full.scale, torch.tensor(1.0))
    roomy.hold(full.keys, full.residuals, full.scale, full.temperature)
    answer, inputs = drawn(6, MODULES), drawn(6, WIDTH, seed=5)
    assert torch.allclose(roomy(answer, inputs, 1.0), full(answer, inputs, 1.0), atol=1e-6)


def test_no_gradient_reaches_what_is_fitted_in_closed_form() -> None:
    inputs, answer = drawn(4, WIDTH).requires_grad_(), drawn(4, MODULES).requires_grad_()
    curvature = CURVATURE.clone().requires_grad_()
    assert not fitted_kernel("hyperbolic")(inputs, curvature).requires_grad
    filled_gallery()(answer, inputs, 1.0).sum().backward()
    assert inputs.grad is None and answer.grad is not None and answer.grad.any()


def test_the_plain_blend_is_the_even_average_of_head_and_ridge() -> None:
    assert Blend() == (0.5, 0.0, 0.0)
