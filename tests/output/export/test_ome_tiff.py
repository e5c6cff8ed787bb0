"""Genes as channels that lie over the slide: each pixel has the value of the spot it lies in."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.prediction import ODD_GENES, UNITS, tiny_prediction

from hypergene.errors import UsageError
from hypergene.output.export import write_ome_tiff
from hypergene.output.export.ome_tiff import NOWHERE, paint_spots
from hypergene.spots import lay_spots, layout_named

OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}


def pixels_of(path) -> ElementTree.Element:
    with tifffile.TiffFile(path) as file:
        found = ElementTree.fromstring(file.ome_metadata).find("ome:Image/ome:Pixels", OME)
    assert found is not None
    return found


def test_channels_sizes_and_units_are_in_the_metadata(choose, tmp_path):
    path = tmp_path / "s.ome.tif"
    write_ome_tiff(choose(mpp=(0.5, 0.25)), path, pixel_um=3.0)
    pixels = pixels_of(path)
    # 3 µm are 8 px of the mean resolution, 0.375 µm/px.
    assert float(pixels.attrib["PhysicalSizeX"]) == 8 * 0.5
    assert float(pixels.attrib["PhysicalSizeY"]) == 8 * 0.25
    assert pixels.attrib["PhysicalSizeXUnit"] == pixels.attrib["PhysicalSizeYUnit"] == "µm"
    names = [channel.attrib["Name"] for channel in pixels.findall("ome:Channel", OME)]
    assert names == [
        *(f"{gene} (predicted)" for gene in ODD_GENES),
        *(f"{gene} std (predicted)" for gene in ODD_GENES),
    ]
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and file.is_bigtiff
        series = file.series[0]
        assert (series.axes, series.dtype) == ("CYX", np.float32)
        assert series.shape == (2 * len(ODD_GENES), 1200 // 8, -(-1500 // 8))
        assert "predicted, not measured" in file.ome_metadata
        assert UNITS in file.ome_metadata
        assert "One px is 8 px" in file.ome_metadata


@pytest.mark.parametrize(
    "of",
    [
        {"layout": "visium"},
        {"layout": "st"},
        {"layout": "visium-hd-16", "size_px": (300, 200)},
        {"layout": "grid", "diameter_um": 80.0, "pitch_um": 100.0, "orientation_deg": 30.0},
    ],
    ids=lambda of: of["layout"],
)
def test_the_value_at_a_spot_is_its_own_and_there_is_none_beside_it(choose, tmp_path, of):
    chosen = choose(**of, wanted=("ABC", "ERBB2"), spread=False)
    write_ome_tiff(chosen, tmp_path / "s.ome.tif")
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as file:
        picture = file.asarray()
        k = round(float(pixels_of(tmp_path / "s.ome.tif").attrib["PhysicalSizeX"]) / chosen.mpp[0])
    x, y = np.floor(chosen.spots.xy_px / k).astype(int).T
    expected = tiny_prediction(**of)[:, ["ABC", "ERBB2"]].X
    np.testing.assert_array_equal(picture[:, y, x].T, expected)
    # As much of the picture is painted as the spots cover.
    layout = chosen.spots.layout
    area = np.pi / 4 if layout.shape == "circle" else 1.0
    covered = len(chosen) * area * layout.diameter_um**2 / np.prod(chosen.mpp) / k**2
    assert np.count_nonzero(picture[0]) == pytest.approx(covered, rel=0.1)


def test_smaller_levels_lie_over_the_first_and_average_nothing(choose, tmp_path, monkeypatch):
    monkeypatch.setattr("hypergene.output.export.ome_tiff._SMALLEST_LEVEL_PX", 64)
    chosen = choose(wanted=("ABC",), spread=False)
    write_ome_tiff(chosen, tmp_path / "s.ome.tif", pixel_um=2.0)
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as file:
        levels = [level.asarray() for level in file.series[0].levels]
    assert len(levels) == 4
    known = np.append(np.float32(0), tiny_prediction()[:, "ABC"].X)
    for number, level in enumerate(levels):
        step = 2**number
        np.testing.assert_array_equal(level, levels[0][step // 2 :: step, step // 2 :: step])
        assert np.isin(level, known).all()


def test_names_that_no_xml_may_hold_do_not_break_it(choose, tmp_path):
    genes = ("a\x01b", "<&\"'>", "µ")
    chosen = choose(genes=genes, spread=False)
    write_ome_tiff(chosen, tmp_path / "s.ome.tif")
    names = [
        c.attrib["Name"] for c in pixels_of(tmp_path / "s.ome.tif").findall("ome:Channel", OME)
    ]
    assert names == ["a\ufffdb (predicted)", "<&\"'> (predicted)", "µ (predicted)"]


@pytest.mark.parametrize("pixel_um", [0.0, -1.0, float("nan")])
def test_a_pixel_of_no_size_is_refused(choose, tmp_path, pixel_um):
    with pytest.raises(UsageError, match="µm wide"):
        write_ome_tiff(choose(), tmp_path / "s.ome.tif", pixel_um=pixel_um)
    assert not list(tmp_path.glob("*.tif"))


@given(
    side_um=st.floats(20, 60), turn=st.floats(0, 90), k=st.integers(1, 40), across=st.floats(0.5, 1)
)
@settings(max_examples=25)
def test_pixels_are_painted_where_their_centre_lies_in_the_spot(side_um, turn, k, across):
    layout = layout_named("grid", diameter_um=side_um, pitch_um=90.0, orientation_deg=turn)
    spots = lay_spots(layout, (600, 600), (0.5, 0.5 * across))
    plane = np.empty((-(-600 // k), -(-600 // k)), np.int32)
    paint_spots(spots, k, plane)
    y, x = np.nonzero(plane != NOWHERE)
    away_um = (np.column_stack([x, y]) + 0.5) * k * spots.mpp - spots.xy_um[plane[y, x]]
    angle = np.radians(turn)
    turned = away_um @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.floor(spots.xy_px / k).astype(int)
    home = (centre[plane[y, x]] == np.column_stack([x, y])).all(axis=1)
    assert (np.abs(turned[~home]) <= side_um / 2 + 1e-6).all()
    assert set(plane[y, x]) == set(range(len(spots)))
