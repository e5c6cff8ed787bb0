"""SpatialData: which table, which shapes, and pixels of which image."""

from __future__ import annotations

import builtins
import json
import logging
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from layouts.anndata_files import DIAMETER_PX, PITCH_PX, visium_anndata
from layouts.made import IDS, SYMBOLS, made_section
from layouts.spatialdata_zarr import WRITERS, circles, image, squares, table, write

from hypergene.errors import DataError
from hypergene.output import write_anndata
from hypergene.st.formats import h5ad, spatialdata_zarr

pytest.importorskip("spatialdata")


@pytest.fixture(scope="module")
def section():
    return made_section()


@pytest.fixture(scope="module")
def stores(tmp_path_factory, section):
    """Write each layout once."""
    return {
        name: writer(tmp_path_factory.mktemp(name), section) for name, writer in WRITERS.items()
    }


@pytest.fixture
def store(tmp_path, stores):
    """Return a copy of the Visium store, to be changed."""
    path = tmp_path / "A1.zarr"
    shutil.copytree(stores["spatialdata-visium"].data, path)
    return path


@pytest.fixture(scope="module")
def adata(section):
    return visium_anndata(section)


def identity():
    from spatialdata.transformations import Identity

    return {"global": Identity()}


def scale(factor: float, system: str = "global"):
    from spatialdata.transformations import Scale

    return {system: Scale([factor, factor], axes=("x", "y"))}


def sentence(call, match: str | None = None) -> DataError:
    with pytest.raises(DataError, match=match) as raised:
        call()
    assert "\n" not in f"{raised.value.message}{raised.value.hint}"
    assert raised.value.hint
    return raised.value


