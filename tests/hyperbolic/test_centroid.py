"""The Lorentz centroid is the middle of its points, whoever weighs them and however."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.hyperbolic import centroid, distance, exp0, from_full, to_full


def boost(x: Tensor, rapidity: float, c: float) -> Tensor:
    """Move points along the first axis by an isometry of the space."""
    turn = torch.eye(x.shape[-1] + 1, dtype=x.dtype)
    turn[0, 0] = turn[1, 1] = math.cosh(rapidity)
    turn[0, 1] = turn[1, 0] = math.sinh(rapidity)
    return from_full(to_full(x, c) @ turn)


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return exp0(torch.randn(5, 3, dtype=torch.float64, generator=generator), 0.5)


def test_of_one_point_is_that_point(x: Tensor) -> None:
    torch.testing.assert_close(centroid(x[:1], torch.tensor([0.3]).double(), 0.5), x[0])


def test_of_two_points_is_half_way(x: Tensor) -> None:
    middle = centroid(x[:2], torch.ones(2).double(), 0.5)
    half = distance(x[0], x[1], 0.5) / 2
    torch.testing.assert_close(distance(middle, x[0], 0.5), half)
    torch.testing.assert_close(distance(middle, x[1], 0.5), half)


def test_dense_weights_agree_with_a_loop(x: Tensor) -> None:
    points = torch.stack([x, 2 * x, -x])
    weights = torch.rand(3, 5, dtype=torch.float64)
    c = 0.5
    for i, middle in enumerate(centroid(points, weights, c)):
        total = sum(weights[i, j] * to_full(points[i, j], c) for j in range(5))
        assert isinstance(total, Tensor)
        squared = total[1:].square().sum() - total[0] ** 2
        torch.testing.assert_close(middle, total[1:] / (c * squared.abs()).sqrt())


def test_shared_points_agree_with_repeated_points(x: Tensor) -> None:
    weights = torch.rand(4, 5, dtype=torch.float64)
    torch.testing.assert_close(centroid(x, weights, 0.5), centroid(x.expand(4, 5, 3), weights, 0.5))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr], ids=str)
def test_sparse_weights_are_dense_weights_with_holes(x: Tensor, layout: torch.layout) -> None:
    weights = torch.rand(4, 5, dtype=torch.float64) * (torch.rand(4, 5) > 0.5)
    weights[2] = 0
    dense_x, sparse_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    dense = centroid(dense_x, weights, 0.5)
    sparse = centroid(sparse_x, weights.to_sparse(layout=layout), 0.5)
    torch.testing.assert_close(sparse, dense)
    dense.square().sum().backward()
    sparse.square().sum().backward()
    assert dense_x.grad is not None
    assert dense_x.grad.abs().sum() > 0
    torch.testing.assert_close(sparse_x.grad, dense_x.grad)


def test_without_neighbours_is_the_origin_with_finite_gradients(x: Tensor) -> None:
    x.requires_grad_()
    weights = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    middle = centroid(x, weights, 0.5)
    assert torch.equal(middle, torch.zeros(2, 3).double())
    middle.sum().backward()
    for tensor in (x, weights):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


@given(st.floats(1e-3, 1e3), st.floats(-2, 2))
def test_moves_with_its_points_and_ignores_the_scale_of_weights(
    scale: float, rapidity: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = exp0(torch.randn(6, 3, dtype=torch.float64, generator=generator), 2.0)
    weights = torch.rand(6, dtype=torch.float64, generator=generator)
    moved = centroid(boost(x, rapidity, 2.0), scale * weights, 2.0)
    torch.testing.assert_close(moved, boost(centroid(x, weights, 2.0), rapidity, 2.0))


def test_gradients_are_right(x: Tensor) -> None:
    weights = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    c = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(centroid, (x.requires_grad_(), weights, c))


def test_collapsed_and_far_points_have_finite_gradients() -> None:
    for point in (torch.zeros(3), torch.ones(3), torch.full((3,), 42.0)):
        points = point.expand(4, 3).clone().requires_grad_()
        middle = centroid(points, torch.rand(4), 1.0)
        torch.testing.assert_close(middle.detach(), point, rtol=1e-2, atol=1e-6)
        middle.sum().backward()
        assert points.grad is not None
        assert torch.isfinite(points.grad).all()
