from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from hypergene.evaluation import pearson_per_gene
from hypergene.evaluation.handmade import handmade_features
from hypergene.evaluation.scales import around
from hypergene.evaluation.spatial_controls import (
    library_size_oracle,
    permuted,
    smoothed,
    with_rings,
)


def test_the_oracle_finds_what_depth_explains_and_its_sign():
    rng = np.random.default_rng(0)
    depth = rng.normal(6, 1, 200)
    table = np.stack([2 * depth, -depth, rng.normal(size=200)], axis=1)
    mean = library_size_oracle(depth, [table], [depth])
    np.testing.assert_allclose(mean[:, :2], table[:, :2])
    r = pearson_per_gene(table, mean)
    assert r[2] == pytest.approx(abs(np.corrcoef(depth, table[:, 2])[0, 1]))


def test_the_oracle_takes_no_level_from_the_test_slide():
    train = np.array([[1.0], [3.0]])
    mean = library_size_oracle([10.0, 12.0], [train], [np.array([5.0, 6.0])])
    np.testing.assert_allclose(mean[:, 0], [0.0, 4.0])
    flat = library_size_oracle([10.0, 12.0], [train], [np.array([5.0, 5.0])])
    np.testing.assert_allclose(flat, 2.0)
    with pytest.raises(ValueError, match="no slides"):
        library_size_oracle([1.0], [], [])


def test_rings_stand_beside_a_spots_own_features():
    ring = sparse.csr_matrix([[0, 1.0], [0, 0]])
    found = with_rings([[1.0], [2.0]], [ring])
    np.testing.assert_allclose(found, [[1, 2], [2, 0]])
    np.testing.assert_allclose(with_rings([[1.0], [2.0]], [ring], [[7.0], [9.0]])[0], [1, 9])


def test_permuted_neighbours_are_the_same_features_elsewhere():
    context = np.arange(40.0).reshape(20, 2)
    shuffled = permuted(context, seed=1)
    assert not np.array_equal(shuffled, context)
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, context))
    assert np.array_equal(shuffled, permuted(context, seed=1))


def test_smoothing_averages_a_spot_with_those_around_it():
    xy = np.array([[0.0, 0], [100, 0], [200, 0], [900, 0]])
    values = np.array([[0.0], [3], [6], [8]])
    np.testing.assert_allclose(smoothed(values, around(xy, 125.0))[:, 0], [1.5, 3, 4.5, 8])
    np.testing.assert_allclose(smoothed(values, around(xy, 0.0)), values)


def tiles(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in colours])


def test_hand_made_features_are_finite_also_on_flat_tiles():
    features = handmade_features(tiles((255, 255, 255), (0, 0, 0), (120, 60, 140)))
    assert features.shape == (3, 50)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[0, :3], 1.0)


def test_hand_made_texture_tells_fine_from_coarse_grain():
    rng = np.random.default_rng(0)
    fine = rng.integers(100, 200, (32, 32, 1), dtype=np.uint8)
    coarse = np.kron(
        rng.integers(100, 200, (4, 4, 1), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    both = np.stack([np.repeat(fine, 3, axis=2), np.repeat(coarse, 3, axis=2)])
    grain = handmade_features(both)[:, 33:41]
    assert grain[0, 0] > 2 * grain[1, 0]
    assert grain[0, 6] < grain[1, 6]


def test_hand_made_features_do_not_depend_on_the_batch():
    many = np.random.default_rng(0).integers(0, 255, (70, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(handmade_features(many)[65:], handmade_features(many[65:]))
    with pytest.raises(ValueError, match="at least 16"):
        handmade_features(many[:, :8])
    with pytest.raises(ValueError, match="uint8"):
        handmade_features(many.astype(float))
