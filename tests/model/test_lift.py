"""The shared space: Lorentz or its Euclidean twin, with a few bounded scalars."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hypergene.model.config import GeometryConfig
from hypergene.model.lift import SharedSpace

GEOMETRIES = pytest.mark.parametrize("kind", ["lorentz", "euclidean"])


def space_of(kind: str, dim: int = 4) -> SharedSpace:
    return SharedSpace(GeometryConfig.model_validate({"kind": kind, "dim": dim}))


@pytest.fixture
def tangent() -> Tensor:
    return torch.randn(9, 4, generator=torch.Generator().manual_seed(0))


@GEOMETRIES
@torch.inference_mode()
def test_unlifting_gives_back_the_scaled_tangent(kind: str, tangent: Tensor):
    space = space_of(kind)
    torch.testing.assert_close(space.unlift(space.lift_image(tangent)), tangent / 4**0.5)


@GEOMETRIES
@torch.inference_mode()
def test_lifting_as_it_is_undoes_unlifting(kind: str, tangent: Tensor):
    space = space_of(kind)
    space.log_scale_image.fill_(-3.0)  # a modality's scale has no part in it
    torch.testing.assert_close(space.unlift(space.lift(tangent)), tangent)
    points = space.lift_gene(tangent)
    torch.testing.assert_close(space.lift(space.unlift(points)), points)


@GEOMETRIES
@torch.inference_mode()
def test_the_radius_of_a_point_is_the_length_of_its_tangent(kind: str, tangent: Tensor):
    space = space_of(kind)
    points = space.lift_gene(tangent)
    torch.testing.assert_close(space.radius(points), (tangent / 2).norm(dim=1))
    origin = torch.zeros_like(points)
    torch.testing.assert_close(space.distance(origin, points), space.radius(points))


@torch.inference_mode()
def test_hyperbolic_points_lie_farther_apart_than_flat_ones(tangent: Tensor):
    flat, curved = space_of("euclidean"), space_of("lorentz")
    one, other = tangent, -tangent.roll(1, 0)
    far = curved.distance(curved.lift_image(one), curved.lift_image(other))
    assert (far > flat.distance(flat.lift_image(one), flat.lift_image(other))).all()


@GEOMETRIES
def test_gradients_are_finite_where_points_coincide(kind: str):
    space = space_of(kind)
    tangent = torch.zeros(2, 4, requires_grad=True)
    points = space.lift_image(tangent)
    (space.distance(points, points) + space.radius(points)).sum().backward()
    assert tangent.grad is not None and tangent.grad.isfinite().all()


@GEOMETRIES
def test_points_of_half_precision_tangents_are_float32(kind: str, tangent: Tensor):
    space = space_of(kind)
    with torch.autocast("cpu", torch.bfloat16):
        points = space.lift_image(tangent.bfloat16())
        results = [points, space.unlift(points), space.distance(points, points)]
    assert {tensor.dtype for tensor in [*results, space.radius(points)]} == {torch.float32}


@pytest.mark.parametrize(("raw", "bounded"), [(-50.0, 0.1), (0.0, 1.0), (50.0, 10.0)])
def test_the_curvature_stays_between_a_tenth_and_ten(raw: float, bounded: float):
    space = space_of("lorentz")
    space.log_curvature.data.fill_(raw)
    assert space.curvature.item() == pytest.approx(bounded)


def test_the_temperature_starts_at_7_percent_and_stays_above_1_percent():
    space = space_of("lorentz")
    assert space.temperature.item() == pytest.approx(0.07)
    space.log_inverse_temperature.data.fill_(50.0)
    assert space.temperature.item() == pytest.approx(0.01)


def test_the_scale_starts_at_one_over_root_dim_and_never_stretches():
    space = space_of("euclidean", dim=16)
    one = torch.ones(1, 16)
    assert space.lift_image(one)[0, 0].item() == pytest.approx(0.25)
    space.log_scale_image.data.fill_(3.0)
    assert torch.equal(space.lift_image(one), one)
    assert space.lift_gene(one)[0, 0].item() == pytest.approx(math.exp(space.log_scale_gene.item()))
