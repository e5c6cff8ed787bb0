"""Layouts: the platforms' geometry, whole spots centred on the image, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from hypergene.errors import SpotsError, UsageError
from hypergene.spots import Layout, lay_spots, layout_named
from hypergene.spots.lattice import MAX_SPOTS

VISIUM = layout_named("visium")
ST = layout_named("st")


@st.composite
def laid(draw):
    """A layout, an image that holds at least one spot, and its microns per pixel."""
    hexagon = draw(st.booleans())
    diameter = draw(st.floats(1, 150))
    pitch = diameter * draw(st.floats(1, 4))
    layout = Layout("any", "hexagon" if hexagon else "square", diameter, pitch, "circle")
    mpp = (draw(st.floats(0.1, 2)), draw(st.floats(0.1, 2)))
    dimensions = tuple(
        int(np.ceil(diameter * draw(st.floats(1, 30)) / one_mpp)) + 1 for one_mpp in mpp
    )
    return layout, dimensions, mpp


@given(laid())
@settings(deadline=None, max_examples=150)
def test_every_spot_lies_wholly_inside_the_image(case):
    layout, dimensions, mpp = case
    spots = lay_spots(layout, dimensions, mpp)
    image_um = np.multiply(dimensions, mpp)
    assert len(spots) >= 1
    assert (spots.xy_um - layout.diameter_um / 2 >= -1e-6).all()
    assert (spots.xy_um + layout.diameter_um / 2 <= image_um + 1e-6).all()


@given(laid())
@settings(deadline=None, max_examples=150)
def test_the_lattice_is_centred_on_the_image(case):
    layout, dimensions, mpp = case
    xy_px = lay_spots(layout, dimensions, mpp).xy_px
    middle = (xy_px.min(axis=0) + xy_px.max(axis=0)) / 2
    np.testing.assert_allclose(middle, np.divide(dimensions, 2), rtol=1e-9)


@given(laid())
@settings(deadline=None, max_examples=150)
def test_the_nearest_spots_are_one_pitch_apart(case):
    layout, dimensions, mpp = case
    xy_um = lay_spots(layout, dimensions, mpp).xy_um
    if len(xy_um) > 1:
        nearest = cKDTree(xy_um).query(xy_um, k=2)[0][:, 1]
        assert nearest.min() >= layout.pitch_um * (1 - 1e-9)
    if len(np.unique(xy_um[:, 1])) < len(xy_um):  # a row with two spots
        np.testing.assert_allclose(nearest.min(), layout.pitch_um, rtol=1e-9)


@given(laid())
@settings(deadline=None, max_examples=150)
def test_one_more_row_or_column_would_not_fit(case):
    layout, dimensions, mpp = case
    spots = lay_spots(layout, dimensions, mpp)
    free_um = np.multiply(dimensions, mpp) - np.ptp(spots.xy_um, axis=0) - layout.diameter_um
    hexagon = layout.lattice == "hexagon"
    # Hexagons in one row (column) can only grow by a whole pitch (two rows).
    lone_row, lone_column = (np.ptp(spots.xy_um, axis=0) == 0)[::-1]
    column = layout.pitch_um * (1.0 if not hexagon or lone_row else 0.5)
    row = layout.pitch_um * (1.0 if not hexagon else np.sqrt(3) / (1 if lone_column else 2))
    assert free_um[0] < column * (1 + 1e-6)
    assert free_um[1] < row * (1 + 1e-6)


@given(laid())
@settings(deadline=None, max_examples=100)
def test_spots_come_row_by_row_and_are_named_by_their_place(case):
    spots = lay_spots(*case)
    order = np.lexsort((spots.xy_px[:, 0], spots.xy_px[:, 1].round(6)))
    np.testing.assert_array_equal(order, np.arange(len(spots)))
    assert spots.names.tolist() == [
        f"r{row}c{column}" for row, column in zip(spots.array_row, spots.array_col, strict=True)
    ]
    np.testing.assert_array_equal(spots.xy_px, lay_spots(*case).xy_px)


def test_visium_has_its_published_geometry():
    spots = lay_spots(VISIUM, (13_000, 13_000), (0.5, 0.5))
    assert (VISIUM.diameter_um, VISIUM.pitch_um, VISIUM.shape) == (55.0, 100.0, "circle")
    rows = [spots.subset(spots.array_row == row) for row in range(3)]
    y_um = [row.xy_um[0, 1] for row in rows]
    np.testing.assert_allclose(np.diff(y_um), 86.602540, rtol=1e-7)
    x_um = [row.xy_um[:, 0] for row in rows]
    assert x_um[1][0] - x_um[0][0] == pytest.approx(50)
    assert x_um[2][0] - x_um[0][0] == pytest.approx(0)
    np.testing.assert_allclose(np.diff(x_um[0]), 100)


def test_visium_columns_are_even_on_even_rows_and_odd_on_odd_rows():
    spots = lay_spots(VISIUM, (3000, 3000), (0.5, 0.5))
    np.testing.assert_array_equal(spots.array_col % 2, spots.array_row % 2)
    in_row_0 = spots.array_col[spots.array_row == 0]
    np.testing.assert_array_equal(np.diff(in_row_0), 2)


def test_a_visium_capture_area_holds_78_rows_of_64_spots():
    # 64 spots 100 µm apart with odd rows half a pitch on; 78 rows 86.6 µm apart.
    width_um, height_um = 127 * 50 + 55, 77 * 86.6025404 + 55
    spots = lay_spots(VISIUM, (round(width_um / 0.5), int(height_um / 0.5) + 1), (0.5, 0.5))
    assert len(spots) == 4992
    assert (spots.array_row.max(), spots.array_col.max()) == (77, 127)


@pytest.mark.parametrize(
    ("name", "rows", "in_a_row", "spots"),
    [("visium-6.5", 78, 64, 4992), ("visium-11", 128, 112, 14336)],
)
def test_a_capture_area_is_printed_once_in_the_middle_of_any_larger_image(
    name, rows, in_a_row, spots
):
    laid = lay_spots(layout_named(name), (30_000, 26_000), (0.5, 0.5))
    assert len(laid) == spots
    assert set(laid.array_row) == set(range(rows))
    assert (np.bincount(laid.array_row) == in_a_row).all()
    np.testing.assert_array_equal(laid.array_col % 2, laid.array_row % 2)
    middle = (laid.xy_px.min(axis=0) + laid.xy_px.max(axis=0)) / 2
    np.testing.assert_allclose(middle, (15_000, 13_000))


def test_spots_of_a_cut_capture_area_keep_their_numbers():
    whole = lay_spots(layout_named("visium-6.5"), (16_000, 16_000), (0.5, 0.5))
    cut = lay_spots(layout_named("visium-6.5"), (6_000, 16_000), (0.5, 0.5))
    assert 0 < len(cut) < len(whole)
    place = dict(zip(whole.names, whole.xy_um - (4000, 4000), strict=True))
    np.testing.assert_allclose(cut.xy_um - (1500, 4000), [place[name] for name in cut.names])
    assert (cut.xy_um[:, 0] >= 27.5).all() and (cut.xy_um[:, 0] <= 3000 - 27.5).all()
    with pytest.raises(SpotsError, match=r"No whole spot of layout 'visium-6\.5'"):
        lay_spots(layout_named("visium-6.5"), (112, 112), (0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "side"), [("visium-hd-2", 2), ("visium-hd-8", 8), ("visium-hd-16", 16), ("xenium", 55)]
)
def test_bins_are_squares_that_touch(name, side):
    layout = layout_named(name)
    assert layout == Layout(name, "square", side, side, "square")
    spots = lay_spots(layout, (880, 1760), (0.5, 0.5))
    assert len(spots) == (440 // side) * (880 // side)


def test_an_inner_visium_spot_has_six_neighbours_at_one_pitch():
    xy_um = lay_spots(VISIUM, (3000, 3000), (0.5, 0.5)).xy_um
    inner = np.argmin(np.linalg.norm(xy_um - xy_um.mean(axis=0), axis=1))
    distances = np.sort(np.linalg.norm(xy_um - xy_um[inner], axis=1))
    np.testing.assert_allclose(distances[1:7], 100, rtol=1e-9)
    assert distances[7] == pytest.approx(100 * np.sqrt(3))


def test_st_is_a_square_lattice_of_200_um():
    spots = lay_spots(ST, (9270, 9920), (0.69, 0.69))
    assert (ST.diameter_um, ST.pitch_um, ST.shape) == (100.0, 200.0, "circle")
    origin = spots.xy_um[0]
    places = np.column_stack([spots.array_col, spots.array_row])
    np.testing.assert_allclose(spots.xy_um, origin + 200 * places, rtol=1e-12)


def test_grid_squares_touch_unless_a_pitch_is_given():
    assert layout_named("grid", diameter_um=8) == Layout("grid", "square", 8, 8, "square")
    spots = lay_spots(layout_named("grid", diameter_um=8), (160, 80), (0.5, 0.5))
    assert len(spots) == 10 * 5
    np.testing.assert_allclose(spots.xy_px[0], [8, 8])


def test_squares_may_overlap_but_circles_may_not():
    window = layout_named("grid", diameter_um=112, pitch_um=56)
    assert len(lay_spots(window, (1000, 1000), (0.5, 0.5))) == 7 * 7
    with pytest.raises(UsageError, match=r"--pitch at least --diameter"):
        layout_named("visium", pitch_um=50)


def test_sizes_of_a_named_layout_can_be_replaced():
    assert layout_named("st", pitch_um=150).pitch_um == 150
    assert layout_named("st", diameter_um=50).diameter_um == 50


def test_pixels_that_are_not_square_change_nothing_in_micrometres():
    square = lay_spots(VISIUM, (4000, 4000), (0.5, 0.5))
    flat = lay_spots(VISIUM, (4000, 2000), (0.5, 1.0))
    np.testing.assert_allclose(flat.xy_um, square.xy_um)
    np.testing.assert_allclose(flat.xy_px * [1, 2], square.xy_px)


def test_an_image_of_exactly_one_spot_holds_it():
    spots = lay_spots(VISIUM, (110, 110), (0.5, 0.5))
    np.testing.assert_allclose(spots.xy_px, [[55, 55]])


@pytest.mark.parametrize("dimensions", [(109, 4000), (4000, 109), (0, 0)])
def test_an_image_smaller_than_one_spot_is_refused_with_numbers(dimensions):
    with pytest.raises(SpotsError, match=r"too small for one spot of 55 µm") as caught:
        lay_spots(VISIUM, dimensions, (0.5, 0.5))
    assert f"{dimensions[0] * 0.5:g} × {dimensions[1] * 0.5:g} µm" in str(caught.value)
    assert "--diameter" in str(caught.value)


def test_a_mistyped_pitch_does_not_fill_the_memory():
    mistyped = layout_named("grid", diameter_um=0.01)
    with pytest.raises(SpotsError, match=f"{MAX_SPOTS:,}.*--pitch"):
        lay_spots(mistyped, (100_000, 100_000), (0.25, 0.25))


def test_an_unknown_layout_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'vizium'.*visium, visium-6.5.*st, xenium, grid"):
        layout_named("vizium")


def test_grid_needs_a_diameter():
    with pytest.raises(UsageError, match=r"--diameter"):
        layout_named("grid", pitch_um=100)


@pytest.mark.parametrize("name", ["visium", "st", "grid"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_size_that_is_no_positive_number_is_refused_by_its_flag(name, value):
    with pytest.raises(UsageError, match="--diameter"):
        layout_named(name, diameter_um=value)
    with pytest.raises(UsageError, match="--pitch"):
        layout_named(name, diameter_um=50, pitch_um=value)


def test_given_positions_have_no_lattice_but_may_be_of_any_size():
    given_layout = Layout("beads", "given", 10.0, 5.0, "circle")
    with pytest.raises(SpotsError, match="--coords"):
        lay_spots(given_layout, (1000, 1000), (0.5, 0.5))
