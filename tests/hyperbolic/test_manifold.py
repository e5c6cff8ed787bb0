"""Our functions and geoopt's speak of the same space."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import (
    centroid,
    distance,
    exp0,
    exterior_angle,
    from_full,
    geoopt_lorentz,
    inner,
    log0,
    pairwise_distance,
    radius,
    time,
    to_full,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
CURVATURES = pytest.mark.parametrize("c", [0.1, 0.7, 1.0, 10.0])


def tangents(seed: int, c: float) -> Tensor:
    """Tangent vectors of lengths around 1.5/sqrt(c)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 5, dtype=torch.float64, generator=generator) * 0.7 / c**0.5


@CURVATURES
def test_points_and_maps_at_the_origin_agree(c: float) -> None:
    manifold = geoopt_lorentz(c, torch.float64)
    v = tangents(0, c)
    x = exp0(v, c)
    full = to_full(x, c)
    manifold.assert_check_point_on_manifold(full, atol=1e-12, rtol=1e-12)
    padded = torch.cat([torch.zeros(8, 1, dtype=torch.float64), v], dim=1)
    torch.testing.assert_close(manifold.expmap0(padded), full, **CLOSE)
    torch.testing.assert_close(from_full(manifold.logmap0(full)), log0(x, c), **CLOSE)
    torch.testing.assert_close(manifold.dist0(full), radius(x, c), **CLOSE)
    torch.testing.assert_close(manifold.projx(full)[:, 0], time(x, c), **CLOSE)


@CURVATURES
def test_distances_agree(c: float) -> None:
    manifold = geoopt_lorentz(c, torch.float64)
    x, y = exp0(tangents(1, c), c), exp0(tangents(2, c), c)
    full_x, full_y = to_full(x, c), to_full(y, c)
    theirs = manifold.dist(full_x, full_y)
    torch.testing.assert_close(distance(x, y, c), theirs, **CLOSE)
    torch.testing.assert_close(pairwise_distance(x, y, c).diagonal(), theirs, **CLOSE)
    torch.testing.assert_close(inner(x, y, c), manifold.inner(full_x, full_x, full_y), **CLOSE)


@CURVATURES
def test_exterior_angles_agree_with_logarithms(c: float) -> None:
    """The angle between the way to q and the way on from the origin, from tangent vectors."""
    manifold = geoopt_lorentz(c, torch.float64)
    p, q = exp0(tangents(3, c), c), exp0(tangents(4, c), c)
    full_p, full_q = to_full(p, c), to_full(q, c)
    to_q = manifold.logmap(full_p, full_q)
    outwards = -manifold.logmap(full_p, to_full(torch.zeros_like(p), c))
    product = manifold.inner(full_p, to_q, outwards)
    angle = torch.acos(product / (manifold.norm(to_q) * manifold.norm(outwards)))
    torch.testing.assert_close(exterior_angle(p, q, c), angle, **CLOSE)


@CURVATURES
def test_a_centroid_is_a_point_where_the_pulls_cancel(c: float) -> None:
    """Gradient of the sum of squared Lorentz distances is normal to the hyperboloid there."""
    manifold = geoopt_lorentz(c, torch.float64)
    x, weights = exp0(tangents(5, c), c), torch.rand(8, dtype=torch.float64)
    middle = to_full(centroid(x, weights, c), c)
    pull = manifold.proju(middle, weights @ to_full(x, c))
    torch.testing.assert_close(pull, torch.zeros_like(pull), rtol=0, atol=1e-12 / c**0.5 * 10)


def test_riemannian_steps_stay_on_the_hyperboloid() -> None:
    import geoopt

    manifold = geoopt_lorentz(0.5)
    target = exp0(tangents(6, 0.5).float(), 0.5)
    points = geoopt.ManifoldParameter(
        to_full(exp0(tangents(7, 0.5).float(), 0.5), 0.5), manifold=manifold
    )
    assert points.dtype == torch.float32
    optimizer = geoopt.optim.RiemannianAdam([points], lr=0.1)
    before = distance(from_full(points.detach()), target, 0.5).sum()
    for _ in range(60):
        optimizer.zero_grad()
        distance(from_full(points), target, 0.5).sum().backward()
        optimizer.step()
    manifold.assert_check_point_on_manifold(points.detach(), atol=1e-4, rtol=1e-4)
    assert distance(from_full(points.detach()), target, 0.5).sum() < before / 2


@pytest.mark.parametrize("c", [0.0, -1.0, float("nan"), float("inf")])
def test_a_curvature_that_is_none_is_refused(c: float) -> None:
    with pytest.raises(UsageError, match="curvature"):
        geoopt_lorentz(c)


def test_warnings_of_geoopt_do_not_reach_the_user() -> None:
    program = "from hypergene.hyperbolic import geoopt_lorentz; geoopt_lorentz(1.0)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "geoopt" not in done.stderr
    assert "torch.jit" not in done.stderr
