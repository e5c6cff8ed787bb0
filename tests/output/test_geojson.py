"""Spots as QuPath reads them: RFC 7946 polygons with objectType and measurements."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypergene.errors import OutputError, SpotsError
from hypergene.output import geojson_writer, write_geojson
from hypergene.spots import Spots, lay_spots, layout_named

CIRCLES = lay_spots(layout_named("visium"), (1500, 1200), (0.5, 0.5))
SQUARES = lay_spots(layout_named("grid", diameter_um=100), (1500, 600), (0.5, 1.0))


def written(spots: Spots, path: Path, **options) -> dict:
    write_geojson(spots, path, **options)
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def ring(feature: dict) -> np.ndarray:
    (only,) = feature["geometry"]["coordinates"]
    return np.array(only)


def signed_area(corners: np.ndarray) -> float:
    x, y = corners[:-1].T
    following_x, following_y = corners[1:].T
    return float((x * following_y - following_x * y).sum() / 2)


def test_every_spot_is_a_detection_with_its_name_and_measurements(tmp_path):
    fraction = np.linspace(0, 1, len(CIRCLES), dtype=np.float32)
    collection = written(CIRCLES, tmp_path / "s.geojson", tissue_fraction=fraction)
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(CIRCLES) > 10
    for i, feature in enumerate(collection["features"]):
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["name"] == CIRCLES.names[i]
        # QuPath takes a map of names to numbers, and nothing else.
        assert properties["measurements"] == {
            "array_row": CIRCLES.array_row[i],
            "array_col": CIRCLES.array_col[i],
            "tissue_fraction": pytest.approx(fraction[i], abs=1e-4),
        }


@pytest.mark.parametrize(("spots", "corners"), [(CIRCLES, 32), (SQUARES, 4)])
def test_rings_are_closed_and_centred_on_their_spot(tmp_path, spots, corners):
    for feature, centre in zip(
        written(spots, tmp_path / "s.geojson")["features"], spots.xy_px, strict=True
    ):
        points = ring(feature)
        assert points.shape == (corners + 1, 2)
        assert points[0].tolist() == points[-1].tolist()
        np.testing.assert_allclose(points[:-1].mean(axis=0), centre, atol=0.01)
        assert signed_area(points) > 0  # RFC 7946: exterior rings run counterclockwise


def test_a_circle_has_its_diameter_and_a_square_its_sides(tmp_path):
    circle = ring(written(CIRCLES, tmp_path / "c.geojson")["features"][0])
    radius_px = np.linalg.norm(circle - CIRCLES.xy_px[0], axis=1)
    np.testing.assert_allclose(radius_px, 55 / 2 / 0.5, atol=0.02)
    square = ring(written(SQUARES, tmp_path / "s.geojson")["features"][0])
    # 100 µm are 200 px along x and 100 px along y; the sides lie along the axes.
    np.testing.assert_allclose(np.ptp(square, axis=0), [200, 100], atol=0.02)
    assert signed_area(square) == pytest.approx(200 * 100, rel=1e-3)


# numpy drops trailing NULs of a string; every other character may stand in a name.
any_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@given(st.lists(any_text, min_size=1, max_size=6, unique=True))
@example(["%s", '"', "\\", "a\nb", "µ"])
@settings(deadline=None, max_examples=60)
def test_any_name_survives(tmp_path_factory, names):
    n = len(names)
    spots = Spots(np.ones((n, 2)), [0] * n, range(n), names, layout_named("st"), (1.0, 1.0))
    path = tmp_path_factory.mktemp("names") / "s.geojson"
    found = [feature["properties"]["name"] for feature in written(spots, path)["features"]]
    assert found == names


def test_no_spots_make_an_empty_collection(tmp_path):
    empty = CIRCLES.subset(slice(0))
    assert written(empty, tmp_path / "s.geojson") == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize("fraction", [[0.5], np.full(len(CIRCLES), np.nan)])
def test_fractions_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, fraction):
    with pytest.raises(SpotsError, match="tissue fractions"):
        write_geojson(CIRCLES, tmp_path / "s.geojson", tissue_fraction=fraction)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_needs_overwrite(tmp_path):
    path = tmp_path / "s.geojson"
    path.write_text("old")
    with pytest.raises(OutputError, match="--overwrite"):
        write_geojson(CIRCLES, path)
    assert path.read_text() == "old"
    assert written(CIRCLES, path, overwrite=True)["features"]


def test_memory_does_not_grow_with_the_number_of_spots(tmp_path):
    def peak_bytes(side_px: int) -> int:
        spots = lay_spots(layout_named("grid", diameter_um=8), (side_px, side_px), (1.0, 1.0))
        tracemalloc.start()
        try:
            write_geojson(spots, tmp_path / f"{side_px}.geojson")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(1600) < 1.2 * peak_bytes(800)  # 40,000 and 10,000 spots


def test_turned_squares_have_turned_outlines(tmp_path):
    layout = layout_named("grid", diameter_um=100, orientation_deg=30)
    spots = lay_spots(layout, (1500, 1200), (0.5, 0.5))
    first = written(spots, tmp_path / "s.geojson")["features"][0]
    corners = ring(first)
    side = np.diff(corners, axis=0)[0]
    assert np.hypot(*side) == pytest.approx(200, abs=0.02)
    assert np.degrees(np.arctan2(*side[::-1])) % 90 == pytest.approx(30, abs=0.02)


def test_blocks_make_the_same_file(tmp_path):
    fraction = np.linspace(0, 1, len(CIRCLES))
    write_geojson(CIRCLES, tmp_path / "one.geojson", tissue_fraction=fraction)
    with geojson_writer(tmp_path / "two.geojson") as write:
        for rows in (slice(0, 4), slice(4, None)):
            write(CIRCLES.subset(rows), fraction[rows])
    assert (tmp_path / "one.geojson").read_bytes() == (tmp_path / "two.geojson").read_bytes()
