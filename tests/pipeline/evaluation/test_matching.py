"""Spots are matched by name or by place, never by luck."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hypergene.errors import DataError
from hypergene.pipeline.evaluation.matching import Match, match_spots

NAMES = np.array([f"{x}x{y}" for y in range(5) for x in range(6)])
PLACES = np.array([[100.0 * x, 100.0 * y] for y in range(5) for x in range(6)])


def match(names: Any, places: Any = None) -> Match:
    return match_spots(
        NAMES, PLACES, 100.0, np.asarray(names, str), places, sample="S1", source="tool.h5ad"
    )


def test_rows_in_another_order_are_found_by_name() -> None:
    order = np.random.default_rng(0).permutation(30)
    found = match(NAMES[order])
    np.testing.assert_array_equal(order[found.rows], np.arange(30))
    assert "30 of 30 spots matched by name" in found.how
    assert found.warning == ""


@pytest.mark.parametrize("form", ["S1_{}", "{}-S1", "S1:{}", "{}_S1"])
def test_the_samples_name_may_stand_at_a_spots(form: str) -> None:
    found = match([form.format(name) for name in NAMES])
    np.testing.assert_array_equal(found.rows, np.arange(30))


def test_spots_without_a_prediction_are_marked() -> None:
    found = match(NAMES[3:])
    assert (found.rows[:3] == -1).all()
    np.testing.assert_array_equal(found.rows[3:], np.arange(27))
    assert "27 of 30" in found.how


def test_other_names_are_matched_by_place_and_the_tolerance_is_said() -> None:
    order = np.random.default_rng(0).permutation(30)
    found = match([f"q{i}" for i in range(30)], PLACES[order] + 10)
    np.testing.assert_array_equal(order[found.rows], np.arange(30))
    assert "at most 25.0 px apart" in found.how
    assert "median 14.1 px" in found.how


def test_row_numbers_are_no_names() -> None:
    numbers = np.arange(30).astype(str)
    shuffled = np.random.default_rng(0).permutation(30)
    found = match_spots(
        numbers, PLACES, 100.0, numbers, PLACES[shuffled], sample="S1", source="tool.csv"
    )
    np.testing.assert_array_equal(shuffled[found.rows], np.arange(30))


def test_a_row_serves_one_spot_at_most() -> None:
    doubled = np.concatenate([PLACES, PLACES + 5])
    found = match([f"q{i}" for i in range(60)], doubled)
    np.testing.assert_array_equal(found.rows, np.arange(30))
    everything = np.tile(PLACES.mean(axis=0), (30, 1))
    with pytest.raises(DataError, match="Only 0%"):
        match([f"q{i}" for i in range(30)], everything)


def test_places_in_another_scale_are_refused_with_the_distance() -> None:
    with pytest.raises(DataError, match="median distance") as refused:
        match([f"q{i}" for i in range(30)], PLACES / 8 + 900)
    assert "full-resolution" in str(refused.value.hint)


def test_names_that_lie_elsewhere_are_warned_of() -> None:
    found = match(NAMES, PLACES + 500)
    assert (found.rows >= 0).all()
    assert "707 px apart" in found.warning


def test_other_names_without_places_are_refused() -> None:
    with pytest.raises(DataError, match="gives no places") as refused:
        match([f"q{i}" for i in range(30)])
    assert "np.str_" not in refused.value.message


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"'1x0' of S1 twice"):
        match(["0x0", "1x0", "1x0"])
