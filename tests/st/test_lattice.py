"""A lattice is known by where the spots lie, turned, mirrored, rounded and askew as it may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.st.lattice import square_lattice_pitch_px, visium_pitch_px
from hypergene.st.pitch import nearest_pitch_px


def lattice(rows: int, columns: int, first_row: int = 0, first_column: int = 0):
    row = np.repeat(np.arange(rows), columns) + first_row
    column = 2 * np.tile(np.arange(columns), rows) + row % 2 + first_column
    return row.astype(np.int32), column.astype(np.int32)


def places(row, column, pitch_px, angle=0.0, mirrored=False, shift=(0.0, 0.0)):
    xy = np.column_stack([column / 2, row * np.sqrt(3) / 2]) * pitch_px
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return xy @ turn.T * [-1 if mirrored else 1, 1] + shift


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 40),
    columns=st.integers(4, 30),
    pitch_px=st.floats(20, 500),
    angle=st.floats(-np.pi, np.pi),
    mirrored=st.booleans(),
    shift=st.tuples(st.floats(-1e4, 1e5), st.floats(-1e4, 1e5)),
    kept=st.randoms(use_true_random=False),
)
def test_the_pitch_is_found_however_the_slide_lies(
    rows, columns, pitch_px, angle, mirrored, shift, kept
):
    row, column = lattice(rows, columns, first_row=6, first_column=10)
    xy_px = places(row, column, pitch_px, angle, mirrored, shift).round()
    tissue = np.array([kept.random() < 0.8 for _ in row])
    tissue[: columns + 4] = True  # two rows at least
    found = visium_pitch_px(row[tissue], column[tissue], xy_px[tissue])
    assert found == pytest.approx(pitch_px, rel=0.02)


@given(stretch=st.floats(1.05, 3), pitch_px=st.floats(20, 500), angle=st.floats(-np.pi, np.pi))
def test_a_stretched_lattice_is_another(stretch, pitch_px, angle):
    row, column = lattice(8, 8)
    xy_px = places(row, column, pitch_px) * [1, stretch]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert visium_pitch_px(row, column, xy_px @ turn.T) is None


@given(seed=st.integers(0, 1000), share=st.floats(0.1, 1))
def test_places_that_ignore_the_array_are_refused(seed, share):
    row, column = lattice(8, 8)
    off = np.random.default_rng(seed).normal(0, share * 100, (64, 2))
    assert visium_pitch_px(row, column, places(row, column, 100) + off) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda row, column: (row[:6], column[:6]),  # six spots
        lambda row, column: (row[row == 0], column[row == 0]),  # one row
        lambda row, column: (row, column // 2),  # a square array
        lambda row, column: (row - 1, column - 1),  # -1 is unknown
        lambda row, column: (row + 128, column),  # beyond the largest slide
        lambda row, column: (row, column + 224),
        lambda row, column: (np.r_[row, row[:1]], np.r_[column, column[:1]]),  # one place twice
        lambda row, column: (row, column + (row == 3).astype(np.int32)),  # parities differ
    ],
)
def test_what_is_no_array_of_visium_has_no_pitch(change):
    row, column = lattice(8, 8)
    assert visium_pitch_px(row, column, places(row, column, 100)) == pytest.approx(100)
    row, column = change(row, column)
    assert visium_pitch_px(row, column, places(row, column, 100)) is None


def test_a_square_lattice_with_integer_columns_is_not_visium():
    row, column = (grid.ravel().astype(np.int32) for grid in np.mgrid[:10, :10])
    chess = (row + column) % 2 == 0
    square = np.column_stack([column, row]) * 100.0
    assert visium_pitch_px(row[chess], column[chess], square[chess]) is None


def test_spots_on_one_point_have_no_pitch():
    row, column = lattice(8, 8)
    assert visium_pitch_px(row, column, np.ones((64, 2))) is None


@given(seed=st.integers(0, 1000), angle=st.floats(-np.pi, np.pi), mirrored=st.booleans())
def test_the_pitch_of_spots_printed_askew_is_that_of_the_array(seed, angle, mirrored):
    row, column = (grid.ravel().astype(np.int32) for grid in np.mgrid[5:20, 3:18])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    square = np.column_stack([column, row]) * [-290 if mirrored else 290, 290] @ turn.T
    xy_px = square + np.random.default_rng(seed).normal(0, 15, square.shape)
    assert square_lattice_pitch_px(row, column, xy_px) == pytest.approx(290, rel=0.01)
    assert nearest_pitch_px(xy_px) < 0.98 * 290
    assert visium_pitch_px(row, column, xy_px) is None


def test_a_hexagon_is_no_square_lattice_and_scattered_spots_are_none():
    row, column = lattice(8, 8)
    assert square_lattice_pitch_px(row, column, places(row, column, 100)) is None
    xy_px = np.random.default_rng(0).uniform(0, 1000, (64, 2))
    assert square_lattice_pitch_px(row, column, xy_px) is None
    unknown = np.full(64, -1, np.int32)
    assert square_lattice_pitch_px(unknown, unknown, places(row, column, 100)) is None
