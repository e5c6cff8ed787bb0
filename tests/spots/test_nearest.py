"""The nearest neighbours: only distances decide, and equally near ones are taken together."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypergene.errors import SpotsError
from hypergene.spots import lay_spots, layout_named, nearest, rings
from hypergene.spots.nearest import LEVEL_UM

HEXAGONS = lay_spots(layout_named("visium"), (3000, 2400), (0.5, 0.5)).xy_um
SQUARES = lay_spots(layout_named("st"), (6000, 5000), (0.5, 0.5)).xy_um


def brute(query: NDArray, context: NDArray, k: int, low: float, high: float) -> list[list[int]]:
    """The rule, spelt out: every neighbour within bounds that k does not cut off."""
    found = []
    for point in query:
        away = np.linalg.norm(context - point, axis=1)
        inside = np.flatnonzero((away > low) & (away <= high))
        order = inside[np.argsort(away[inside], kind="stable")]
        if len(order) > k:
            order = order[:k][away[order[:k]] < away[order[k]] - LEVEL_UM]
        found.append(sorted(order.tolist()))
    return found


def sets(index: NDArray) -> list[list[int]]:
    return [sorted(row[row >= 0].tolist()) for row in index]


@given(st.integers(0, 999), st.integers(1, 30), st.floats(0, 200), st.floats(1, 300))
@settings(max_examples=60)
def test_it_is_the_nearest_within_bounds(seed: int, k: int, low: float, more: float):
    rng = np.random.default_rng(seed)
    query, context = rng.random((9, 2)) * 500, rng.random((60, 2)) * 500
    found = nearest(query, context, k, low, low + more)
    assert sets(found.index) == brute(query, context, k, low, low + more)
    there = found.index >= 0
    away = np.linalg.norm(query[:, None] - context[found.index], axis=2)
    np.testing.assert_allclose(found.distance_um[there], away[there], rtol=1e-6)
    assert np.isinf(found.distance_um[~there]).all()
    assert (np.sort(found.distance_um, axis=1) == found.distance_um).all()  # nearest first
    assert found.index.dtype == np.int64 and found.distance_um.dtype == np.float32
    assert found.index.shape == found.distance_um.shape == (9, k)


@given(
    st.sampled_from(["hexagons", "squares"]),
    st.integers(1, 24),
    st.floats(-np.pi, np.pi),
    st.booleans(),
    st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
)
@settings(max_examples=40)
def test_the_neighbours_on_a_lattice_stay_when_it_is_moved_turned_or_mirrored(
    lattice: str, k: int, angle: float, mirrored: bool, shift: tuple[float, float]
):
    points = HEXAGONS if lattice == "hexagons" else SQUARES
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points * [-1 if mirrored else 1, 1] @ turn.T + shift
    low, high = (50.0, 325.0) if lattice == "hexagons" else (100.0, 650.0)
    before, after = nearest(points, points, k, low, high), nearest(moved, moved, k, low, high)
    assert sets(before.index) == sets(after.index)
    np.testing.assert_allclose(before.distance_um, after.distance_um, rtol=1e-5)


def test_equally_near_neighbours_are_taken_together_or_not_at_all():
    def inside(points: NDArray, k: int, low: float, high: float) -> int:
        middle = np.argmin(np.linalg.norm(points - points.mean(0), axis=1))
        return int((nearest(points[[middle]], points, k, low, high).index >= 0).sum())

    assert [inside(HEXAGONS, k, 50, 325) for k in (5, 6, 11, 12, 18, 19)] == [0, 6, 6, 12, 18, 18]
    assert [inside(SQUARES, k, 100, 650) for k in (3, 4, 8, 12, 18, 20)] == [0, 4, 8, 12, 12, 20]


def test_the_order_of_the_context_only_renumbers_it():
    order = np.random.default_rng(1).permutation(len(HEXAGONS))
    plain = nearest(HEXAGONS, HEXAGONS, 12, 50, 325).index
    shuffled = nearest(HEXAGONS, HEXAGONS[order], 12, 50, 325).index
    assert sets(np.where(shuffled >= 0, order[shuffled], -1)) == sets(plain)
    assert (plain >= 0).sum() > 1000


def test_enough_neighbours_are_exactly_those_of_all_rings():
    found = nearest(HEXAGONS, HEXAGONS, 40, 50, 325)
    together = sum(rings(HEXAGONS, HEXAGONS, [50, 125, 225, 325]))
    assert sets(found.index) == [sorted(row.indices.tolist()) for row in together]


def test_a_spot_is_not_its_own_neighbour_and_a_lone_spot_has_none():
    found = nearest(HEXAGONS, HEXAGONS, 18, 0, 325).index
    assert not (found == np.arange(len(HEXAGONS))[:, None]).any()
    assert (nearest(HEXAGONS[:1], HEXAGONS[:1], 18, 0, 325).index == -1).all()
    assert (nearest([[1e6, 1e6]], HEXAGONS, 18, 0, 325).index == -1).all()


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
def test_no_points_make_tables_without_neighbours(n: int, m: int):
    found = nearest(np.zeros((n, 2)), np.ones((m, 2)), 3, 5, 10)
    assert found.index.shape == found.distance_um.shape == (n, 3)
    assert (found.index == -1).all()


def test_what_is_no_question_is_refused():
    some = np.zeros((2, 2))
    for points in (np.zeros((3, 3)), np.zeros(4), np.array([[0, np.nan]])):
        with pytest.raises(SpotsError, match="query"):
            nearest(points, some, 3, 0, 10)
        with pytest.raises(SpotsError, match="context"):
            nearest(some, points, 3, 0, 10)
    with pytest.raises(SpotsError, match="at least 1"):
        nearest(some, some, 0, 0, 10)
    for low, high in ((-1, 10), (5, 5), (5, 1), (0, np.nan), (0, np.inf), (np.nan, 5)):
        with pytest.raises(SpotsError, match="rise"):
            nearest(some, some, 3, low, high)


def test_blocks_change_nothing_and_bound_the_memory(monkeypatch: pytest.MonkeyPatch):
    points = lay_spots(layout_named("visium"), (16_000, 16_000), (0.5, 0.5)).xy_um

    def peak_bytes() -> int:
        tracemalloc.start()
        try:
            results.append(sets(nearest(points, points, 18, 50, 325).index))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    results: list[list[list[int]]] = []
    whole = peak_bytes()
    monkeypatch.setattr(sys.modules[nearest.__module__], "MAX_PAIRS", 2_000)
    blocks = peak_bytes()
    assert results[0] == results[1]
    assert len(points) > 7000 and blocks < 0.8 * whole
