"""A rule that was written down before says the same of the same figures, and says why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.evaluation.decisions import (
    Cohort,
    Paired,
    Scored,
    combined,
    credited,
    falls,
    flat,
    harmless,
    helps,
    mean_of,
    paired,
    slope,
)

PATIENTS = [f"p{number}" for number in range(8)]


def scored(values, spread=0.001, seed=0):
    rng = np.random.default_rng(seed)
    noise = {name: rng.normal(0, spread, 400) for name in values}
    return Scored(dict(values), {name: value + noise[name] for name, value in values.items()})


def cohort(names, blocks=10):
    return Cohort({name: name for name in names}, dict.fromkeys(names, blocks))


def gains(values, error=-0.01):
    names = PATIENTS[: len(values)]
    zero = scored(dict.fromkeys(names, 0.0))
    pearson = paired(scored(dict(zip(names, values, strict=True)), seed=1), zero, cohort(names))
    mse = paired(scored(dict.fromkeys(names, error), seed=2), zero, cohort(names))
    return pearson, mse


def test_a_gain_for_every_patient_helps():
    pearson, mse = gains([0.02, 0.03, 0.02, 0.015, 0.02, 0.03, 0.02, 0.025])
    assert pearson.p == pytest.approx(2 / 2**8)
    assert pearson.interval.level == "patient"
    assert helps(pearson, mse).holds
    assert "patient" not in helps(pearson, mse).why


@pytest.mark.parametrize(
    ("values", "error", "reason"),
    [
        ([0.005] * 8, -0.01, "below +0.01"),
        ([0.2, -0.15, 0.2, -0.1, 0.15, -0.1, 0.1, -0.1], -0.01, "is not above 0"),
        ([0.02] * 8, 0.01, "squared error is higher"),
        ([0.05, 0.05, 0.05, 0.05, 0.05, 0.05, -0.001, -0.001], -0.01, "2 of 8 patients"),
    ],
)
def test_it_does_not_help_where_one_condition_fails(values, error, reason):
    verdict = helps(*gains(values, error))
    assert not verdict.holds
    assert reason in verdict.why


def test_one_patient_in_eight_may_be_worse_off():
    assert helps(*gains([0.05, 0.04, 0.05, 0.06, 0.05, 0.04, 0.05, -0.001])).holds


def test_with_one_patient_blocks_of_spots_decide_and_the_sentence_says_so():
    names = ["a", "b"]
    both = Cohort(dict.fromkeys(names, "p"), dict.fromkeys(names, 9))
    zero = scored(dict.fromkeys(names, 0.0))
    pearson = paired(scored({"a": 0.03, "b": 0.02}, seed=1), zero, both)
    assert pearson.interval.level == "spot-block"
    assert np.isnan(pearson.p)
    verdict = helps(pearson, paired(zero, zero, both))
    assert verdict.holds
    assert "1 patient: intervals are of spot-blocks" in verdict.why


def test_harm_and_credit_are_read_off_the_lower_bound():
    assert harmless(gains([0.0] * 8)[0]).holds
    assert not credited(gains([0.0] * 8)[0]).holds
    assert not harmless(gains([-0.02] * 8)[0]).holds
    assert credited(gains([0.001] * 4 + [0.003] * 4)[0]).holds


def test_differences_are_paired_replicate_by_replicate():
    shared = np.random.default_rng(0).normal(0, 1.0, 400)
    one = Scored({"a": 0.5}, {"a": 0.5 + shared})
    other = Scored({"a": 0.4}, {"a": 0.4 + shared})
    found = paired(one, other, cohort(["a"])).interval
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


@given(st.floats(-1, 1), st.floats(-0.1, 0.1))
def test_the_slope_of_a_line_is_its_slope(level, rise):
    doses = [0.0, 0.5, 1.0, 2.0]
    by_dose = [scored({"a": level + rise * dose}, spread=0.0) for dose in doses]
    assert slope(doses, by_dose, cohort(["a"])).interval.value == pytest.approx(rise, abs=1e-12)


def test_a_slope_is_flat_or_falls():
    doses = [0.0, 1.0, 2.0]
    steep = slope(doses, [scored({"a": -0.1 * d}, seed=int(d)) for d in doses], cohort(["a"]))
    level = slope(doses, [scored({"a": 0.0}, seed=int(d)) for d in doses], cohort(["a"]))
    assert falls(steep).holds
    assert not flat(steep).holds
    assert flat(level).holds
    assert not falls(level).holds


def test_nothing_is_decided_without_an_interval():
    alone = mean_of(scored({"a": 0.5}), Cohort({"a": "p"}, {"a": 1}))
    assert isinstance(alone, Paired)
    for verdict in (harmless(alone), credited(alone), flat(alone), falls(alone)):
        assert not verdict.holds
    assert not helps(alone, alone).holds


def test_methods_on_different_slides_are_not_compared():
    with pytest.raises(ValueError, match="different slides"):
        combined([scored({"a": 0.0}), scored({"b": 0.0})], [1, -1])
    with pytest.raises(ValueError, match="different doses"):
        slope([1.0, 1.0], [scored({"a": 0.0})] * 2, cohort(["a"]))
