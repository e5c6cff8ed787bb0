"""An AnnData written block by block is the one that would have been written at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from hypergene.errors import UsageError
from hypergene.output import Matrix, read_anndata, stream_anndata, write_anndata
from hypergene.output.store import CHUNK_COLUMNS, CHUNK_ROWS

FORMATS = ("zarr", "h5ad")


def table(spots: int = 2500, genes: int = 300, dtype: Any = np.float32) -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"radius": rng.random(spots, np.float32), "sample": "C3"},
        index=[f"s{number}" for number in range(spots)],
    )
    var = pd.DataFrame({"reliable": rng.random(genes) > 0.5}, index=[f"G{n}" for n in range(genes)])
    return ad.AnnData(
        rng.random((spots, genes), np.float32).astype(dtype),
        obs=obs,
        var=var,
        layers={"std": rng.random((spots, genes), np.float32).astype(dtype)},
        obsm={"spatial": rng.random((spots, 2)), "X_e": rng.random((spots, 5), np.float32)},
        uns={"hypergene": {"version": "1", "warnings": np.array([], np.str_)}},
    )


def stream(adata: ad.AnnData, path: Path, format: Any, block: int = CHUNK_ROWS) -> None:
    matrices = {"X": adata.X, "layers/std": adata.layers["std"], "obsm/X_e": adata.obsm["X_e"]}
    kinds = {key: Matrix(values.shape[1], values.dtype) for key, values in matrices.items()}
    with stream_anndata(path, format=format, rows=adata.n_obs, matrices=kinds) as out:
        for start in range(0, adata.n_obs, block):
            rows = slice(start, min(start + block, adata.n_obs))
            out[rows] = {key: values[rows] for key, values in matrices.items()}
        out.finish(
            obs=adata.obs, var=adata.var, uns=adata.uns, obsm={"spatial": adata.obsm["spatial"]}
        )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("block", [CHUNK_ROWS, 700])
def test_blocks_make_the_same_anndata_as_the_whole(
    tmp_path: Path, format: Any, dtype: Any, block: int
):
    adata = table(dtype=dtype)
    stream(adata, tmp_path / "blocks", format, block)
    write_anndata(adata, tmp_path / "whole", format=format)
    blocks, whole = read_anndata(tmp_path / "blocks"), read_anndata(tmp_path / "whole")
    assert blocks.X.dtype == dtype
    for left, right in (
        (blocks.X, whole.X),
        (blocks.layers["std"], whole.layers["std"]),
        (blocks.obsm["X_e"], whole.obsm["X_e"]),
        (blocks.obsm["spatial"], whole.obsm["spatial"]),
    ):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert blocks.X.any()
    pd.testing.assert_frame_equal(blocks.obs, whole.obs)
    pd.testing.assert_frame_equal(blocks.var, whole.var)
    assert blocks.uns["hypergene"]["version"] == "1"
    assert blocks.uns["hypergene"]["warnings"].shape == (0,)


def keys(group: Any) -> dict[str, dict[str, Any]]:
    """Every group and array with its attributes."""
    return {path: dict(node.attrs) for path, node in group.members(max_depth=None)}


def test_the_store_holds_what_anndata_writes_and_nothing_else(tmp_path: Path):
    adata = table(20, 3)
    stream(adata, tmp_path / "blocks", "zarr")
    write_anndata(adata, tmp_path / "whole")
    blocks, whole = (
        zarr.open_group(tmp_path / name, mode="r", zarr_format=3) for name in ("blocks", "whole")
    )
    expected = keys(whole)
    expected.pop("raw", None)  # some versions of anndata say that there is none
    assert keys(blocks) == expected
    assert dict(blocks.attrs) == dict(whole.attrs)
    listed = blocks.metadata.consolidated_metadata.flattened_metadata
    assert {"X", "layers/std", "obsm/X_e", "obs/radius"} <= set(listed)


def test_chunks_are_a_block_of_spots_by_few_genes(tmp_path: Path):
    stream(table(), tmp_path / "out", "zarr")
    group = zarr.open_group(tmp_path / "out", mode="r")
    assert group["X"].chunks == group["layers/std"].chunks == (CHUNK_ROWS, CHUNK_COLUMNS)
    assert group["obsm/X_e"].chunks == (CHUNK_ROWS, 5)
    assert group["X"].shards is None


@pytest.mark.parametrize("format", FORMATS)
def test_anndata_opens_a_part_of_it(tmp_path: Path, format: Any):
    adata = table()
    stream(adata, tmp_path / "out", format)
    if format == "h5ad":
        part = ad.read_h5ad(tmp_path / "out", backed="r")[5:9, ["G7"]].to_memory().X
    else:
        part = zarr.open_group(tmp_path / "out", mode="r")["X"][5:9, 7:8]
    np.testing.assert_array_equal(part, adata.X[5:9, 7:8])


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_takes_no_more_stops_the_stream_at_once(tmp_path: Path, format: str):
    # In a process of its own: HDF5 would crash the interpreter at exit.
    script = f"""
import resource, numpy as np
from pathlib import Path
from hypergene.output import Matrix, stream_anndata
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
values = np.random.default_rng(0).random((1024, 300), np.float32)
blocks = 0
try:
    with stream_anndata(Path({str(tmp_path / "out")!r}), format={format!r}, rows=10_240,
                        matrices={{"X": Matrix(300, values.dtype)}}) as out:
        for start in range(0, 10_240, 1024):
            out[slice(start, start + 1024)] = {{"X": values}}
            blocks += 1
except OSError as error:
    print(error.strerror, blocks)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    if format == "h5ad":  # asyncio may tell of the other chunks that Zarr was about to write
        assert done.stderr == ""
    reason, blocks = done.stdout.rsplit(maxsplit=1)
    assert reason == "File too large"
    assert int(blocks) < 10  # HDF5 keeps a few chunks before it writes them


def test_an_unknown_format_is_refused(tmp_path: Path):
    with (
        pytest.raises(UsageError, match="zarr, h5ad"),
        stream_anndata(tmp_path / "out", format="csv", rows=1, matrices={}),  # type: ignore[arg-type]
    ):
        pytest.fail("opened")
    assert list(tmp_path.iterdir()) == []
