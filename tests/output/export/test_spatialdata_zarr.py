"""A SpatialData store: image, spots, tiles and table in one system of coordinates."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tiny.prediction import ODD_GENES, UNITS, Gradient, tiny_prediction

from hypergene.errors import OutputError, UsageError
from hypergene.output.export import write_spatialdata

pytest.importorskip("spatialdata")
SIZE = (2400, 1800)


def read(path) -> Any:
    import spatialdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spatialdata.read_zarr(path)


@pytest.fixture(scope="module")
def store(choose, tmp_path_factory) -> Path:
    """The store of Visium spots and all genes."""
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    write_spatialdata(choose(), path)
    return path


def test_the_table_is_the_prediction_and_annotates_the_spots(store):
    table, expected = read(store).tables["hypergene_tiles"], tiny_prediction()
    assert tuple(table.var_names) == ODD_GENES
    np.testing.assert_array_equal(table.X, expected.X)
    np.testing.assert_array_equal(table.layers["std"], expected.layers["std"])
    assert table.uns["spatialdata_attrs"] == {
        "region": "spots",
        "region_key": "region",
        "instance_key": "spot",
    }
    assert table.obs["spot"].tolist() == expected.obs_names.tolist()
    assert table.uns["hypergene"]["units"] == UNITS


def test_a_slide_may_be_called_anything(choose, tmp_path):
    stem = "Fall 3 (α), Schnitt.2 & more"
    write_spatialdata(choose(stem=stem, wanted=("nan",)), tmp_path / "s.zarr")
    table = read(tmp_path / "s.zarr").tables["hypergene_tiles"]
    assert list(table.uns["spatial"]) == [stem]
    assert table.var_names.tolist() == ["nan"]


def test_what_is_predicted_is_said_of_the_whole_store(store):
    about = read(store).attrs["hypergene"]
    assert about["predicted"] is True
    assert UNITS in about["statement"]


def test_circles_have_their_radius_in_px_of_the_slide(choose, store):
    spots = read(store).shapes["spots"]
    assert set(spots["radius"]) == {55 / 2 / 0.5}
    xy = np.column_stack([spots.geometry.x, spots.geometry.y])
    np.testing.assert_array_equal(xy, choose().spots.xy_px)


@pytest.mark.parametrize(
    "of",
    [
        {"layout": "grid", "diameter_um": 60.0, "pitch_um": 100.0, "orientation_deg": 25.0},
        {"layout": "st", "mpp": (0.5, 0.25), "size_px": (1500, 2400)},
    ],
    ids=["turned squares", "circles on oblong px"],
)
def test_other_spots_are_polygons_of_their_area_inside_their_tile(choose, tmp_path, of):
    chosen = choose(**of)
    write_spatialdata(chosen, tmp_path / "s.zarr")
    whole = read(tmp_path / "s.zarr")
    spots, tiles = whole.shapes["spots"], whole.shapes["tiles"]
    side = chosen.spots.layout.diameter_um
    area_um2 = side**2 * (1 if chosen.spots.layout.shape == "square" else np.pi / 4)
    np.testing.assert_allclose(spots.area, area_um2 / np.prod(chosen.mpp), rtol=0.01)
    assert tiles["spot"].tolist() == spots.index.tolist()
    for spot, tile in zip(spots.geometry, tiles.geometry, strict=True):
        assert tile.buffer(1).contains(spot)


def test_the_thumbnail_lies_over_the_slide(store):
    from spatialdata.transformations import get_transformation

    image = read(store).images["wsi_thumbnail"]
    assert image.shape == (3, 400, 500)
    scale = get_transformation(image, "global").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(scale, np.diag([3, 3, 1]))


@pytest.mark.parametrize(("pixel_um", "first"), [(None, (3, 1800, 2400)), (1.0, (3, 900, 1200))])
def test_the_slide_becomes_scales_that_lie_over_each_other(choose, tmp_path, pixel_um, first):
    slide = Gradient(*SIZE)
    write_spatialdata(
        choose(size_px=SIZE, wanted=("ABC",)), tmp_path / "s.zarr", slide=slide, pixel_um=pixel_um
    )
    scales = read(tmp_path / "s.zarr").images["wsi"]
    shapes = [scales[name].image.shape for name in scales]
    assert shapes[0] == first
    assert shapes[-1] == (3, 450, 600)
    for name in scales:
        image = scales[name].image
        box = (0.0, 0.0, 2400.0, 1800.0)
        expected = slide.read_box(box, (image.shape[2], image.shape[1]))
        np.testing.assert_allclose(
            np.moveaxis(image.values, 0, -1).astype(int), expected.astype(int), atol=1
        )


def test_a_small_slide_is_one_image(choose, tmp_path):
    slide = Gradient(*SIZE)
    chosen = choose(size_px=SIZE, wanted=("ABC",))
    write_spatialdata(chosen, tmp_path / "s.zarr", slide=slide, pixel_um=2.0)
    assert read(tmp_path / "s.zarr").images["wsi"].shape == (3, 450, 600)


def test_the_slide_is_read_in_blocks(choose, tmp_path):
    sizes = []

    class Watched(Gradient):
        def read_box(self, box, size):
            sizes.append(size)
            return super().read_box(box, size)

    chosen = choose(size_px=SIZE, wanted=("ABC",))
    write_spatialdata(chosen, tmp_path / "s.zarr", slide=Watched(*SIZE))
    assert len(sizes) == 6 + 2 + 1
    assert max(map(max, sizes)) == 1024


def test_matrices_are_in_the_same_chunks_as_those_of_the_prediction(store):
    table = zarr.open_group(store, mode="r")["tables/hypergene_tiles"]
    assert table["X"].chunks == table["layers/std"].chunks == (len(tiny_prediction()), 10)


def test_without_spatialdata_one_sentence_says_how_to_get_it(choose, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(OutputError, match="not installed") as error:
        write_spatialdata(choose(), tmp_path / "s.zarr")
    assert "hypergene[spatialdata]" in str(error.value.hint)
    assert not (tmp_path / "s.zarr").exists()


def test_a_pixel_of_no_size_is_refused(choose, tmp_path):
    with pytest.raises(UsageError, match="µm wide"):
        write_spatialdata(choose(), tmp_path / "s.zarr", slide=Gradient(*SIZE), pixel_um=0.0)


def test_a_slide_that_fails_leaves_nothing(choose, tmp_path):
    class Broken(Gradient):
        def read_box(self, box, size):
            raise OutputError("The slide broke.")

    chosen = choose(size_px=SIZE)
    with pytest.raises(OutputError, match="broke"):
        write_spatialdata(chosen, tmp_path / "s.zarr", slide=Broken(*SIZE))
    assert list(tmp_path.iterdir()) == []
