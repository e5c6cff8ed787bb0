"""Geometry is computed in float32 at least, whatever runs around it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hypergene.hyperbolic import (
    at_least_float32,
    centroid,
    cone_violation,
    distance,
    exp0,
    exterior_angle,
    half_aperture,
    inner,
    log0,
    pairwise_distance,
    radius,
    time,
    to_full,
)

OF_A_POINT = [time, to_full, exp0, log0, radius, half_aperture]
OF_A_PAIR = [inner, distance, pairwise_distance, exterior_angle, cone_violation]
HALVES = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)


@HALVES
@pytest.mark.parametrize("function", OF_A_POINT + OF_A_PAIR, ids=lambda f: f.__name__)
def test_half_precision_inputs_under_autocast_are_computed_in_float32(
    function: Callable[..., Tensor], half: torch.dtype
) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(6, 4).to(half) for _ in range(2 if function in OF_A_PAIR else 1)]
    expected = function(*(x.float() for x in inputs), 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = function(*inputs, 1.0)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_autocast_does_not_lower_the_matrix_product_of_a_centroid() -> None:
    x, weights = torch.randn(5, 3), torch.rand(4, 5)
    expected = centroid(x, weights, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (weights @ x).dtype == torch.bfloat16, "autocast is not on; the test is empty"
        assert torch.equal(centroid(x, weights, 1.0), expected)
        assert centroid(x.bfloat16(), weights.bfloat16(), 1.0).dtype == torch.float32


def test_a_half_precision_curvature_is_raised_too() -> None:
    result = distance(torch.randn(3), torch.randn(3), torch.tensor(0.5).bfloat16())
    assert result.dtype == torch.float32


def test_half_precision_tangents_of_norm_6_do_not_overflow() -> None:
    v = torch.full((4,), 3.0, dtype=torch.float16)
    assert torch.isfinite(distance(exp0(v, 1.0), exp0(-v, 1.0), 1.0))


def test_gradients_come_back_in_the_dtype_of_the_input() -> None:
    v = torch.randn(5, 4, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        radius(exp0(v, 1.0), 1.0).sum().backward()
    assert v.grad is not None
    assert v.grad.dtype == torch.bfloat16
    assert torch.isfinite(v.grad).all()


def test_other_arguments_pass_unchanged() -> None:
    @at_least_float32
    def dtypes(*tensors: Tensor, name: str) -> tuple[list[torch.dtype], str]:
        return [tensor.dtype for tensor in tensors], name

    given = [torch.zeros(1, dtype=t) for t in (torch.float64, torch.int64, torch.bool)]
    assert dtypes(*given, name="spot") == ([torch.float64, torch.int64, torch.bool], "spot")
