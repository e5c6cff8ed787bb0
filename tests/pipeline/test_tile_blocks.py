"""Millions of spots are tiled in blocks, to the same result as in one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hypergene.errors import TissueError, UsageError
from hypergene.output import read_anndata
from hypergene.pipeline import tile as tile_module
from hypergene.pipeline.tile import TileOptions, tile
from hypergene.spots import lattice

OPTIONS = TileOptions(
    layout="visium-hd-16", geojson=True, orientation_deg=15.0, offset_um=(50.0, 80.0)
)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_module, "MOST_IN_A_TABLE", 1000)
    monkeypatch.setattr(lattice, "SPOTS_PER_BLOCK", 500)


@pytest.fixture(scope="module")
def whole(painted_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    tile(painted_slide, out, OPTIONS)
    return out


def test_blocks_and_one_table_give_the_same(
    painted_slide: Path, whole: Path, tmp_path: Path, in_blocks: None
) -> None:
    outcome = tile(painted_slide, tmp_path, OPTIONS)
    assert outcome.output is not None
    assert "blocks" in outcome.seconds
    one, other = read_anndata(whole / "painted.spots.zarr"), read_anndata(outcome.output)
    assert outcome.spots == one.n_obs > 1000
    pd.testing.assert_frame_equal(one.obs, other.obs)
    np.testing.assert_array_equal(one.obsm["spatial"], other.obsm["spatial"])
    about = other.uns["hypergene"]
    assert about["arguments"]["offset_um"].tolist() == [50.0, 80.0]
    assert about["layout"]["orientation_deg"] == 15
    assert set(one.uns["hypergene"]) == set(about)
    assert list(one.uns["spatial"]) == list(other.uns["spatial"])
    for name in ("painted.spots.png", "painted.spots.geojson"):
        assert (whole / name).read_bytes() == (tmp_path / name).read_bytes()


def test_bins_smaller_than_a_pixel_of_the_picture_tint_it(
    painted_slide: Path, tmp_path: Path, in_blocks: None
) -> None:
    tile(painted_slide, tmp_path, layout="visium-hd-2")
    with Image.open(tmp_path / "painted.spots.png") as picture:
        drawn = np.asarray(picture).astype(int)
    # Yellow: blue is what tissue under it lost most of.
    yellow = drawn[..., 2] < drawn[..., 1] - 25
    assert 0.3 < yellow.mean() < 0.7


def test_terabytes_of_tiles_are_refused(
    painted_slide: Path, tmp_path: Path, in_blocks: None
) -> None:
    with pytest.raises(UsageError, match="terabytes") as error:
        tile(painted_slide, tmp_path, OPTIONS, pixels=True)
    assert "--pixels" in (error.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_no_spot_left_is_said_and_nothing_written(
    painted_slide: Path, tmp_path: Path, in_blocks: None
) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (50, 50), 0).save(mask)
    with pytest.raises(TissueError, match=r"fullest of [\d,]+ visium-hd-16 spots holds 0\.0%"):
        tile(painted_slide, tmp_path / "out", OPTIONS, tissue=str(mask))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="tissue fraction"):
        tile(painted_slide, tmp_path / "out", OPTIONS, min_tissue=2.0)
