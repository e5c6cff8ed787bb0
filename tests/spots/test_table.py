"""The table of spots: checked once, read by everyone."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.errors import SpotsError
from hypergene.spots import Spots, layout_named


def spots(**changes) -> Spots:
    columns = {
        "xy_px": [[10, 20], [30, 40], [50, 60]],
        "array_row": [0, 0, 1],
        "array_col": [0, 1, 0],
        "names": ["a", "b", "c"],
        "layout": layout_named("st"),
        "mpp": (0.5, 2.0),
    }
    return Spots(**{**columns, **changes})


def test_columns_get_their_types():
    table = spots()
    assert len(table) == 3
    assert table.xy_px.dtype == np.float64
    assert table.array_row.dtype == table.array_col.dtype == np.int32
    assert table.names.dtype.kind == "U"


def test_micrometres_follow_each_axis():
    np.testing.assert_array_equal(spots().xy_um, [[5, 40], [15, 80], [25, 120]])


@pytest.mark.parametrize(
    "index", [[2, 0], np.array([2, 0]), [True, False, True], slice(None, None, 2)]
)
def test_a_subset_keeps_every_column_together(index):
    part = spots().subset(index)
    assert len(part) == 2
    whole = {name: i for i, name in enumerate(spots().names)}
    rows = [whole[name] for name in part.names]
    np.testing.assert_array_equal(part.xy_px, spots().xy_px[rows])
    np.testing.assert_array_equal(part.array_row, spots().array_row[rows])
    np.testing.assert_array_equal(part.array_col, spots().array_col[rows])
    assert (part.layout, part.mpp) == (spots().layout, spots().mpp)


def test_an_empty_subset_is_a_table():
    empty = spots().subset(np.zeros(3, dtype=bool))
    assert len(empty) == 0
    assert empty.xy_um.shape == (0, 2)


def test_the_order_of_a_subset_is_the_order_asked_for():
    assert spots().subset([2, 0]).names.tolist() == ["c", "a"]


def test_taking_a_spot_twice_is_refused():
    with pytest.raises(SpotsError, match="'a' occurs 2 times"):
        spots().subset([0, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["a", "b"]},
        {"xy_px": [[1, 2, 3]] * 3},
        {"array_row": [0, 1]},
        {"array_col": [[0], [1], [2]]},
    ],
)
def test_columns_of_different_length_are_refused(changes):
    with pytest.raises(SpotsError, match="do not fit"):
        spots(**changes)


def test_a_centre_that_is_not_finite_is_named():
    with pytest.raises(SpotsError, match=r"1 of 3 .* 'b'"):
        spots(xy_px=[[1, 2], [np.nan, 4], [5, 6]])


@pytest.mark.parametrize("mpp", [(0.0, 0.5), (0.5, -1.0), (np.nan, 0.5)])
def test_a_resolution_that_is_not_positive_is_refused(mpp):
    with pytest.raises(SpotsError, match="not positive"):
        spots(mpp=mpp)
