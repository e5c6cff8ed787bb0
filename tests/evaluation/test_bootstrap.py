"""Intervals hold what they promise, and say what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import UsageError
from hypergene.evaluation.bootstrap import (
    average,
    bounds,
    draw_weights,
    interval,
    sign_flip,
    spot_blocks,
)


def test_spots_of_one_square_millimetre_are_one_block():
    xy = [[100, 100], [900, 900], [1200, 100], [100, 1500], [5000, 5000]]
    blocks = spot_blocks(xy)
    assert blocks[0] == blocks[1]
    assert len(set(blocks.tolist())) == 4
    assert sorted(set(blocks.tolist())) == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="above 0"):
        spot_blocks(xy, 0.0)


@given(st.integers(1, 50), st.integers(0, 2**31))
def test_a_replicate_draws_as_many_units_as_there_are(units, seed):
    weights = draw_weights(units, 20, seed)
    assert (weights.sum(axis=1) == units).all()
    assert (weights == draw_weights(units, 20, seed)).all()


def test_an_interval_of_means_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        sample = rng.normal(1.0, 1.0, 30)
        means = draw_weights(30, 400, seed) @ sample / 30
        found = interval(float(sample.mean()), means, "patient", 30)
        held += found.low <= 1.0 <= found.high
    assert 0.88 <= held / 200 <= 0.98


@given(st.integers(0, 2**31), st.floats(-5, 5))
def test_bounds_are_percentiles_where_replicates_are_centred(seed, shift):
    replicates = np.linspace(-1, 1, 1001)[:, None] + shift
    low, high = bounds([shift], replicates)
    assert low[0] == pytest.approx(shift - 0.95, abs=0.01)
    assert high[0] == pytest.approx(shift + 0.95, abs=0.01)


def test_bounds_move_against_replicates_that_lie_too_low():
    replicates = np.random.default_rng(0).normal(-0.5, 1, (2000, 1))
    low, high = bounds([0.0], replicates)
    plain = np.quantile(replicates, [0.025, 0.975])
    assert low[0] > plain[0]
    assert high[0] > plain[1]


def test_what_is_no_number_has_no_bounds():
    low, high = bounds([np.nan, 1.0, 1.0], np.array([[1.0, np.nan, 1.0], [2.0, np.nan, np.nan]]))
    assert np.isnan(low[:2]).all()
    assert np.isnan(high[:2]).all()
    assert low[2] == high[2] == 1.0


def test_one_unit_has_no_interval_and_says_so():
    found = interval(0.3, np.full(100, 0.3), "spot-block", 1)
    assert found.value == 0.3
    assert np.isnan([found.low, found.high]).all()
    assert found.level == "none"


def test_patients_weigh_alike_however_many_slides_they_have():
    values = {"a1": 0.0, "a2": 0.2, "a3": 0.4, "b1": 1.0}
    patients = {"a1": "A", "a2": "A", "a3": "A", "b1": "B"}
    drawn = {name: np.full(50, value) for name, value in values.items()}
    found = average(values, drawn, patients, dict.fromkeys(values, 9))
    assert found.value == pytest.approx(0.6)
    assert (found.level, found.units) == ("patient", 2)
    assert set(np.round(found.replicates, 9)) == {0.2, 0.6, 1.0}
    assert found.by_patient["A"] == pytest.approx(0.2)


def test_with_one_patient_the_blocks_of_all_slides_are_drawn():
    values, patients = {"a1": 0.0, "a2": 0.4}, {"a1": "A", "a2": "A"}
    drawn = {"a1": np.array([0.0, 0.2]), "a2": np.array([0.4, 0.2])}
    found = average(values, drawn, patients, {"a1": 7, "a2": 5})
    assert (found.level, found.units) == ("spot-block", 12)
    np.testing.assert_allclose(found.replicates, [0.2, 0.2])


def test_flipping_signs_gives_the_exact_p():
    assert sign_flip([0.1] * 8) == pytest.approx(2 / 2**8)
    assert sign_flip([0.1, -0.1]) == 1.0
    assert sign_flip([]) == 1.0
    assert sign_flip([0.3, 0.1, 0.2]) == pytest.approx(2 / 8)
    assert sign_flip([1.0] * 20) < 0.001
