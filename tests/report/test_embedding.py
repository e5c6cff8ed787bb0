from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.report.embedding import view_in_disk


def lorentz(directions: np.ndarray, distances: np.ndarray, curvature: float) -> np.ndarray:
    """Space coordinates of points at these distances from the origin."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    s = np.sqrt(curvature)
    return unit * (np.sinh(s * distances) / s)[:, None]


@given(
    curvature=st.floats(0.05, 5), seed=st.integers(0, 2**16), dim=st.integers(2, 6),
    far=st.floats(0.3, 4),
)  # fmt: skip
def test_what_lies_in_a_plane_is_shown_at_its_true_distance(
    curvature: float, seed: int, dim: int, far: float
) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0.2, 1, 30) * far
    directions = np.zeros((30, dim))
    directions[:, :2] = rng.normal(size=(30, 2))
    # Any plane through the origin, not the one of the axes.
    turn, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    view = view_in_disk(lorentz(directions @ turn, distances, curvature), distances)
    assert view.curvature == pytest.approx(curvature, rel=1e-4)
    assert view.kept == pytest.approx(1)
    shown = np.linalg.norm(view.xy, axis=1)
    # The distance from the origin to x in the Poincaré disk of curvature −c is 2/√c·artanh|x|.
    assert np.allclose(2 * np.arctanh(shown) / np.sqrt(curvature), distances, rtol=1e-4)
    cosines = (view.xy / shown[:, None]) @ (view.xy / shown[:, None]).T
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.allclose(cosines, unit @ unit.T, atol=1e-6), "angles at the origin stay"


@given(seed=st.integers(0, 2**16), curvature=st.floats(0.05, 5))
def test_nothing_leaves_the_disk_or_moves_outwards(seed: int, curvature: float) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 6, 40)
    view = view_in_disk(lorentz(rng.normal(size=(40, 8)), distances, curvature), distances)
    shown = np.linalg.norm(view.xy, axis=1)
    assert (shown < 1).all()
    assert (shown <= [view.radius(distance) * (1 + 1e-9) for distance in distances]).all()
    assert 0 < view.kept < 1


def test_a_flat_embedding_is_shown_flat() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2))
    view = view_in_disk(points, np.linalg.norm(points, axis=1))
    assert view.curvature == 0
    assert np.allclose(np.linalg.norm(view.xy, axis=1), np.linalg.norm(points, axis=1))
    assert view.radius(3.0) == 3.0


def test_float32_of_a_prediction_tells_the_curvature_well_enough() -> None:
    rng = np.random.default_rng(1)
    distances = rng.uniform(0.1, 0.4, 200)
    points = lorentz(rng.normal(size=(200, 64)), distances, 1.3)
    view = view_in_disk(points.astype(np.float32), distances.astype(np.float32))
    assert view.curvature == pytest.approx(1.3, rel=1e-3)


def test_points_at_the_origin_stay_there() -> None:
    view = view_in_disk(np.zeros((5, 3)), np.zeros(5))
    assert not view.xy.any()
