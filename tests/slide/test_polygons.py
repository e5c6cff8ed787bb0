from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import TissueError
from hypergene.slide import load_tissue, open_slide
from hypergene.slide.polygons import Polygon, paint_polygons


def square(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(rings: list, name: str | None = None, kind: str = "Polygon") -> dict:
    """A feature as QuPath 0.5 writes one."""
    properties: dict = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {
        "type": "Feature",
        "id": "0",
        "geometry": {"type": kind, "coordinates": rings},
        "properties": properties,
    }


@pytest.fixture
def mask_of(tmp_path, save_png):
    """The mask, at 8 µm/px, that a GeoJSON draws on a slide of 1,200 x 1,000 px at 2 µm/px."""

    def read(content: object, choose: str = "") -> np.ndarray:
        path = tmp_path / "drawn.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        slide_path = save_png(np.full((1000, 1200, 3), 240, np.uint8))
        with open_slide(slide_path, mpp=2.0) as slide:
            mask = load_tissue(f"{path}{choose}", slide)
            assert mask.source == f"{path}{choose}" and mask.scale == (4.0, 4.0)
            return mask.mask

    return read


OUTER, HOLE = square(200, 400, 600, 800), square(300, 500, 400, 600)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature([OUTER, HOLE])]},
        [feature([OUTER, HOLE])],
        feature([[OUTER, HOLE]], kind="MultiPolygon"),
        {"type": "Polygon", "coordinates": [OUTER, HOLE]},
        {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Polygon", "coordinates": [OUTER, HOLE]},
                {"type": "Point", "coordinates": [1, 1]},
            ],
        },
        {
            "type": "FeatureCollection",
            "features": [feature([OUTER]), feature([HOLE], "Ignore*")],
        },
        {
            "type": "FeatureCollection",
            "features": [feature([HOLE], "background"), feature([OUTER], "Tumor")],
        },
    ],
)
def test_polygons_with_holes_are_tissue_in_every_dress(mask_of, content):
    mask = mask_of(content)
    expected = np.zeros((250, 300), bool)
    expected[100:200, 50:150] = True
    expected[125:150, 75:100] = False
    np.testing.assert_array_equal(mask, expected)


def test_classes_are_chosen_after_a_hash(mask_of):
    content = [
        feature([square(0, 0, 400, 400)], "Tumor"),
        feature([square(400, 0, 800, 400)], "Stroma"),
        feature([square(800, 0, 1200, 400)]),
        feature([square(0, 0, 40, 40)], "Artefact"),
    ]
    assert mask_of(content).sum() == 30_000 - 100
    assert mask_of(content, "#tumor").sum() == 10_000 - 100
    assert mask_of(content, "#Tumor, Stroma").sum() == 20_000 - 100
    with pytest.raises(TissueError, match=r"marks Fat; it has the classes \(no class\), Artefact"):
        mask_of(content, "#Fat")


def test_a_polygon_inside_the_hole_of_another_is_tissue(mask_of):
    mask = mask_of([feature([square(320, 520, 380, 580)]), feature([OUTER, HOLE])])
    assert mask[130:145, 80:95].all() and not mask[126:129, 76:99].any()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no GeoJSON"),
        ("[]", "holds no polygon"),
        ({"type": "Topology"}, "its type is 'Topology'"),
        ({"type": "Polygon"}, "KeyError"),
        ({"type": "Polygon", "coordinates": []}, "no outline"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "three or more corners"),
        ({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 2]]]}, "could not convert"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [2, 2]]]}', "three or more"),
        ([feature([OUTER], "Ignore*")], "marks tissue; it has the classes Ignore"),
        ([feature([square(2000, 100, 3000, 900)])], "outside the slide of 1200 x 1000 px"),
        ({"type": "Point", "coordinates": [1, 1]}, "holds no polygon"),
        ("[" * 100_000, "no GeoJSON"),
    ],
)
def test_what_is_no_drawing_of_the_slide_is_refused_in_a_sentence(mask_of, content, said):
    with pytest.raises(TissueError, match=said) as caught:
        mask_of(content)
    assert "drawn.geojson" in caught.value.message and caught.value.hint


def test_a_drawing_that_is_missing_is_refused(tmp_path, save_png):
    with (
        open_slide(save_png(np.zeros((100, 100, 3), np.uint8)), mpp=2.0) as slide,
        pytest.raises(TissueError, match="does not exist"),
    ):
        load_tissue(tmp_path / "none.geojson#Tumor", slide)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 40)), min_size=3, max_size=8, unique=True),
    st.sampled_from([1.0, 2.0, 4.0]),
)
def test_a_px_counts_where_its_centre_lies_inside(tmp_path_factory, corners, scale):
    ring = np.array(corners)
    width, height = int(50 / scale), int(40 / scale)
    mask = paint_polygons([Polygon("", (ring,))], (width, height), (scale, scale), "x")
    x = (np.arange(width) + 0.5) * scale
    y = (np.arange(height) + 0.5) * scale
    inside, near = np.zeros((2, height, width), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, 1, axis=0), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        straddles = (y0 > y) != (y1 > y)
        inside ^= straddles[:, None] & (x < crossing[:, None])
        along = np.clip(
            ((x[None, :] - x0) * (x1 - x0) + (y[:, None] - y0) * (y1 - y0))
            / max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12),
            0,
            1,
        )
        gap = np.hypot(x[None, :] - x0 - along * (x1 - x0), y[:, None] - y0 - along * (y1 - y0))
        near |= gap < 1e-6
    np.testing.assert_array_equal(mask[~near], inside[~near])
