"""Lattices that are turned, moved, cut and made in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from hypergene.errors import SpotsError, UsageError
from hypergene.spots import Layout, lattice, lattice_on, lay_spots, layout_named

MPP = (0.5, 0.5)


@st.composite
def turned(draw):
    """A turned layout, an image with room for it, microns per pixel and an offset or none."""
    hexagon = draw(st.booleans())
    shape = "circle" if hexagon else draw(st.sampled_from(["circle", "square"]))
    diameter = draw(st.floats(5, 100))
    pitch = diameter * draw(st.floats(1, 3))
    degrees = draw(st.floats(-400, 400))
    layout = Layout("any", "hexagon" if hexagon else "square", diameter, pitch, shape, degrees)
    mpp = (draw(st.floats(0.2, 2)), draw(st.floats(0.2, 2)))
    sides = [draw(st.floats(4, 20)) * pitch for _ in "xy"]
    offset = draw(st.none() | st.tuples(st.floats(-0.5, 0.4), st.floats(-0.5, 0.4)))
    if offset is not None:
        offset = tuple(share * side for share, side in zip(offset, sides, strict=True))
    dimensions = tuple(int(side / one) + 1 for side, one in zip(sides, mpp, strict=True))
    return layout, dimensions, mpp, offset


def corners_um(layout, xy_um):
    """The outermost points of every spot: (n, k, 2)."""
    count = 4 if layout.shape == "square" else 64
    reach = layout.diameter_um / 2 * (np.sqrt(2) if layout.shape == "square" else 1)
    angle = np.radians(layout.orientation_deg) + np.pi / 4 + 2 * np.pi * np.arange(count) / count
    return xy_um[:, None] + reach * np.column_stack([np.cos(angle), np.sin(angle)])


@given(turned())
@settings(max_examples=80)
def test_turned_spots_lie_wholly_on_the_image_and_beyond_the_offset(case):
    layout, dimensions, mpp, offset = case
    spots = lay_spots(layout, dimensions, mpp, offset_um=offset)
    points = corners_um(layout, spots.xy_um)
    low = np.maximum(offset or 0, 0)
    assert (points >= low - 1e-6).all()
    assert (points <= np.multiply(dimensions, mpp) + 1e-6).all()


@given(turned())
@settings(max_examples=80)
def test_rows_and_columns_say_where_a_turned_spot_lies(case):
    layout, dimensions, mpp, offset = case
    spots = lay_spots(layout, dimensions, mpp, offset_um=offset)
    hexagon = layout.lattice == "hexagon"
    steps = (0.5, np.sqrt(3) / 2) if hexagon else (1, 1)
    places = np.column_stack([spots.array_col, spots.array_row]) * steps * layout.pitch_um
    turn = np.exp(1j * np.radians(layout.orientation_deg))
    where = (places[:, 0] + 1j * places[:, 1]) * turn
    moved = spots.xy_um - np.column_stack([where.real, where.imag])
    np.testing.assert_allclose(moved, moved[:1].repeat(len(moved), 0), atol=1e-6)
    assert min(spots.array_row.min(), spots.array_col.min()) >= 0
    if hexagon:
        assert ((spots.array_row + spots.array_col) % 2 == 0).all()


@given(turned())
@settings(max_examples=80)
def test_no_whole_spot_of_the_lattice_is_forgotten(case):
    layout, dimensions, mpp, offset = case
    spots = lay_spots(layout, dimensions, mpp, offset_um=offset)
    hexagon = layout.lattice == "hexagon"
    turn = np.exp(1j * np.radians(layout.orientation_deg))
    angles = np.pi / 3 * np.arange(6) if hexagon else np.pi / 2 * np.arange(4)
    steps = layout.pitch_um * np.exp(1j * angles) * turn
    around = np.column_stack([steps.real, steps.imag])
    neighbours = (spots.xy_um[:, None] + around).reshape(-1, 2)
    points = corners_um(layout, neighbours)
    low = np.maximum(offset or 0, 0)
    fits = (points >= low + 1e-3).all(axis=(1, 2))
    fits &= (points <= np.multiply(dimensions, mpp) - 1e-3).all(axis=(1, 2))
    if fits.any():
        distance, _ = cKDTree(spots.xy_um).query(neighbours[fits])
        assert distance.max() < 1e-6


@pytest.mark.parametrize("name", ["visium", "visium-6.5", "st", "visium-hd-16"])
@pytest.mark.parametrize("offset", [None, (300.0, 200.0)])
def test_blocks_put_together_are_the_whole(name, offset, monkeypatch):
    monkeypatch.setattr(lattice, "SPOTS_PER_BLOCK", 20)
    layout = layout_named(name, orientation_deg=10)
    laid = lattice_on(layout, (3000, 2600), MPP, offset_um=offset)
    blocks = list(laid.blocks())
    whole = lay_spots(layout, (3000, 2600), MPP, offset_um=offset)
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= 400
    assert sum(map(len, blocks)) == len(whole) <= len(laid)
    for field in ("xy_px", "array_row", "array_col", "names"):
        joined = np.concatenate([getattr(block, field) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(whole, field))


@pytest.mark.parametrize("name", ["visium", "st", "grid", "visium-6.5", "visium-hd-8"])
def test_a_lattice_starts_with_its_first_spots_edge_at_the_offset(name):
    layout = layout_named(name, diameter_um=30 if name == "grid" else None)
    spots = lay_spots(layout, (4000, 4000), MPP, offset_um=(120.0, 350.0))
    edge = spots.xy_um.min(axis=0) - layout.diameter_um / 2
    np.testing.assert_allclose(edge, (120, 350))
    assert (spots.array_row.min(), spots.array_col.min()) == (0, 0)


def test_an_offset_off_the_image_leaves_the_rest_its_numbers():
    inside = lay_spots(layout_named("st"), (4000, 4000), MPP, offset_um=(0.0, 0.0))
    moved = lay_spots(layout_named("st"), (4000, 4000), MPP, offset_um=(-400.0, 0.0))
    assert moved.array_col.min() == 2
    shared = np.isin(moved.xy_um[:, 0], inside.xy_um[:, 0])
    assert shared.all()
    whole = lay_spots(layout_named("visium-6.5"), (20_000, 20_000), MPP, offset_um=(1e3, 1e3))
    cut = lay_spots(layout_named("visium-6.5"), (20_000, 20_000), MPP, offset_um=(-1e3, 1e3))
    place = dict(zip(whole.names, whole.xy_um - (2000, 0), strict=True))
    assert 0 < len(cut) < len(whole) == 4992
    np.testing.assert_allclose(cut.xy_um, [place[name] for name in cut.names])


@pytest.mark.parametrize("degrees", [12.5, 90, -180])
def test_a_turned_capture_area_is_whole_and_turned_about_its_middle(degrees):
    straight = lay_spots(layout_named("visium-6.5"), (20_000, 20_000), MPP)
    layout = layout_named("visium-6.5", orientation_deg=degrees)
    spots = lay_spots(layout, (20_000, 20_000), MPP)
    np.testing.assert_array_equal(spots.names, straight.names)
    away, before = spots.xy_um - 5000, straight.xy_um - 5000
    turn = np.exp(1j * np.radians(degrees))
    np.testing.assert_allclose(
        away[:, 0] + 1j * away[:, 1], (before[:, 0] + 1j * before[:, 1]) * turn, atol=1e-6
    )


def test_positive_degrees_turn_clockwise_on_the_image():
    spots = lay_spots(layout_named("st", orientation_deg=10), (8000, 8000), MPP)
    row = spots.subset(spots.array_row == np.median(spots.array_row))
    # From left to right a row goes down, where y grows.
    assert (np.diff(row.xy_um[:, 0]) > 0).all() and (np.diff(row.xy_um[:, 1]) > 0).all()


def test_bins_are_named_and_numbered_as_space_ranger_does():
    spots = lay_spots(layout_named("visium-hd-8"), (1600, 80), MPP)
    assert (spots.array_row.max(), spots.array_col.max()) == (4, 99)
    assert spots.names[0] == "s_008um_00000_00000-1"
    assert spots.names[-1] == "s_008um_00004_00099-1"
    assert spots.names.dtype.itemsize == 4 * len("s_008um_00004_00099-1")
    assert spots.names.tolist() == [
        f"s_008um_{row:05}_{column:05}-1"
        for row, column in zip(spots.array_row, spots.array_col, strict=True)
    ]


def test_bins_of_another_size_or_beyond_five_digits_are_not_named_so():
    assert (
        lay_spots(layout_named("visium-hd-8", diameter_um=9, pitch_um=9), (99, 99), MPP).names[0]
        == "r0c0"
    )
    wide = lay_spots(layout_named("visium-hd-2"), (100_001, 1), (2.0, 2.0))
    assert wide.names[-1] == "r0c100000"


@pytest.mark.parametrize("offset", [(np.nan, 0.0), (1.0,), (0.0, np.inf)])
def test_an_offset_that_is_none_is_refused(offset):
    with pytest.raises(SpotsError, match="no pair of finite numbers"):
        lay_spots(layout_named("st"), (4000, 4000), MPP, offset_um=offset)


@pytest.mark.parametrize("name", ["visium", "visium-6.5"])
def test_an_offset_beyond_the_image_is_said_so(name):
    with pytest.raises(SpotsError, match="No whole spot") as raised:
        lay_spots(layout_named(name), (4000, 4000), MPP, offset_um=(2000.0, 0.0))
    assert "--offset" in str(raised.value.hint)


def test_an_orientation_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="orientation") as raised:
        layout_named("visium", orientation_deg=float("nan"))
    assert "--orientation" in str(raised.value.hint)