class TestRead:
    @pytest.mark.parametrize("layout", WRITERS)
    def test_spots_are_where_the_slide_shows_them(self, stores, section, layout):
        sample = stores[layout]
        read = spatialdata_zarr.read(sample.data, sample.spots, sample.slide)
        about = read.uns["hypergene"]
        # The counts were drawn at the places of the picture, so only these explain them.
        np.testing.assert_array_equal(
            read.X.toarray(), section.draw(read.obsm["spatial"].round(9)).toarray()
        )
        assert read.var_names.tolist() == list(SYMBOLS)
        assert read.var["gene_ids"].tolist() == list(IDS)
        assert about["pitch_px"] == pytest.approx(PITCH_PX)
        assert about["dropped"] == {"counts_without_position": 0, "positions_without_counts": 0}
        assert about["counts_from"].startswith("X of the table '")
        side = PITCH_PX if layout == "spatialdata-bins" else DIAMETER_PX
        assert about["spot_diameter_px"] == pytest.approx(side)
        assert ("layout" in about) == (layout != "spatialdata-bins")
        assert "warnings" not in about

    def test_positions_are_those_of_the_anndata_that_was_put_in(self, stores, adata):
        for layout in ("spatialdata-visium", "spatialdata-micrometres"):
            sample = stores[layout]
            read = spatialdata_zarr.read(sample.data, None, sample.slide)
            np.testing.assert_allclose(read.obsm["spatial"], adata.obsm["spatial"], atol=1e-9)
            assert read.obs_names.tolist() == adata.obs_names.tolist()
            assert read.uns["hypergene"]["platform"] == "visium"

    def test_it_is_said_where_the_positions_are_from(self, stores):
        said = {
            name: spatialdata_zarr.read(s.data, None, s.slide).uns["hypergene"]["positions_from"]
            for name, s in stores.items()
        }
        assert said == {
            "spatialdata-visium": "shapes 'A1', in their own coordinates",
            "spatialdata-micrometres": "shapes 'spots', in pixels of the image 'slide'",
            "spatialdata-bins": "shapes 'bins', in pixels of the image 'slide'",
        }

    def test_stores_are_told_apart_without_importing_spatialdata(
        self, stores, tmp_path, adata, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "spatialdata", None)
        for sample in stores.values():
            assert spatialdata_zarr.recognises(sample.data)
            assert not h5ad.recognises_zarr(sample.data)
        plain = tmp_path / "plain.zarr"
        write_anndata(adata, plain)
        assert not spatialdata_zarr.recognises(plain)
        assert h5ad.recognises_zarr(plain)
        sentence(lambda: spatialdata_zarr.read(plain), "is no SpatialData store")

    def test_points_have_places_but_no_size(self, tmp_path, adata, section):
        from spatialdata.models import PointsModel

        xy = pd.DataFrame(adata.obsm["spatial"], columns=["x", "y"])
        path = tmp_path / "s.zarr"
        write(
            path,
            points={"spots": PointsModel.parse(xy, transformations=identity())},
            tables={"table": table(adata, "spots")},
        )
        read = spatialdata_zarr.read(path)
        np.testing.assert_array_equal(read.obsm["spatial"], adata.obsm["spatial"])
        assert "spot_diameter_px" not in read.uns["hypergene"]

    def test_rows_and_shapes_meet_by_instance_and_the_rest_is_counted(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        shapes = circles(adata.obsm["spatial"], 8.0, identity()).iloc[::-1]
        spots = table(adata, "spots")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spatialdata, too, speaks of rows without shapes
            write(path, shapes={"spots": shapes.iloc[:-3]}, tables={"t": spots[:25].copy()})
        read = spatialdata_zarr.read(path)
        assert read.obs_names.tolist() == adata.obs_names[3:25].tolist()
        np.testing.assert_array_equal(read.obsm["spatial"], adata.obsm["spatial"][3:25])
        assert read.uns["hypergene"]["dropped"] == {
            "counts_without_position": 3, "positions_without_counts": 5,
        }  # fmt: skip

    def test_circles_of_many_sizes_have_no_diameter(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        sizes = np.linspace(5, 10, 30)
        shapes = circles(adata.obsm["spatial"], sizes, identity())
        write(path, shapes={"cells": shapes}, tables={"table": table(adata, "cells")})
        assert "spot_diameter_px" not in spatialdata_zarr.read(path).uns["hypergene"]


class TestWhichImage:
    @pytest.fixture
    def stored(self, tmp_path, adata):
        """Write circles in px of the picture with some images; return the store."""

        def write_with(**images):
            path = tmp_path / "s.zarr"
            shapes = circles(adata.obsm["spatial"], DIAMETER_PX / 2, identity())
            write(path, shapes={"s": shapes}, images=images, tables={"t": table(adata, "s")})
            return path

        return write_with

    def test_an_image_of_the_slide_s_size_is_the_slide(self, stored, section, tmp_path, adata):
        slide = section.save_picture(tmp_path)
        other = np.zeros((500, 500, 3), np.uint8)
        path = stored(
            he=image(section.picture, scale(0.5)), dapi=image(other, scale(0.25)),
        )  # fmt: skip
        read = spatialdata_zarr.read(path, None, slide)
        np.testing.assert_allclose(read.obsm["spatial"], adata.obsm["spatial"] * 2)
        assert read.uns["hypergene"]["spot_diameter_px"] == pytest.approx(2 * DIAMETER_PX)

    def test_smaller_copies_do_not_matter(self, stored, section, adata):
        path = stored(
            full=image(section.picture, scale(0.5)), copy=image(section.picture, scale(1.0))
        )
        read = spatialdata_zarr.read(path)
        np.testing.assert_allclose(read.obsm["spatial"], adata.obsm["spatial"] * 2)
        assert read.uns["hypergene"]["positions_from"].endswith("'full'")

    def test_two_images_that_lie_otherwise_are_listed(self, stored, section):
        from spatialdata.transformations import Translation

        moved = {"global": Translation([30.0, 0.0], axes=("x", "y"))}
        path = stored(he=image(section.picture, identity()), dapi=image(section.picture, moved))
        error = sentence(lambda: spatialdata_zarr.read(path), "could be the slide: dapi, he")
        assert "subset" in error.hint

    def test_an_image_of_another_size_than_the_slide_is_said(
        self, stored, section, tmp_path, caplog
    ):
        slide = section.save_picture(tmp_path)
        path = stored(he=image(section.picture[:300], identity()))
        with caplog.at_level(logging.WARNING):
            about = spatialdata_zarr.read(path, None, slide).uns["hypergene"]
        assert "'he' (400 × 300 px)" in about["warnings"][0]
        assert "400 × 360 px" in about["warnings"][0]
        assert about["warnings"][0] in caplog.text

    def test_a_slide_that_does_not_open_is_left_to_those_who_need_it(
        self, stored, tmp_path, section
    ):
        slide = tmp_path / "no.png"
        slide.write_bytes(b"")
        path = stored(he=image(section.picture, identity()))
        assert spatialdata_zarr.read(path, None, slide).n_obs == 30

    def test_an_unrelated_image_is_no_slide(self, stored, section, adata):
        path = stored(he=image(section.picture, scale(0.1, "elsewhere")))
        read = spatialdata_zarr.read(path)
        np.testing.assert_array_equal(read.obsm["spatial"], adata.obsm["spatial"])

    def test_two_ways_to_one_image_must_agree(self, tmp_path, adata, section):
        path = tmp_path / "s.zarr"
        both = identity() | scale(2.0, "other")
        write(
            path,
            shapes={"s": circles(adata.obsm["spatial"], 8.0, both)},
            images={"he": image(section.picture, identity() | scale(1.0, "other"))},
            tables={"t": table(adata, "s")},
        )
        sentence(lambda: spatialdata_zarr.read(path), "image 'he' in two ways")


class TestRefused:
    def test_several_tables_are_listed(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        xy = adata.obsm["spatial"]
        write(
            path,
            shapes={"b8": squares(xy, 8.0, identity()), "b16": squares(xy, 16.0, identity())},
            tables={"square_008um": table(adata, "b8"), "square_016um": table(adata, "b16")},
        )
        error = sentence(
            lambda: spatialdata_zarr.read(path),
            "2 tables of spots.*'square_008um' of 'b8'; 'square_016um' of 'b16'",
        )
        assert str(path) in error.message
        assert "sdata.subset" in error.hint

    def test_several_sections_in_one_table_are_listed(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        two = adata.copy()
        two.obs["region"] = pd.Categorical(["a"] * 15 + ["b"] * 15)
        shapes = {name: circles(adata.obsm["spatial"], 8.0, identity()) for name in "ab"}
        write(path, shapes=shapes, tables={"t": table(two, ["a", "b"])})
        sentence(
            lambda: spatialdata_zarr.read(path), "several sections in one table: 't' of 'a', 'b'"
        )

    def test_without_a_table_of_shapes_the_tables_are_listed(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        write(path, shapes={"s": circles(adata.obsm["spatial"], 8.0, identity())})
        sentence(lambda: spatialdata_zarr.read(path), "no table of shapes .*tables are none")
        path = tmp_path / "labels.zarr"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(path, tables={"t": table(adata, "cell_labels")})
        sentence(lambda: spatialdata_zarr.read(path), "tables are 't' of 'cell_labels'")

    def test_cells_are_no_spots(self, tmp_path, adata):
        from geopandas import GeoDataFrame
        from shapely import Point
        from spatialdata.models import ShapesModel

        path = tmp_path / "s.zarr"
        frame = GeoDataFrame(geometry=[Point(*xy).buffer(5) for xy in adata.obsm["spatial"]])
        cells = ShapesModel.parse(frame, transformations=identity())
        write(path, shapes={"cells": cells}, tables={"t": table(adata, "cells")})
        sentence(lambda: spatialdata_zarr.read(path), "'cells' .* neither circles nor squares")

    def test_a_table_whose_instances_have_no_shapes_is_named(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        shapes = circles(adata.obsm["spatial"], 8.0, identity())
        shapes.index = shapes.index + 1000
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(path, shapes={"s": shapes}, tables={"t": table(adata, "s")})
        error = sentence(lambda: spatialdata_zarr.read(path), "None of the 30 rows .*'t'")
        assert "spot_id" in error.hint

    def test_predictions_are_not_measurements(self, tmp_path, adata):
        path = tmp_path / "s.zarr"
        predicted = table(adata, "s")
        predicted.uns["hypergene"] = {"model": {"name": "default"}}
        shapes = {"s": circles(adata.obsm["spatial"], 8.0, identity())}
        write(path, shapes=shapes, tables={"t": predicted})
        sentence(lambda: spatialdata_zarr.read(path), "hypergene predicted")

    def test_without_the_extra_the_command_that_brings_it_is_given(self, store, monkeypatch):
        monkeypatch.setitem(sys.modules, "spatialdata", None)
        error = sentence(lambda: spatialdata_zarr.read(store), "spatialdata is not installed")
        assert "pip install 'hypergene[spatialdata]'" in error.hint

    def test_an_extra_that_does_not_work_is_no_traceback(self, store, monkeypatch):
        real = builtins.__import__

        def broken(name, *args, **kwargs):
            if name == "spatialdata":
                raise AttributeError("module 'dask' has no attribute 'old'")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", broken)
        sentence(lambda: spatialdata_zarr.read(store), "fails here: module 'dask' has no")

    def test_spots_of_a_sheet_have_no_meaning_here(self, store):
        sentence(lambda: spatialdata_zarr.read(store, store), "positions inside")


class TestDamage:
    @pytest.mark.parametrize(
        "place",
        ["shapes/A1/shapes.parquet", "tables/table/X/data/c/0", "tables/table/obs/spot_id/c/0"],
    )
    @pytest.mark.parametrize("keep", [None, 0, 10])
    def test_a_file_lost_or_cut_short_is_one_sentence(self, store, place, keep):
        file = store / place
        content = file.read_bytes()
        file.unlink()
        if keep is not None:
            file.write_bytes(content[:keep])
        error = sentence(lambda: spatialdata_zarr.read(store))
        assert str(store) in error.message

    def test_a_store_that_lies_about_its_elements_is_one_sentence(self, store):
        root = store / "zarr.json"
        stored = json.loads(root.read_text())
        for change in (
            {"attributes": {"spatialdata_attrs": {}}, "consolidated_metadata": None},
            {"attributes": {"spatialdata_attrs": None}},
            {"attributes": {"spatialdata_attrs": {"version": "99"}}},
            {"node_type": "array"},
        ):
            root.write_text(json.dumps(stored | change))
            error = sentence(lambda: spatialdata_zarr.read(store))
            assert str(store) in error.message

    def test_columns_that_tie_rows_to_shapes_must_be_there(self, store):
        (store / "zarr.json").write_text(
            json.dumps(
                json.loads((store / "zarr.json").read_text()) | {"consolidated_metadata": None}
            )
        )
        shutil.rmtree(store / "tables" / "table" / "obs" / "spot_id")
        sentence(lambda: spatialdata_zarr.read(store), "no column 'spot_id'")

    def test_nothing_there_is_said(self, tmp_path):
        for path in (tmp_path, tmp_path / "no.zarr"):
            sentence(lambda path=path: spatialdata_zarr.read(path), "is no SpatialData store")
