from __future__ import annotations

import numpy as np
import pytest

from hypergene.evaluation.calibration import (
    CURVE,
    conformal_scale,
    coverage,
    expected_calibration_error,
    flag_auroc,
)


def test_a_spread_that_is_true_covers_what_it_says():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(20_000, 2)), np.full((20_000, 2), [0.5, 2.0])
    covered = coverage(mean + std * rng.normal(size=mean.shape), mean, std)
    np.testing.assert_allclose(covered, np.array(CURVE)[:, None] * [1, 1], atol=0.015)
    assert (expected_calibration_error(covered) < 0.01).all()


def test_a_spread_twice_too_small_covers_too_little_by_the_known_amount():
    rng = np.random.default_rng(1)
    mean = np.zeros((20_000, 1))
    covered = coverage(rng.normal(size=mean.shape), mean, np.full(mean.shape, 0.5), [0.5, 0.9])
    # Phi(1.645 / 2) - Phi(-1.645 / 2) and the same of 0.674.
    np.testing.assert_allclose(covered[:, 0], [0.264, 0.589], atol=0.015)


def test_the_calibration_error_is_the_mean_distance_from_the_diagonal():
    assert expected_calibration_error([0.3, 0.9], [0.5, 0.8]) == pytest.approx(0.15)
    assert expected_calibration_error(np.array(CURVE)) == pytest.approx(0)


def test_spreads_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="not negative"):
        coverage([[1.0]], [[1.0]], [[-1.0]])
    with pytest.raises(ValueError, match="one shape"):
        coverage([[1.0]], [[1.0]], [1.0])


def test_a_flag_is_worth_what_it_tells_of_the_error():
    error = np.arange(100.0)
    assert flag_auroc(error, error) == 1
    assert flag_auroc(error, -error) == 0
    assert flag_auroc(error, np.zeros(100)) == 0.5
    assert np.isnan(flag_auroc(np.ones(10), error[:10]))


def test_a_conformal_scale_covers_a_new_group() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        spreads = np.exp(rng.normal(0, 0.5, 5))
        groups = [np.abs(rng.normal(0, spread, 200)) for spread in spreads]
        inside.append((groups[-1] <= conformal_scale(groups[:-1], 0.7)).mean())
    assert 0.69 < np.mean(inside) < 0.9
    # What covers the groups at hand, pooled, covers a new one less.
    pooled = []
    for _ in range(400):
        spreads = np.exp(rng.normal(0, 0.5, 4))
        groups = [np.abs(rng.normal(0, spread, 200)) for spread in spreads]
        pooled.append((groups[-1] <= np.quantile(np.concatenate(groups[:-1]), 0.7)).mean())
    assert np.mean(pooled) < np.mean(inside)


def test_too_few_groups_have_no_conformal_scale() -> None:
    ones = np.ones(10)
    assert conformal_scale([ones, ones], 0.6827) == np.inf
    assert conformal_scale([ones, ones, ones], 0.6827) == pytest.approx(1)
    assert conformal_scale([], 0.5) == np.inf
