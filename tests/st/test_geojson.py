"""GeoJSON as QuPath writes it, and as it should not be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import SpotsError
from hypergene.st.geojson import read_centres


def feature(kind: str, coordinates: object, **more: object) -> dict[str, object]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": {}, **more}


def box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    return ring


@pytest.fixture
def centres(tmp_path):
    def read(content: object) -> object:
        path = tmp_path / "shapes.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_centres(path)

    return read


@given(st.tuples(*[st.floats(-1e5, 1e5)] * 2), st.floats(1, 1e3), st.floats(1, 1e3), st.booleans())
def test_the_centre_of_a_box_is_its_middle(tmp_path_factory, corner, width, height, turned):
    ring = box(*corner, width, height)
    path = tmp_path_factory.mktemp("box") / "b.geojson"
    path.write_text(json.dumps([feature("Polygon", [ring[::-1] if turned else ring])]))
    middle = np.add(corner, (width / 2, height / 2))
    np.testing.assert_allclose(read_centres(path).xy_px, [middle], atol=1e-4)


def test_holes_and_parts_count_with_their_area(centres):
    holed = feature("Polygon", [box(0, 0, 4, 4), box(2, 0, 2, 4)])
    parts = feature("MultiPolygon", [[box(0, 0, 2, 2)], [box(10, 0, 2, 6)]])
    line = feature("Polygon", [[[0, 0], [4, 0], [0, 0]]])
    found = centres({"type": "FeatureCollection", "features": [holed, parts, line]})
    np.testing.assert_allclose(found.xy_px[:2], [[1, 2], [(1 * 4 + 11 * 12) / 16, 2.5]])
    np.testing.assert_allclose(found.xy_px[2], [4 / 3, 0])


def test_annotations_beside_detections_are_left_out(centres):
    kinds = ["annotation", "detection", "cell", "tile"]
    features = [
        feature("Point", [i, i], id=f"uuid{i}", properties={"objectType": kind, "name": "Tumor"})
        for i, kind in enumerate(kinds)
    ]
    found = centres(features)
    assert found.xy_px[:, 0].tolist() == [1, 2, 3]
    assert found.left_out == 1
    # One name for all is none: identifiers tell them apart.
    assert found.names == ["uuid1", "uuid2", "uuid3"]
    assert centres(features[0]).xy_px.tolist() == [[0, 0]]


def test_places_on_the_array_are_read_in_both_notations(centres):
    listed = [{"name": "array_row", "value": 4}, {"name": "array_col", "value": 6}]
    found = centres(
        [
            feature("Point", [1, 1], properties={"measurements": listed}),
            feature("Point", [1, 2], properties={"measurements": {"array_row": 1, "array_col": 2}}),
            feature("Point", [1, 3], properties={"measurements": {"array_row": 0.5}}),
        ]
    )
    assert found.array_row.tolist() == [4, 1, -1]
    assert found.array_col.tolist() == [6, 2, -1]
    assert found.names is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("7", "no list of features"),
        ({"type": "FeatureCollection"}, "no list of features"),
        ({"type": "FeatureCollection", "features": []}, "has no features"),
        ([feature("LineString", [[0, 0], [1, 1]])], "Feature 1 .*it is a LineString"),
        ([feature("Point", [0, 0]), {"geometry": None}], "Feature 2 .* neither a point"),
        ([feature("Point", ["a", 0])], "Feature 1 .* neither"),
        ([feature("Polygon", [])], "Feature 1 .* neither"),
        ([feature("Polygon", [[]])], "Feature 1 .* neither"),
        ('[{"geometry": {"type": "Point", "coordinates": [NaN, 0]}}]', "no finite numbers"),
    ],
)
def test_what_is_no_geojson_of_places_is_one_sentence(centres, content, said):
    with pytest.raises(SpotsError, match=said) as raised:
        centres(content)
    assert "shapes.geojson" in raised.value.message
