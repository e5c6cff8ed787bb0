"""The Lorentz model keeps what hyperbolic geometry promises."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypergene.hyperbolic import (
    distance,
    exp0,
    from_full,
    inner,
    log0,
    pairwise_distance,
    radius,
    time,
    to_full,
)
from hypergene.hyperbolic import lorentz as lorentz_module

D = 3
curvatures = st.floats(0.1, 10)
# Tangent vectors in units of 1/sqrt(c), up to length 4.9: below the clamp.
units = st.lists(st.floats(-2.8, 2.8), min_size=D, max_size=D).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


def lift(unit: Tensor, c: float) -> Tensor:
    return exp0(unit / math.sqrt(c), c)


@given(units, curvatures)
def test_unlifting_undoes_lifting(unit: Tensor, c: float) -> None:
    v = unit / math.sqrt(c)
    torch.testing.assert_close(log0(exp0(v, c), c), v, rtol=1e-12, atol=1e-15)


@given(units, curvatures)
def test_a_lifted_vector_is_as_far_from_the_origin_as_it_is_long(unit: Tensor, c: float) -> None:
    length = unit.norm() / math.sqrt(c)
    x = lift(unit, c)
    torch.testing.assert_close(radius(x, c), length, rtol=1e-12, atol=1e-15)
    assume(unit.norm() > 1e-5)
    torch.testing.assert_close(distance(torch.zeros(D).double(), x, c), length, rtol=1e-9, atol=0)


@given(units, curvatures)
def test_points_lie_on_the_hyperboloid(unit: Tensor, c: float) -> None:
    x = lift(unit, c)
    squared = (c * time(x, c) ** 2, c * x.square().sum())
    assert (squared[0] - squared[1]).item() == pytest.approx(1, abs=1e-15 * squared[0].item() * 10)
    assert c * inner(x, x, c).item() == pytest.approx(-1, abs=1e-15 * squared[0].item() * 10)


@given(units, units, curvatures)
def test_distance_is_symmetric(a: Tensor, b: Tensor, c: float) -> None:
    x, y = lift(a, c), lift(b, c)
    assert distance(x, y, c) == distance(y, x, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(unit=units, c=curvatures)
def test_a_point_is_at_no_distance_from_itself(dtype: torch.dtype, unit: Tensor, c: float) -> None:
    x = lift(unit, c).to(dtype)
    assert math.sqrt(c) * distance(x, x, c) <= 1e-6 * (1 + 1e-6)
    together = pairwise_distance(x[None], x[None], c)
    assert math.sqrt(c) * together <= 1e-6 * (1 + 1e-6)


@given(units, units, units, curvatures)
def test_no_detour_is_shorter(a: Tensor, b: Tensor, e: Tensor, c: float) -> None:
    x, y, z = (lift(unit, c) for unit in (a, b, e))
    detour = distance(x, y, c) + distance(y, z, c)
    assert distance(x, z, c) <= detour * (1 + 1e-9) + 2e-6 / math.sqrt(c)


@given(units, units, curvatures)
def test_curvature_is_only_a_scale(a: Tensor, b: Tensor, c: float) -> None:
    x, y = lift(a, 1.0), lift(b, 1.0)
    scaled = distance(x / math.sqrt(c), y / math.sqrt(c), c)
    torch.testing.assert_close(scaled, distance(x, y, 1.0) / math.sqrt(c), rtol=1e-9, atol=1e-12)


@given(units, units)
def test_without_curvature_the_space_is_euclidean(a: Tensor, b: Tensor) -> None:
    c = 1e-8
    assume((a - b).norm() > 0.1)
    torch.testing.assert_close(exp0(a, c), a, rtol=1e-6, atol=0)
    torch.testing.assert_close(distance(a, b, c), (a - b).norm(), rtol=1e-6, atol=0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=D, max_size=D), curvatures)
def test_no_vector_is_lifted_beyond_the_clamp(v: list[float], c: float) -> None:
    vector = torch.tensor(v)
    reached = radius(exp0(vector, c), c).item()
    expected = min(vector.double().norm().item(), 5 / math.sqrt(c))
    assert reached == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_full_vectors_have_the_time_first() -> None:
    x = torch.randn(4, D, dtype=torch.float64)
    full = to_full(x, 0.5)
    assert full.shape == (4, D + 1)
    torch.testing.assert_close(full[:, 0], time(x, 0.5))
    assert torch.equal(from_full(full), x)


def test_curvature_may_differ_by_point() -> None:
    x, y = torch.randn(2, 4, D, dtype=torch.float64)
    c = torch.tensor([0.1, 0.5, 1.0, 10.0], dtype=torch.float64)
    for function in (distance, inner):
        each = torch.stack([function(x[i], y[i], c[i].item()) for i in range(4)])
        torch.testing.assert_close(function(x, y, c), each)
    for function in (exp0, log0, radius, time):
        each = torch.stack([function(x[i], c[i].item()) for i in range(4)])
        torch.testing.assert_close(function(x, c), each)


@pytest.mark.parametrize("chunk_elements", [1, 40, 2**26])
def test_pairwise_distance_is_the_distance_of_every_pair(
    monkeypatch: pytest.MonkeyPatch, chunk_elements: int
) -> None:
    monkeypatch.setattr(lorentz_module, "_CHUNK_ELEMENTS", chunk_elements)
    x, y = torch.randn(7, D, dtype=torch.float64), torch.randn(5, D, dtype=torch.float64)
    pairs = pairwise_distance(x, y, 0.7)
    torch.testing.assert_close(pairs, distance(x[:, None], y, 0.7), rtol=1e-12, atol=0)


def test_pairwise_distance_of_near_points_does_not_cancel() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 32) / 32**0.5
    y = x + 1e-3 * torch.randn(16, 32) / 32**0.5
    exact = distance(x.double(), y.double(), 1.0)
    torch.testing.assert_close(
        pairwise_distance(x, y, 1.0).diagonal().double(), exact, rtol=2e-6, atol=0
    )
    by_products = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    by_differences = (x - y).double().square().sum(1)
    error = (by_products.diagonal() - by_differences).abs() / by_differences
    assert error.max() > 1e-2, "the form that is avoided would have done"


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_gradients_are_right(c: float) -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)
    for function in (distance, pairwise_distance, inner):
        assert torch.autograd.gradcheck(function, (x, y, curvature))
    for function in (time, exp0, log0, radius, to_full):
        assert torch.autograd.gradcheck(function, (x, curvature))
    # Near the origin, in the series.
    near = (1e-4 * torch.randn(3, 4, dtype=torch.float64)).requires_grad_()
    for function in (exp0, log0):
        assert torch.autograd.gradcheck(function, (near, curvature))


@pytest.mark.parametrize(
    "point", ["zero", "tiny", "near", "far"], ids=lambda name: f"{name}_points"
)
def test_gradients_are_finite_where_the_textbook_has_nan(point: str) -> None:
    length = {"zero": 0.0, "tiny": 1e-20, "near": 1e-3, "far": 70.0}[point]
    direction = torch.nn.functional.normalize(torch.arange(1.0, 5.0), dim=0)
    one = length * direction
    for other in (one, 2 * one, -one, torch.zeros(4)):  # coincident, collinear, opposite, origin
        x, y = one.clone().requires_grad_(), other.clone().requires_grad_()
        c = torch.tensor(1.0, requires_grad=True)
        total = distance(x, y, c) + inner(x, y, c) + pairwise_distance(x[None], y[None], c).sum()
        for function in (exp0, log0, radius, time):
            total = total + function(x, c).sum()
        total.backward()
        for tensor in (x, y, c):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


@settings(max_examples=30)
@given(units)
def test_a_lift_at_the_origin_is_the_identity_to_first_order(unit: Tensor) -> None:
    v = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(exp0(v, 1.0) @ unit, v)
    assert torch.equal(gradient, unit)
