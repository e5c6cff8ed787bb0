"""Rings of neighbours against brute force, under motion, and in linear memory."""

from __future__ import annotations

import itertools
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hypergene.errors import SpotsError
from hypergene.spots import lay_spots, layout_named, rings

PITCHES = [0.0, 125.0, 225.0, 325.0]

# Small whole numbers: coincident points and distances equal to an edge are common, not rare.
whole_points = npst.arrays(
    np.int64, st.tuples(st.integers(0, 25), st.just(2)), elements=st.integers(-6, 6)
)
whole_edges = st.lists(st.integers(0, 12), min_size=2, max_size=5, unique=True).map(sorted)


def brute_force(query, context, edges):
    """The definition, in exact integers."""
    squared = ((query[:, None, :] - context[None, :, :]) ** 2).sum(axis=2)
    matrices = []
    for low, high in itertools.pairwise(edges):
        inside = (low**2 < squared) & (squared <= high**2)
        matrices.append(inside / np.maximum(inside.sum(axis=1, keepdims=True), 1))
    return matrices


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Make `rings` work in many small blocks."""
    monkeypatch.setattr(sys.modules[rings.__module__], "MAX_PAIRS", 7)


@given(whole_points, whole_points, whole_edges)
@settings(deadline=None, max_examples=200)
def test_rings_are_what_their_definition_says(query, context, edges):
    found = rings(query, context, edges)
    expected = brute_force(query, context, edges)
    assert len(found) == len(expected) == len(edges) - 1
    for matrix, dense in zip(found, expected, strict=True):
        assert matrix.dtype == np.float32
        assert matrix.format == "csr"
        assert matrix.has_sorted_indices
        assert matrix.nnz == np.count_nonzero(dense)
        np.testing.assert_allclose(matrix.toarray(), dense, rtol=1e-6)


def test_blocks_do_not_show_in_the_result(tiny_blocks):
    rng = np.random.default_rng(0)
    query, context = rng.integers(-6, 7, (40, 2)), rng.integers(-6, 7, (60, 2))
    edges = [0, 2, 5, 9]
    for matrix, dense in zip(
        rings(query, context, edges), brute_force(query, context, edges), strict=True
    ):
        np.testing.assert_allclose(matrix.toarray(), dense, rtol=1e-6)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 2 * np.pi),
    st.booleans(),
    st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
)
@settings(deadline=None, max_examples=60)
def test_moving_turning_and_mirroring_change_no_ring(seed, angle, mirrored, shift):
    rng = np.random.default_rng(seed)
    points = lay_spots(layout_named("visium"), (3000, 2400), (0.5, 0.5)).xy_um
    points = points[rng.random(len(points)) < 0.7]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points * [-1 if mirrored else 1, 1] @ turn.T + shift
    for before, after in zip(
        rings(points, points, PITCHES), rings(moved, moved, PITCHES), strict=True
    ):
        assert before.nnz > 0
        assert abs(before - after).max() == 0


def test_the_order_of_the_context_only_reorders_the_columns():
    rng = np.random.default_rng(1)
    points = rng.random((200, 2)) * 1000
    order = rng.permutation(200)
    for plain, shuffled in zip(
        rings(points, points, PITCHES), rings(points, points[order], PITCHES), strict=True
    ):
        assert abs(plain[:, order] - shuffled).max() == 0


def test_rings_of_a_visium_spot_hold_6_12_and_18_neighbours():
    points = lay_spots(layout_named("visium"), (4000, 4000), (0.5, 0.5)).xy_um
    inner = np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))
    assert [matrix[[inner]].nnz for matrix in rings(points, points, PITCHES)] == [6, 12, 18]


def test_an_edge_spot_has_fewer_neighbours_with_a_mean_all_the_same():
    points = np.array([[0.0, 0.0], [100.0, 0.0], [5000.0, 5000.0]])
    (near,) = rings(points, points, [0, 125])
    values = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(near @ values, [2.0, 1.0, 0.0])


def test_the_spot_itself_is_in_no_ring():
    points = np.random.default_rng(2).random((50, 2)) * 300
    for matrix in rings(points, points, PITCHES):
        assert not matrix.diagonal().any()


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
def test_no_points_make_empty_matrices(n, m):
    for matrix in rings(np.zeros((n, 2)), np.zeros((m, 2)), PITCHES):
        assert matrix.shape == (n, m)
        assert matrix.nnz == 0


@pytest.mark.parametrize("edges", [[], [0], [-1, 5], [0, 5, 5], [5, 0], [0, np.nan], [0, np.inf]])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(SpotsError, match="rise"):
        rings(np.zeros((1, 2)), np.zeros((1, 2)), edges)


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.zeros(4), np.array([[0, np.nan]])])
def test_points_that_are_no_finite_pairs_are_refused(points):
    with pytest.raises(SpotsError, match="query"):
        rings(points, np.zeros((1, 2)), PITCHES)
    with pytest.raises(SpotsError, match="context"):
        rings(np.zeros((1, 2)), points, PITCHES)


def peak_bytes(side_px: int) -> tuple[int, int]:
    points = lay_spots(layout_named("visium"), (side_px, side_px), (0.5, 0.5)).xy_um
    tracemalloc.start()
    try:
        rings(points, points, PITCHES)
        return len(points), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_spots_not_with_their_square(monkeypatch):
    monkeypatch.setattr(sys.modules[rings.__module__], "MAX_PAIRS", 20_000)
    few, few_bytes = peak_bytes(8_000)
    many, many_bytes = peak_bytes(32_000)
    assert many > 15 * few
    assert many_bytes / few_bytes < 1.2 * many / few
