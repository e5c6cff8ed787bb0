"""Kept views of a frozen encoder: what they are, and that training draws them and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypergene.errors import UsageError
from hypergene.features.encode import encode_spots
from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.slide import open_slide
from hypergene.training.recipe import load_recipe
from hypergene.training.section import SectionFeatures
from hypergene.training.views import Views, encode_views

CPU = torch.device("cpu")
ROWS = np.arange(64)


def tiles(n: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (n, 8, 8, 3), dtype=np.uint8)


def test_views_without_stain_are_the_eight_ways_to_lay_a_tile():
    (view,) = Views(2, turn=True, stain=0.0).draw(64)
    seen, before = view.of(tiles(), ROWS), tiles()
    ways = [
        lambda t, k=k, m=m: np.fliplr(np.rot90(t, k)) if m else np.rot90(t, k)
        for k in range(4)
        for m in (False, True)
    ]
    used = set()
    for tile, original in zip(seen, before, strict=True):
        fits = [
            n for n, way in enumerate(ways) if np.abs(way(original).astype(int) - tile).max() <= 1
        ]
        assert len(fits) == 1
        used |= set(fits)
    assert used == set(range(8))


def test_stain_changes_colours_and_nothing_moves_without_turns():
    (view,) = Views(2, turn=False, stain=0.2).draw(64)
    seen, before = view.of(tiles(), ROWS).astype(float), tiles().astype(float)
    assert np.abs(seen - before).mean() > 5
    correlation = np.corrcoef(seen[..., 1].ravel(), before[..., 1].ravel())[0, 1]
    assert correlation > 0.7
    (still,) = Views(2, turn=False, stain=0.0).draw(64)
    assert np.abs(still.of(tiles(), ROWS).astype(int) - tiles()).max() <= 1


def test_a_view_belongs_to_its_spot_whatever_the_batch_and_the_number_of_views():
    few, many = Views(2, True, 0.2).draw(64), Views(5, True, 0.2).draw(64)
    assert (len(few), len(many)) == (1, 4)
    some = np.array([40, 3])
    assert np.array_equal(many[0].of(tiles()[some], some), few[0].of(tiles(), ROWS)[some])
    assert not np.array_equal(many[0].of(tiles(), ROWS), many[1].of(tiles(), ROWS))


def test_all_crops_of_a_spot_are_seen_alike(painted_slide: Path):
    config = EncoderConfig(
        arguments={"channels": [8, 8, 16, 16], "stem_width": 8}, tile_um=(60.0, 60.0), tile_px=32
    )
    torch.manual_seed(0)
    encoder = TileEncoder(config).eval()
    xy_px = np.array([[300.0, 320.0], [600.0, 500.0], [700.0, 640.0]])
    with open_slide(painted_slide) as slide:
        views = encode_views(
            slide, xy_px, encoder, config, Views(4, True, 0.2), device=CPU, workers=0
        )
        plain = encode_spots(
            slide, xy_px, encoder, tile_um=config.tile_um, tile_px=32, device=CPU, workers=0
        ).features
    assert views.shape == (3, 3, encoder.features)
    first, second = np.split(views, 2, axis=2)
    assert np.array_equal(first, second)
    assert all(np.abs(view - plain).max() > 1e-3 for view in views)


def test_training_draws_every_view_and_the_untouched_one():
    spots = np.arange(40, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    views = np.stack([spots + 100, spots + 200])
    images = SectionFeatures(spots, spots[:2], views)
    rows = np.tile(np.array([5, 7, 11]), 100)
    drawn = images.drawn(rows, torch.Generator().manual_seed(0))
    assert np.array_equal(drawn[:, 0] % 100, rows) and (drawn == drawn[:, :1]).all()
    share = np.bincount((drawn[:, 0] // 100).astype(int)) / len(rows)
    assert len(share) == 3 and share.min() > 0.25
    assert images.spots[5, 0] == 5  # what is kept is not written over


def test_without_views_nothing_is_drawn():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    spots = np.ones((4, 2), np.float32)
    assert np.array_equal(
        SectionFeatures(spots, spots).drawn(np.array([1, 1]), generator), spots[:2]
    )
    assert torch.equal(before, generator.get_state())


@pytest.mark.parametrize("encoder", ["train", "lora"])
def test_views_of_an_encoder_in_training_are_refused(encoder: str):
    with pytest.raises(UsageError, match="views are kept of a frozen encoder only"):
        load_recipe(None, [f"train.encoder={encoder}", "train.views=4"])
    assert load_recipe(None, ["train.encoder=frozen", "train.views=4"]).train.views == 4
