"""Every formula agrees with its textbook form computed with 60 digits."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from mpmath import mpf
from torch import Tensor

from hypergene.hyperbolic import (
    centroid,
    distance,
    exp0,
    exterior_angle,
    half_aperture,
    inner,
    log0,
    pairwise_distance,
    radius,
    time,
)

Vector = list[mpf]
NORMS = (1e-6, 1.0, 10.0)
CURVATURES = (0.1, 1.0, 10.0)
RELATIVE = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.fixture(autouse=True)
def _sixty_digits() -> object:
    with mpmath.workdps(60):
        yield


def exact(x: Tensor) -> Vector:
    return [mpf(value) for value in x.double().tolist()]


def dot(x: Vector, y: Vector) -> mpf:
    return mpmath.fdot(x, y)


def exact_time(x: Vector, c: float) -> mpf:
    return mpmath.sqrt(1 / mpf(c) + dot(x, x))


def exact_inner(x: Vector, y: Vector, c: float) -> mpf:
    return dot(x, y) - exact_time(x, c) * exact_time(y, c)


def exact_distance(x: Vector, y: Vector, c: float) -> mpf:
    return mpmath.acosh(-c * exact_inner(x, y, c)) / mpmath.sqrt(c)


def points(norm: float, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    return (norm * x / x.norm(dim=-1, keepdim=True)).to(dtype)


def relative_error(ours: Tensor, reference: mpf) -> float:
    return float(abs(mpf(ours.item()) - reference) / abs(reference))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("norm", NORMS)
def test_functions_of_a_point_are_accurate(norm: float, c: float, dtype: torch.dtype) -> None:
    for x in points(norm, dtype, seed=0):
        length = mpmath.sqrt(dot(exact(x), exact(x)))
        z = mpmath.sqrt(c) * length
        lifted = mpmath.sinh(min(z, mpf(5))) / z
        tolerance = RELATIVE[dtype]
        assert relative_error(time(x, c), exact_time(exact(x), c)) < tolerance
        assert relative_error(radius(x, c), mpmath.asinh(z) / mpmath.sqrt(c)) < tolerance
        assert relative_error(exp0(x, c)[0], lifted * exact(x)[0]) < tolerance
        assert relative_error(log0(x, c)[0], mpmath.asinh(z) / z * exact(x)[0]) < tolerance
        aperture = mpmath.asin(min(1 - mpf(10) ** -6, mpf("0.2") / z))
        # Where the sine is clamped just under 1, float32 knows the angle to 5e-5 only.
        loose = 5e-5 if dtype == torch.float32 and z < 0.2 else tolerance
        assert relative_error(half_aperture(x, c), aperture) < max(loose, 1e-10 * (z < 0.2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("norm_y", NORMS)
@pytest.mark.parametrize("norm_x", NORMS)
def test_functions_of_a_pair_are_accurate(
    norm_x: float, norm_y: float, c: float, dtype: torch.dtype
) -> None:
    xs, ys = points(norm_x, dtype, seed=1), points(norm_y, dtype, seed=2)
    together = pairwise_distance(xs, ys, c).diagonal()
    floor = 2 / mpmath.sqrt(c) * mpmath.asinh(mpf("5e-7"))
    for x, y, pairwise in zip(xs, ys, together, strict=True):
        p, q = exact(x), exact(y)
        expected = max(exact_distance(p, q, c), floor)
        assert relative_error(distance(x, y, c), expected) < RELATIVE[dtype]
        assert relative_error(pairwise, expected) < RELATIVE[dtype]
        assert relative_error(inner(x, y, c), exact_inner(p, q, c)) < RELATIVE[dtype]
        angle = exact_exterior_angle(p, q, c)
        if expected > floor:
            assert abs(exterior_angle(x, y, c).item() - angle) < 5 * RELATIVE[dtype]


def exact_exterior_angle(p: Vector, q: Vector, c: float) -> mpf:
    """Textbook form: arccos of (q_t + p_t c <p, q>) / (|p| sqrt((c <p, q>)^2 - 1))."""
    product = c * exact_inner(p, q, c)
    norm = mpmath.sqrt(dot(p, p))
    cosine = (exact_time(q, c) + exact_time(p, c) * product) / (norm * mpmath.sqrt(product**2 - 1))
    return mpmath.acos(cosine)


@pytest.mark.parametrize("step", [1e-6, 1e-3, 1.0, 10.0])
def test_float32_distances_are_accurate_from_tiny_to_huge(step: float) -> None:
    torch.manual_seed(3)
    x = exp0(torch.randn(8, 16) / 4, 1.0)
    across = torch.linalg.qr(torch.cat([x, torch.randn(8, 16)]).double().T)[0].T[8:]
    y = (x + step * across[torch.arange(8)]).float()
    for one, other in zip(x, y, strict=True):
        expected = exact_distance(exact(one), exact(other), 1.0)
        if expected > 1e-6:
            assert relative_error(distance(one, other, 1.0), expected) < 2e-6


@pytest.mark.parametrize(("reach", "bound"), [(1.0, 2e-6), (2.0, 4e-5), (4.5, 1e-2)])
def test_float32_distances_along_a_ray_lose_digits_only_far_out(reach: float, bound: float) -> None:
    """The stated limit of the form: |x - y|^2 and the squared time difference cancel there."""
    direction = points(1.0, torch.float64, seed=4)
    x = (direction * math.sinh(reach)).float()
    y = (direction * math.sinh(reach + 0.1)).float()
    for one, other in zip(x, y, strict=True):
        expected = exact_distance(exact(one), exact(other), 1.0)
        assert relative_error(distance(one, other, 1.0), expected) < bound


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("norm", NORMS)
def test_centroids_are_accurate(norm: float, c: float) -> None:
    x = points(norm, torch.float64, seed=5)
    weights = torch.tensor([0.1, 0.4, 0.0, 2.5], dtype=torch.float64)
    rows = [[exact_time(exact(point), c), *exact(point)] for point in x]
    total = [dot(exact(weights), [row[i] for row in rows]) for i in range(7)]
    length = mpmath.sqrt(c) * mpmath.sqrt(total[0] ** 2 - dot(total[1:], total[1:]))
    for ours, reference in zip(centroid(x, weights, c), total[1:], strict=True):
        assert relative_error(ours, reference / length) < 1e-12
