"""AnnData written here is what anndata, scanpy and squidpy read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from hypergene.errors import DataError, OutputError, UsageError
from hypergene.output import read_anndata, spatial_uns, write_anndata
from hypergene.output.store import CHUNK_COLUMNS, CHUNK_ROWS
from hypergene.spots import lay_spots, layout_named

FORMATS = ("zarr", "h5ad")
READERS = {"zarr": ad.io.read_zarr, "h5ad": ad.io.read_h5ad}


class PaintedSlide:
    dimensions = (3000, 2400)

    def thumbnail(self, max_px: int) -> tuple[np.ndarray, float]:
        scale = min(1.0, max_px / 3000)
        return np.full((round(2400 * scale), round(3000 * scale), 3), 200, np.uint8), scale


def canonical(n_genes: int = 7) -> ad.AnnData:
    """A small table with every place of the canonical AnnData."""
    rng = np.random.default_rng(0)
    spots = lay_spots(layout_named("visium"), PaintedSlide.dimensions, (0.5, 0.5))
    n = len(spots)
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(n, np.int8),
            "array_row": spots.array_row,
            "tissue_fraction": rng.random(n).astype(np.float32),
            "sample": "C3",
            "patient": None,
            "barcode": [f"b{i}" for i in range(n)],
        },
        index=spots.names.astype(object),
    )
    var = pd.DataFrame(
        {"reliable": True, "heldout_pcc": 0.3}, index=[f"G{i}" for i in range(n_genes)]
    )
    counts = sparse.random(n, n_genes, 0.4, format="csr", random_state=0)
    adata = ad.AnnData(rng.random((n, n_genes), dtype=np.float32), obs=obs, var=var)
    adata.layers["counts"] = (counts * 10).astype(np.int32)
    adata.obsm["spatial"] = spots.xy_px
    adata.uns["spatial"] = spatial_uns(PaintedSlide(), "slide", 110)
    adata.uns["hypergene"] = {"version": "0.1", "seed": 0, "mpp": {"x": 0.5, "source": "--mpp"}}
    return adata


@pytest.mark.parametrize("format", FORMATS)
def test_everything_comes_back(tmp_path, format):
    adata, path = canonical(), tmp_path / f"out.{format}"
    write_anndata(adata, path, format=format)
    for back in (READERS[format](path), read_anndata(path)):
        np.testing.assert_array_equal(back.X, adata.X)
        assert back.X.dtype == np.float32
        assert abs(back.layers["counts"] - adata.layers["counts"]).max() == 0
        assert back.layers["counts"].dtype == np.int32
        assert back.obs_names.tolist() == adata.obs_names.tolist()
        assert back.var_names.tolist() == adata.var_names.tolist()
        assert back.obs["tissue_fraction"].dtype == np.float32
        assert back.obs["barcode"].tolist() == adata.obs["barcode"].tolist()
        np.testing.assert_array_equal(back.obsm["spatial"], adata.obsm["spatial"])
        assert back.uns["hypergene"] == adata.uns["hypergene"]
        for name, image in adata.uns["spatial"]["slide"]["images"].items():
            found = back.uns["spatial"]["slide"]["images"][name]
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("format", FORMATS)
def test_repeated_and_missing_text_becomes_categories_on_disk_only(tmp_path, format):
    adata, path = canonical(), tmp_path / f"out.{format}"
    dtypes = adata.obs.dtypes.copy()
    write_anndata(adata, path, format=format)
    back = read_anndata(path).obs
    assert back["sample"].cat.categories.tolist() == ["C3"]
    assert back["patient"].isna().all()
    assert not isinstance(back["barcode"].dtype, pd.CategoricalDtype)
    pd.testing.assert_series_equal(adata.obs.dtypes, dtypes)


@pytest.mark.parametrize("format", FORMATS)
def test_spots_without_genes_can_be_written(tmp_path, format):
    adata = canonical()
    bare = ad.AnnData(obs=adata.obs, obsm={"spatial": adata.obsm["spatial"]})
    write_anndata(bare, tmp_path / "out", format=format)
    back = read_anndata(tmp_path / "out")
    assert back.shape == (adata.n_obs, 0)
    np.testing.assert_array_equal(back.obsm["spatial"], adata.obsm["spatial"])


def test_the_store_is_zarr_3_throughout_and_consolidated(tmp_path):
    path = tmp_path / "out.zarr"
    write_anndata(canonical(), path)
    assert not list(path.rglob(".z*"))
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    listed = group.metadata.consolidated_metadata.flattened_metadata
    assert {"X", "obs/sample", "layers/counts/data", "obsm/spatial"} <= set(listed)
    assert {metadata.zarr_format for metadata in listed.values()} == {3}


def test_matrices_are_cut_into_chunks_of_few_genes(tmp_path):
    n_spots, n_genes = CHUNK_ROWS + 300, CHUNK_COLUMNS + 5
    adata = ad.AnnData(np.ones((n_spots, n_genes), np.float32))
    adata.obsm["spatial"] = np.zeros((n_spots, 2))
    write_anndata(adata, tmp_path / "out.zarr")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert group["X"].chunks == (CHUNK_ROWS, CHUNK_COLUMNS)
    assert group["obsm/spatial"].chunks == (CHUNK_ROWS, 2)
    assert group["X"].shards is None


@pytest.mark.parametrize("format", FORMATS)
def test_an_existing_output_needs_overwrite(tmp_path, format):
    path = tmp_path / f"out.{format}"
    write_anndata(canonical(3), path, format=format)
    with pytest.raises(OutputError, match="--overwrite"):
        write_anndata(canonical(5), path, format=format)
    assert read_anndata(path).n_vars == 3
    write_anndata(canonical(5), path, format=format, overwrite=True)
    assert read_anndata(path).n_vars == 5
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter").write_text("1")
    with pytest.raises(OutputError, match="no Zarr store"):
        write_anndata(canonical(), folder, overwrite=True)
    assert (folder / "chapter").read_text() == "1"


@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_on_the_way_leaves_nothing(tmp_path, format):
    adata = canonical()
    adata.uns["unwritable"] = object()
    with pytest.raises(Exception, match=r"(?i)object"):
        write_anndata(adata, tmp_path / "out", format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_takes_no_more_ends_in_one_sentence_and_a_clean_exit(tmp_path, format):
    # In a process of its own: HDF5 would crash the interpreter at exit.
    script = f"""
