"""What is exported is read in blocks that are the whole, and says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny.prediction import UNITS, tiny_prediction, write_tiny_prediction

from hypergene.errors import DataError
from hypergene.output import open_prediction, write_anndata
from hypergene.output.export import Chosen


@pytest.mark.parametrize("rows", [None, 7])
def test_blocks_are_the_whole(choose, rows):
    chosen = choose(wanted=("ABC", "ERBB2"))
    whole = chosen.prediction.read(chosen.genes)
    blocks = list(chosen.blocks(rows=rows))
    assert [at.start for at, _ in blocks] == list(range(0, len(chosen), rows or len(chosen)))
    np.testing.assert_array_equal(np.concatenate([b.X for _, b in blocks]), whole.X)
    np.testing.assert_array_equal(
        np.concatenate([b.layers["std"] for _, b in blocks]), whole.layers["std"]
    )


def test_the_spots_are_those_that_were_laid(choose):
    chosen = choose(layout="grid", diameter_um=60.0, orientation_deg=20.0)
    layout = chosen.spots.layout
    assert (layout.shape, layout.diameter_um, layout.orientation_deg) == ("square", 60.0, 20.0)
    np.testing.assert_array_equal(chosen.spots.xy_px, chosen.prediction.obsm["spatial"])


def test_the_statement_says_predicted_by_what_and_the_unit(choose):
    chosen = choose()
    for said in ("predicted, not measured", "tiny", "slide.svs", UNITS):
        assert said in chosen.statement
    assert chosen.about["predicted"] is True
    assert chosen.about["um_per_px"] == [0.5, 0.5]


@pytest.mark.parametrize("lost", ["units", "layout", "mpp", "slide"])
def test_a_prediction_that_does_not_say_where_or_what_is_refused(tmp_path: Path, lost: str):
    adata = tiny_prediction()
    del adata.uns["hypergene"][lost]
    write_anndata(adata, tmp_path / "p.zarr")
    chosen = Chosen(open_prediction(tmp_path / "p.zarr"), ("ABC",), True)
    with pytest.raises(DataError, match=r"p\.zarr does not say"):
        _ = (chosen.units, chosen.spots, chosen.about)


def test_h5ad_is_read_as_well(tmp_path: Path):
    opened = open_prediction(write_tiny_prediction(tmp_path, format="h5ad"))
    ((_, block),) = Chosen(opened, opened.genes, True).blocks()
    np.testing.assert_array_equal(block.X, tiny_prediction().X)
