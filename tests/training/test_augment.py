from __future__ import annotations

import math

import pytest
import torch

from hypergene.training.augment import MARGIN, jitter_stain, random_views
from hypergene.training.recipe import Augmentation

STILL = Augmentation(rotate=False, scale=0.0, shift=0.0, stain=0.0)
PX = 32
WIDE = math.ceil(PX * MARGIN)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradient_tiles(n: int = 2, crops: int = 2) -> torch.Tensor:
    ramp = torch.linspace(0, 255, WIDE)
    tile = torch.stack(
        [ramp.expand(WIDE, WIDE), ramp[:, None].expand(WIDE, WIDE), ramp.flip(0).expand(WIDE, WIDE)]
    )
    return tile.to(torch.uint8).expand(n, crops, 3, WIDE, WIDE).contiguous()


def test_a_view_without_changes_is_the_middle_of_the_tile() -> None:
    tiles = gradient_tiles()
    views = random_views(tiles, PX, STILL, generator())
    assert views.shape == (2, 2, 3, PX, PX)
    edge = (WIDE - PX) // 2
    middle = tiles[:, :, :, edge : edge + PX, edge : edge + PX].float()
    assert (views - middle).abs().max() < 6  # half a pixel of a steep ramp


def test_all_crops_of_a_spot_are_turned_alike_and_spots_apart() -> None:
    views = random_views(gradient_tiles(3), PX, Augmentation(stain=0.1), generator())
    torch.testing.assert_close(views[:, 0], views[:, 1])
    assert (views[0] - views[1]).abs().mean() > 1


def test_a_turned_view_has_no_empty_corner() -> None:
    white = torch.full((8, 1, 3, WIDE, WIDE), 255, dtype=torch.uint8)
    settings = Augmentation(rotate=True, scale=0.0, shift=0.0, stain=0.0)
    assert random_views(white, PX, settings, generator()).min() > 254.9


def test_the_same_seed_gives_the_same_views() -> None:
    tiles = gradient_tiles()
    first = random_views(tiles, PX, Augmentation(), generator(5))
    torch.testing.assert_close(first, random_views(tiles, PX, Augmentation(), generator(5)))


@pytest.mark.parametrize("strength", [0.02, 0.1])
def test_stain_jitter_changes_colour_within_range_and_keeps_white_light(strength: float) -> None:
    images = torch.rand(4, 1, 3, 8, 8, generator=generator()) * 255
    changed = jitter_stain(images, strength, generator(1))
    assert changed.shape == images.shape
    assert changed.min() >= 0 and changed.max() <= 255
    assert (changed - images).abs().mean() > 0.1
    white = torch.full((4, 1, 3, 8, 8), 255.0)
    assert jitter_stain(white, strength, generator(1)).min() > 255 * math.exp(-1.5 * strength) - 2


def test_no_jitter_is_the_identity() -> None:
    images = torch.rand(2, 1, 3, 8, 8, generator=generator()) * 250
    torch.testing.assert_close(jitter_stain(images, 0.0, generator()), images, atol=1e-2, rtol=1e-4)
