"""Soft clusters say which niches are alike, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.errors import UsageError
from hypergene.training import clusters
from hypergene.training.clusters import soft_clusters


def blobs(seed: int, each: int = 20) -> tuple[list[np.ndarray], np.ndarray]:
    """Two sections of niches around three far points, and the point each belongs to."""
    rng = np.random.default_rng(seed)
    centres = 10.0 * np.eye(3, 5)
    of = np.tile(np.arange(3), 2 * each)
    points = (centres[of] + rng.normal(0, 0.3, (len(of), 5))).astype(np.float32)
    return [points[:each], points[each:]], of


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_far_blobs_are_told_apart_over_sections(seed: int) -> None:
    sections, of = blobs(seed)
    soft = np.concatenate(soft_clusters(sections, 3, 0.05, seed=seed))
    hard = soft.argmax(1)
    assert all(len(set(hard[of == blob])) == 1 for blob in range(3))
    assert len(set(hard)) == 3
    assert soft.max(1).min() > 0.99


def test_rows_are_distributions_that_soften_with_temperature() -> None:
    sections, _ = blobs(0)
    certainty = []
    for temperature in (0.1, 1.0, 10.0):
        soft = soft_clusters(sections, 5, temperature, seed=0)
        assert [part.shape for part in soft] == [(len(s), 5) for s in sections]
        for part in soft:
            assert part.dtype == np.float32
            np.testing.assert_allclose(part.sum(1), 1, rtol=1e-5)
            assert (part >= 0).all()
        certainty.append(np.concatenate(soft).max(1).mean())
    assert certainty[0] > certainty[1] > certainty[2]


def test_units_do_not_matter_and_a_seed_repeats() -> None:
    sections, _ = blobs(1)
    first = soft_clusters(sections, 4, 1.0, seed=3)
    again = soft_clusters(sections, 4, 1.0, seed=3)
    scaled = soft_clusters([1000 * s for s in sections], 4, 1.0, seed=3)
    for a, b, c in zip(first, again, scaled, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, atol=1e-4)


def test_at_temperature_1_the_own_cluster_is_e_times_as_likely_as_the_next() -> None:
    """Niches all as far from their own centre, and from the other."""
    niches = np.array([[-1.0], [-1.0], [1.0], [1.0]], np.float32)
    (soft,) = soft_clusters([niches], 2, 1.0, seed=0)
    np.testing.assert_allclose(soft.max(1) / soft.min(1), np.e, rtol=1e-5)


def test_large_cohorts_are_fitted_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MOST_FITTED", 12)
    sections, of = blobs(0)
    soft = np.concatenate(soft_clusters(sections, 3, 0.05, seed=0))
    assert len(soft) == len(of)
    assert all(len(set(soft.argmax(1)[of == blob])) == 1 for blob in range(3))


def test_fewer_different_niches_than_clusters_are_refused() -> None:
    same = np.ones((30, 4), np.float32)
    with pytest.raises(UsageError, match="1 different") as caught:
        soft_clusters([same], 2, 1.0, seed=0)
    assert "loss.clusters" in (caught.value.hint or "")
