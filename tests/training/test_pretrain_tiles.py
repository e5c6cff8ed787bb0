"""Dense tiles of a painted slide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypergene.errors import TissueError
from hypergene.features.cache import ArrayCache
from hypergene.model.config import EncoderConfig
from hypergene.slide import open_slide
from hypergene.training import pretrain_tiles
from hypergene.training.pretrain_tiles import DenseGrid, dense_places, dense_tiles

GRID = DenseGrid(pitch_um=60)
ENCODER = EncoderConfig(tile_um=(60.0, 120.0), tile_px=16)


def test_places_are_a_lattice_on_tissue(painted_slide: Path) -> None:
    with open_slide(painted_slide) as slide:
        places = dense_places(slide, 60, GRID)
        fewer = dense_places(slide, 60, replace(GRID, min_tissue=1.0))
    steps = np.unique(np.round(np.diff(np.unique(places[:, 0])), 6))
    assert steps.min() == pytest.approx(60)  # painted at 1 µm/px
    assert 2 <= len(fewer) < len(places) < (1200 / 60) ** 2


def test_a_large_slide_gives_a_sample_that_is_always_the_same(painted_slide: Path) -> None:
    with open_slide(painted_slide) as slide:
        every = dense_places(slide, 60, GRID)
        some, again = (dense_places(slide, 60, replace(GRID, most=20)) for _ in range(2))
    assert len(some) == 20
    np.testing.assert_array_equal(some, again)
    assert {tuple(place) for place in some} < {tuple(place) for place in every}


def test_glass_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGB", (600, 600), (243, 243, 243)).save(path)
    with open_slide(path, mpp=1.0) as slide, pytest.raises(TissueError, match=r"glass\.png"):
        dense_places(slide, 60, GRID)


def test_tiles_are_those_of_the_slide_with_a_margin(painted_slide: Path, tmp_path: Path) -> None:
    with open_slide(painted_slide) as slide:
        places = dense_places(slide, 60, GRID)
        tiles = dense_tiles(slide, ENCODER, GRID, ArrayCache(tmp_path), workers=0)
        wide_px = tiles.shape[2]
        seen = slide.read_um(*places[7], 120 * wide_px / 16, wide_px)
    assert tiles.shape == (len(places), 2, wide_px, wide_px, 3) and wide_px >= 16 * 2**0.5
    np.testing.assert_array_equal(tiles[7, 1], seen)


def test_tiles_are_read_once_for_every_grid_of_places(
    painted_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(painted_slide) as slide:
        first = dense_tiles(slide, ENCODER, GRID, ArrayCache(tmp_path), workers=0)
        monkeypatch.setattr(pretrain_tiles, "read_tiles", None)  # not to be called again
        again = dense_tiles(slide, ENCODER, GRID, ArrayCache(tmp_path), workers=0)
        np.testing.assert_array_equal(first, again)
        with pytest.raises(TypeError):
            dense_tiles(slide, ENCODER, DenseGrid(pitch_um=90), ArrayCache(tmp_path), workers=0)