import resource, numpy as np, anndata as ad
from pathlib import Path
from hypergene.errors import OutputError
from hypergene.output import write_anndata
adata = ad.AnnData(np.random.default_rng(0).random((300, 300), dtype=np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    write_anndata(adata, Path({str(tmp_path / "out")!r}), format={format!r})
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot be written (File too large)" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UsageError, match="zarr, h5ad"):
        write_anndata(canonical(), tmp_path / "out.csv", format="csv")


def test_what_is_not_there_or_not_whole_is_named(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_anndata(tmp_path / "missing.zarr")
    text = tmp_path / "text.h5ad"
    text.write_text("not HDF5")
    folder = tmp_path / "folder.zarr"
    folder.mkdir()
    for broken in (text, folder):
        with pytest.raises(DataError, match="not a whole AnnData") as caught:
            read_anndata(broken)
        assert str(broken) in str(caught.value)


def test_a_damaged_store_is_named(tmp_path):
    path = tmp_path / "out.zarr"
    write_anndata(canonical(), path)
    chunk = next(file for file in (path / "X").rglob("*") if file.is_file() and file.stem == "0")
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(DataError, match="not a whole AnnData"):
        read_anndata(path)


def test_a_zarr_2_store_is_refused_since_it_may_hold_pickles(tmp_path):
    path = tmp_path / "old.zarr"
    whole = ad.AnnData(np.ones((3, 2), np.float32))
    ad.io.write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", whole)
    assert ad.io.read_zarr(path).shape == (3, 2)
    with pytest.raises(DataError, match="Zarr 3"):
        read_anndata(path)


def test_scanpy_and_squidpy_draw_a_gene_over_the_tissue(tmp_path):
    sc = pytest.importorskip("scanpy")
    sq = pytest.importorskip("squidpy")
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    path: Path = tmp_path / "out.zarr"
    write_anndata(canonical(), path)
    adata = ad.io.read_zarr(path)

    sq.pl.spatial_scatter(adata, color="G0")
    axes = [plt.gca()]
    if hasattr(sc.pl, "spatial"):  # scanpy is handing this over to squidpy
        axes += sc.pl.spatial(adata, color="G0", show=False)
    for one in axes:
        assert one.images[0].get_array().shape[:2] == (1600, 2000)
        assert len(one.collections[0].get_array()) == adata.n_obs
    plt.close("all")


def test_atomic_path_costs_no_import_of_anndata():
    script = "import sys, hypergene.output; print('anndata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
