"""Entailment cones open outwards, and their angles have gradients everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.hyperbolic import cone_violation, exp0, exterior_angle, half_aperture

curvatures = st.floats(0.1, 10)
units = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


@given(units, st.floats(0.05, 2.5), curvatures)
def test_a_point_farther_out_on_the_ray_is_straight_ahead(v: Tensor, t: float, c: float) -> None:
    assume(v.norm() > 0.05)
    assume(abs(t - 1) > 0.05)
    v = v / math.sqrt(c)
    angle = exterior_angle(exp0(v, c), exp0(t * v, c), c).item()
    assert angle == pytest.approx(0 if t > 1 else math.pi, abs=1e-6)


@given(units, curvatures)
def test_the_origin_lies_behind_every_point(v: Tensor, c: float) -> None:
    assume(v.norm() > 1e-3)
    angle = exterior_angle(v, torch.zeros(3).double(), c).item()
    assert angle == pytest.approx(math.pi, abs=1e-6)


@given(units, units, curvatures)
def test_curvature_is_only_a_scale(p: Tensor, q: Tensor, c: float) -> None:
    assume(p.norm() > 1e-2)
    assume((p - q).norm() > 1e-2)
    root = math.sqrt(c)
    torch.testing.assert_close(half_aperture(p / root, c), half_aperture(p, 1.0))
    torch.testing.assert_close(
        exterior_angle(p / root, q / root, c), exterior_angle(p, q, 1.0), rtol=0, atol=1e-9
    )


@given(st.floats(0, 50), st.floats(0, 50), curvatures)
def test_cones_narrow_outwards_from_almost_a_half_space(a: float, b: float, c: float) -> None:
    near, far = sorted((a, b))
    wide, narrow = (
        half_aperture(torch.tensor([length, 0.0]).double(), c) for length in (near, far)
    )
    assert 0 < narrow <= wide < math.pi / 2
    if math.sqrt(c) * far <= 0.2:
        assert narrow == wide
    elif far > near * 1.001:
        assert narrow < wide


def test_violation_is_zero_inside_and_the_excess_outside() -> None:
    p = torch.tensor([1.0, 0.0]).double()
    ahead, aside = torch.tensor([3.0, 0.1]).double(), torch.tensor([0.0, 1.0]).double()
    assert exterior_angle(p, ahead, 1.0) < half_aperture(p, 1.0)
    assert cone_violation(p, ahead, 1.0) == 0
    for eta in (0.7, 1.0, 1.2):
        excess = exterior_angle(p, aside, 1.0) - eta * half_aperture(p, 1.0)
        torch.testing.assert_close(cone_violation(p, aside, 1.0, eta), excess)


def into_cone(p: Tensor, ahead: Tensor, offset: Tensor) -> Tensor:
    """Return the point at an offset from one straight ahead, or nearer until p's cone holds it."""
    while cone_violation(p, ahead + offset, 1.0) > 0:
        offset = offset / 2
    return ahead + offset


@given(units, units, units)
def test_a_cone_holds_the_cones_of_its_points(p: Tensor, q: Tensor, r: Tensor) -> None:
    """Entailment is transitive (Ganea et al. 2018, section 3)."""
    if p.norm() <= 0.2:  # the cone there is as wide as it gets
        p = p + torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
    q = into_cone(p, 2 * p, 0.2 * q)
    r = into_cone(q, 2 * q, 0.5 * r)
    assert cone_violation(p, q, 1.0) == 0 and cone_violation(q, r, 1.0) == 0
    assert cone_violation(p, r, 1.0) < 1e-9


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_gradients_are_right(c: float) -> None:
    torch.manual_seed(0)
    p = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    q = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(half_aperture, (p, curvature))
    assert torch.autograd.gradcheck(exterior_angle, (p, q, curvature))
    assert torch.autograd.gradcheck(cone_violation, (p, q, curvature))


@pytest.mark.parametrize("length", [0.0, 1e-20, 1e-6, 0.2, 1.0, 70.0])
def test_gradients_are_finite_where_arccos_has_none(length: float) -> None:
    direction = torch.nn.functional.normalize(torch.arange(1.0, 5.0), dim=0)
    one = length * direction
    for other in (one, 2 * one, 0.5 * one, -one, torch.zeros(4), torch.ones(4)):
        p, q = one.clone().requires_grad_(), other.clone().requires_grad_()
        c = torch.tensor(1.0, requires_grad=True)
        (exterior_angle(p, q, c) + cone_violation(p, q, c)).backward()
        for tensor in (p, q, c):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


def test_a_satisfied_collinear_pair_feels_no_force() -> None:
    p = torch.tensor([0.3, 0.4], requires_grad=True)
    q = torch.tensor([0.9, 1.2], requires_grad=True)
    cone_violation(p, q, 1.0).backward()
    assert p.grad is not None and q.grad is not None
    assert torch.equal(p.grad, torch.zeros(2)) and torch.equal(q.grad, torch.zeros(2))


def test_angles_that_do_not_exist_have_the_stated_values() -> None:
    p = torch.tensor([0.25, 0.5])
    assert exterior_angle(p, p, 1.0) == 0
    assert exterior_angle(torch.zeros(2), p, 1.0).item() == pytest.approx(math.pi / 2)
