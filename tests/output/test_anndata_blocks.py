"""What is written in blocks is what would have been written at once."""

from __future__ import annotations

from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from hypergene.errors import OutputError
from hypergene.output import anndata_blocks, read_anndata


@pytest.fixture
def small_chunks(monkeypatch):
    from importlib import import_module

    monkeypatch.setattr(import_module("hypergene.output.anndata_blocks"), "ROWS_PER_CHUNK", 10)


def spots(n: int) -> tuple[pd.DataFrame, np.ndarray]:
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(n, np.int8),
            "array_row": np.arange(n, dtype=np.int32),
            "tissue_fraction": np.linspace(0, 1, n, dtype=np.float32),
            "readable": np.arange(n) % 2 == 0,
        },
        index=[f"spot{i}" for i in range(n)],
    )
    return obs, np.column_stack([np.arange(n) + 0.5, np.arange(n) * 2.0])


@pytest.mark.parametrize("cuts", [[0, 3], [0, 10, 20], [0, 1, 24, 25], [0, 47]])
def test_blocks_come_back_as_one_table(small_chunks, tmp_path, cuts):
    obs, xy = spots(cuts[-1])
    path = tmp_path / "spots.zarr"
    with anndata_blocks(path, most_rows=100) as table:
        for start, stop in pairwise(cuts):
            table.append(obs.iloc[start:stop], {"spatial": xy[start:stop]})
        assert len(table) == cuts[-1]
        table.finish({"hypergene": {"version": "1", "warnings": np.array(["a", "b"])}})
    for read in (read_anndata, anndata.read_zarr):
        adata = read(path)
        pd.testing.assert_frame_equal(adata.obs, obs)
        np.testing.assert_array_equal(adata.obsm["spatial"], xy)
        assert adata.n_vars == 0
        assert adata.uns["hypergene"]["warnings"].tolist() == ["a", "b"]
    store = zarr.open_group(path, mode="r")
    assert store.metadata.consolidated_metadata is not None
    assert store["obsm/spatial"].chunks == (10, 2)
    assert store["obs/_index"].shape == (cuts[-1],)


def test_a_failure_half_way_leaves_nothing(small_chunks, tmp_path):
    obs, xy = spots(25)
    with (
        pytest.raises(RuntimeError, match="fire"),
        anndata_blocks(tmp_path / "s.zarr", most_rows=50) as table,
    ):
        table.append(obs, {"spatial": xy})
        raise RuntimeError("fire")
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_spots_is_not_written(tmp_path):
    with (
        pytest.raises(OutputError, match="no spot"),
        anndata_blocks(tmp_path / "s.zarr", most_rows=5),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
