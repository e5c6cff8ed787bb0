"""Archetypes are points of the shared space, whatever its curvature and kind."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypergene.hyperbolic import exp0, pairwise_distance, time, to_full
from hypergene.model.archetypes import Archetypes
from hypergene.model.config import GeometryConfig
from hypergene.model.network import HyperGene

DIM, COUNT, MODULES = 5, 4, 3
KINDS = pytest.mark.parametrize("kind", ["lorentz", "euclidean"])


def made(kind: str, *, tau: float = 0.5) -> tuple[Archetypes, torch.Tensor]:
    """Archetypes at random tangent vectors of the unit space, and these vectors."""
    archetypes = Archetypes(GeometryConfig(kind=kind, dim=DIM, archetypes=COUNT), MODULES)
    tangents = torch.randn(COUNT, DIM, generator=torch.Generator().manual_seed(0))
    flat = kind == "euclidean"
    archetypes.points.copy_(tangents if flat else to_full(exp0(tangents, 1.0), 1.0))
    archetypes.tau.fill_(tau)
    archetypes.quantiles.copy_(torch.linspace(0, 2, 101))
    return archetypes, tangents


def lifted(tangents: torch.Tensor, kind: str, c: float) -> torch.Tensor:
    """Where tangent vectors of the unit space lie when the curvature is -c."""
    return exp0(tangents / c**0.5, c) if kind == "lorentz" else tangents


@KINDS
def test_a_spot_is_likened_most_to_the_archetype_that_it_lies_on(kind: str) -> None:
    archetypes, tangents = made(kind)
    weights, nearest = archetypes(lifted(tangents, kind, 1.0), torch.tensor(1.0))
    assert weights.argmax(1).tolist() == [0, 1, 2, 3]
    assert nearest.max() < 1e-5
    torch.testing.assert_close(weights.sum(1), torch.ones(COUNT))


def test_weights_fall_with_the_geodesic_distance() -> None:
    archetypes, _ = made("lorentz", tau=0.3)
    spots = exp0(torch.randn(20, DIM, generator=torch.Generator().manual_seed(1)), 1.0)
    distances = pairwise_distance(spots, archetypes.points[:, 1:], 1.0)
    weights, nearest = archetypes(spots, torch.tensor(1.0))
    torch.testing.assert_close(nearest, distances.min(1).values)
    odds = weights[:, 0] / weights[:, 1]
    torch.testing.assert_close(odds, ((distances[:, 1] - distances[:, 0]) / 0.3).exp())


@given(c=st.floats(0.1, 10.0))
def test_a_learned_curvature_does_not_move_spots_among_the_archetypes(c: float) -> None:
    archetypes, _ = made("lorentz")
    tangents = torch.randn(6, DIM, generator=torch.Generator().manual_seed(2))
    one, other = (
        archetypes(lifted(tangents, "lorentz", curvature), torch.tensor(curvature))
        for curvature in (1.0, c)
    )
    torch.testing.assert_close(other.weights, one.weights, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(other.nearest, one.nearest, rtol=1e-3, atol=1e-5)


def test_half_precision_outside_does_not_reach_the_distances() -> None:
    archetypes, _ = made("lorentz")
    spots = exp0(torch.randn(6, DIM, generator=torch.Generator().manual_seed(3)), 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = archetypes(spots, torch.tensor(1.0))
    outside = archetypes(spots, torch.tensor(1.0))
    assert under.weights.dtype == under.nearest.dtype == torch.float32
    assert torch.equal(under.nearest, outside.nearest)


def test_percentiles_count_the_training_spots_that_lie_nearer() -> None:
    archetypes, _ = made("lorentz")
    found = archetypes.percentile(torch.tensor([0.0, 0.5, 1.0, 2.0, 99.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0]))


@KINDS
def test_training_leaves_them_alone(kind: str) -> None:
    """No optimiser of the network may move them, nor a decay pull them off the hyperboloid."""
    archetypes, _ = made(kind)
    assert [name for name, p in archetypes.named_parameters() if p.requires_grad] == []
    assert "points" in archetypes.state_dict()


@KINDS
def test_a_copy_is_the_same_and_stands_alone(kind: str) -> None:
    archetypes, _ = made(kind)
    twin = copy.deepcopy(archetypes)
    assert torch.equal(twin.points, archetypes.points)
    assert type(twin.points) is type(archetypes.points)
    twin.points.zero_()
    assert archetypes.points.abs().sum() > 0


def test_in_the_lorentz_model_they_live_on_geoopts_manifold() -> None:
    import geoopt

    fresh = Archetypes(GeometryConfig(dim=DIM, archetypes=COUNT), MODULES)
    assert isinstance(fresh.points, geoopt.ManifoldParameter)
    assert fresh.points.shape == (COUNT, DIM + 1)
    assert fresh.points.manifold.check_point_on_manifold(fresh.points)


@KINDS
def test_what_was_fitted_is_not_damaged(kind: str) -> None:
    assert made(kind)[0].damage() is None
    fresh = Archetypes(GeometryConfig(kind=kind, dim=DIM, archetypes=COUNT), MODULES)
    assert fresh.damage() is None


def test_rounding_far_out_is_no_damage() -> None:
    archetypes, tangents = made("lorentz")
    far = exp0(4.9 * tangents / tangents.norm(dim=1, keepdim=True), 1.0)
    archetypes.points.copy_(torch.cat([time(far, 1.0)[:, None] * (1 + 3e-7), far], 1))
    assert archetypes.damage() is None


DAMAGE: dict[str, tuple[str, Callable[[Archetypes], object], str]] = {
    "off the hyperboloid": ("lorentz", lambda a: a.points[1, 0].mul_(1.001), "hyperboloid"),
    "the lower sheet": ("lorentz", lambda a: a.points[:, 0].neg_(), "hyperboloid"),
    "overflow": ("lorentz", lambda a: a.points.fill_(1e30), "hyperboloid"),
    "infinite": ("lorentz", lambda a: a.points[0].fill_(float("inf")), "not finite"),
    "infinite vector": ("euclidean", lambda a: a.points[0].fill_(float("inf")), "not finite"),
    "no width": ("lorentz", lambda a: a.tau.zero_(), "tau"),
    "negative width": ("euclidean", lambda a: a.tau.fill_(-1.0), "tau"),
    "endless width": ("lorentz", lambda a: a.tau.fill_(float("inf")), "tau"),
    "falling quantiles": ("lorentz", lambda a: a.quantiles[50].zero_(), "quantiles"),
    "infinite scores": ("lorentz", lambda a: a.scores[0, 0].fill_(float("inf")), "scores"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_named(how: str) -> None:
    kind, harm, word = DAMAGE[how]
    archetypes, _ = made(kind)
    harm(archetypes)
    assert word in (archetypes.damage() or "")


@KINDS
def test_a_model_has_as_many_as_asked_for(make_model: Callable[..., HyperGene], kind: str) -> None:
    geometry = {"kind": kind, "dim": 6, "archetypes": 3}
    model = make_model(geometry=geometry)
    assert model.archetypes is not None and len(model.archetypes) == 3
    assert model.archetypes.scores.shape == (3, model.config.head.modules)
    assert make_model(geometry=geometry | {"archetypes": 0}).archetypes is None
