"""A folder for Vitessce: what the config names is there, and in one system of coordinates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import zarr
from tiny.prediction import ODD_GENES, UNITS, tiny_prediction

from hypergene.output.export import write_vitessce


@pytest.fixture(scope="module")
def folder(choose, tmp_path_factory) -> Path:
    """The export of Visium spots and all genes."""
    path = tmp_path_factory.mktemp("export") / "v"
    write_vitessce(choose(), path)
    return path


def config_of(folder) -> dict[str, Any]:
    return json.loads((folder / "vitessce.json").read_text(encoding="utf-8"))


def test_the_config_names_files_and_paths_that_are_there(choose, tmp_path):
    folder = tmp_path / "s.vitessce"
    write_vitessce(choose(archetypes=True), folder)
    (dataset,) = config_of(folder)["datasets"]
    table, image = dataset["files"]
    group = zarr.open_group(folder / table["url"], mode="r")
    options = table["options"]
    paths = [options["obsSpots"]["path"], options["obsFeatureMatrix"]["path"]]
    paths += [entry["path"] for entry in options["obsSets"]]
    assert paths == ["obsm/spatial_um", "X", "obs/archetype"]
    assert all(path in group for path in paths)
    assert zarr.open_group(folder / image["url"], mode="r")["0"].shape == (3, 400, 500)


def test_every_scope_of_the_config_leads_to_a_value(folder):
    config = config_of(folder)
    space = config["coordinationSpace"]
    for name, scopes in space["metaCoordinationScopes"]["all"].items():
        for scope in [scopes] if isinstance(scopes, str) else scopes:
            assert scope in space[name]
    for layer, by in space["metaCoordinationScopesBy"]["all"].items():
        for name, scopes in by.items():
            for one, scope in scopes.items():
                assert one in space[layer]
                assert scope in space[name]
    components = {view["component"] for view in config["layout"]}
    assert components == {"spatialBeta", "layerControllerBeta", "featureList", "description"}


def test_the_data_are_an_anndata_cut_for_one_gene_at_a_time(folder):
    adata, expected = anndata.read_zarr(folder / "prediction.zarr"), tiny_prediction()
    assert tuple(adata.var_names) == ODD_GENES
    np.testing.assert_array_equal(adata.X, expected.X)
    np.testing.assert_allclose(adata.obsm["spatial_um"], expected.obsm["spatial"] * 0.5, rtol=1e-6)
    assert adata.uns["hypergene"]["units"] == UNITS
    matrix = zarr.open_group(folder / "prediction.zarr", mode="r")["X"]
    assert matrix.chunks == (len(expected), 4)


def test_spots_and_picture_are_in_micrometres(choose, tmp_path):
    write_vitessce(choose(mpp=(0.5, 0.25)), tmp_path / "v")
    ome = zarr.open_group(tmp_path / "v" / "he.ome.zarr", mode="r").attrs["ome"]
    (scales,) = ome["multiscales"]
    (level,) = scales["datasets"]
    _, down, across = level["coordinateTransformations"][0]["scale"]
    # 500 x 400 px of picture are 1500 x 1200 px of slide.
    assert (across, down) == (3 * 0.5, 3 * 0.25)
    assert config_of(tmp_path / "v")["coordinationSpace"]["spatialSpotRadius"]["spots"] == 55 / 2


def test_the_gene_that_is_predicted_best_is_shown_first(folder):
    shown = config_of(folder)["coordinationSpace"]["featureSelection"]["shared"]
    assert shown == [ODD_GENES[-1]]  # heldout_pcc rises along the genes


def test_it_says_predicted_and_the_unit(folder):
    config = config_of(folder)
    assert "predicted, not measured" in config["description"]
    assert UNITS in config["description"]
    assert config["name"].startswith("Predicted expression")


def test_the_page_asks_for_this_config_and_one_version_of_the_viewer(choose, tmp_path):
    write_vitessce(choose(stem="a<b>&c"), tmp_path / "v")
    page = (tmp_path / "v" / "index.html").read_text(encoding="utf-8")
    assert 'fetch("vitessce.json")' in page
    assert "<title>Predicted expression, a&lt;b&gt;&amp;c.svs</title>" in page
    assert re.findall(r"vitessce@([\d.]+)/", page) == ["4.0.8"]
