from __future__ import annotations

import numpy as np
import pytest

from hypergene.evaluation.calibration import (
    CURVE,
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
