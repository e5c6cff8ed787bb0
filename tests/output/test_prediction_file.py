"""Of a prediction on disk only what is asked for is read, and strangers are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData

from hypergene.errors import DataError, UsageError
from hypergene.output import open_prediction, read_anndata, write_anndata
from hypergene.output.store import CHUNK_COLUMNS, Format

FORMATS: tuple[Format, ...] = ("zarr", "h5ad")
GENES = 2 * CHUNK_COLUMNS + 3


def prediction() -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.random((11, GENES), dtype=np.float32))
    adata.var_names = [f"G{number}" for number in range(GENES)]
    adata.layers["std"] = rng.random((11, GENES)).astype(np.float16)
    adata.obsm["spatial"] = rng.random((11, 2))
    adata.uns = {"spatial": {"s": {"scalefactors": {"spot_diameter_fullres": 3.0}}}}
    adata.uns["hypergene"] = {"model": {"name": "tiny"}}
    return adata


@pytest.mark.parametrize("format", FORMATS)
def test_genes_and_spots_are_those_asked_for_in_that_order(tmp_path: Path, format: Format) -> None:
    adata, path = prediction(), tmp_path / f"p.{format}"
    write_anndata(adata, path, format=format)
    opened = open_prediction(path)
    assert opened.genes == tuple(adata.var_names)
    assert opened.layers == ("std",)
    genes = [f"G{GENES - 1}", "G0", f"G{CHUNK_COLUMNS}", "G1"]
    some = opened.read(genes, slice(2, 7))
    assert list(some.var_names) == genes
    assert list(some.obs_names) == list(adata.obs_names[2:7])
    np.testing.assert_array_equal(some.X, adata[2:7, genes].X)
    np.testing.assert_array_equal(some.layers["std"], adata[2:7, genes].layers["std"])
    np.testing.assert_array_equal(some.obsm["spatial"], adata.obsm["spatial"][2:7])
    assert some.X.dtype == some.layers["std"].dtype == np.float32


@pytest.mark.parametrize("format", FORMATS)
def test_all_of_it_is_what_anndata_reads(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"p.{format}"
    write_anndata(prediction(), path, format=format)
    whole, read = open_prediction(path).read(), read_anndata(path)
    np.testing.assert_array_equal(whole.X, read.X)
    assert whole.obs.equals(read.obs)
    assert whole.uns["hypergene"] == read.uns["hypergene"]


def test_a_gene_that_is_not_there_or_asked_for_twice_is_said(tmp_path: Path) -> None:
    write_anndata(prediction(), tmp_path / "p.zarr")
    opened = open_prediction(tmp_path / "p.zarr")
    with pytest.raises(UsageError, match="no prediction of ERBB2") as caught:
        opened.read(["G1", "ERBB2"])
    assert "for example G0, G1" in str(caught.value.hint)
    with pytest.raises(UsageError) as caught:
        opened.read(["g51"])
    assert "Close to g51: G51" in str(caught.value.hint)
    with pytest.raises(UsageError, match="twice"):
        opened.read(["G1", "G1"])


def test_what_is_no_prediction_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        open_prediction(tmp_path / "missing.zarr")
    measured = prediction()
    del measured.uns["hypergene"]
    write_anndata(measured, tmp_path / "measured.zarr")
    with pytest.raises(DataError, match="not written by hypergene"):
        open_prediction(tmp_path / "measured.zarr")
    spots = prediction()[:, :0].copy()
    spots.uns["hypergene"] = {"version": "0.1"}
    write_anndata(spots, tmp_path / "spots.zarr")
    with pytest.raises(DataError, match="without expression") as caught:
        open_prediction(tmp_path / "spots.zarr")
    assert "--coords" in str(caught.value.hint)
    (tmp_path / "notes.h5ad").write_text("hello")
    with pytest.raises(DataError, match="not a whole prediction"):
        open_prediction(tmp_path / "notes.h5ad")


def test_a_damaged_store_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    write_anndata(prediction(), path)
    header = json.loads((path / "X" / "zarr.json").read_text())
    # The consolidated copy is what readers trust, so both must go.
    root = json.loads((path / "zarr.json").read_text())
    for metadata in (header, root["consolidated_metadata"]["metadata"]["X"]):
        metadata["shape"] = [11, 7]
    (path / "X" / "zarr.json").write_text(json.dumps(header))
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(DataError, match="no matrix X of 11 spots"):
        open_prediction(path).read()
    write_anndata(prediction(), path, overwrite=True)
    for chunk in (path / "X" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"broken")
    with pytest.raises(DataError, match="not a whole prediction"):
        open_prediction(path).read()
