"""Several views of every spot for an encoder that is not trained: turned, mirrored and restained.

An encoder in training sees a new view of a spot at every step. A frozen one encodes each spot only
once, and its features are kept; so a few views are encoded at that time, and training draws one of
them per spot and step. View 0 is the tile as it is, which alone is what prediction sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene.features.encode import encode_tiles
from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide, read_tiles
from hypergene.training.augment import draw_stain, restain

_SEED = 40317


@dataclass(frozen=True)
class Views:
    """How many views of a spot there are, and how they differ from the tile as it is.

    Attributes
    ----------
    count
        Views, the untouched one among them.
    turn
        Whether the others are turned by quarters and mirrored.
    stain
        Strength of their stain jitter, see :func:`hypergene.training.augment.draw_stain`.
    """

    count: int
    turn: bool
    stain: float

    def draw(self, n: int) -> list[View]:
        """Draw views 1, 2, ... of n spots; view k is the same whatever `count` is."""
        views = []
        for number in range(1, self.count):
            generator = torch.Generator().manual_seed(_SEED + number)
            turns = torch.randint(8, (n,), generator=generator) * self.turn
            views.append(View(turns.numpy(), *draw_stain(n, self.stain, generator)))
        return views


@dataclass(frozen=True, eq=False)
class View:
    """One view of n spots, alike for all crops of a spot.

    Attributes
    ----------
    turns
        (n,) int64 in 0..7: quarter turns, and 4 more for mirrored.
    stain_factor, stain_shift
        (n, 3) float32 each, change of each stain's optical density.
    """

    turns: NDArray[np.int64]
    stain_factor: Tensor
    stain_shift: Tensor

    def of(self, tiles: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Show tiles (b, px, px, 3) uint8 of the spots `rows` (b,) as this view has them."""
        turned = np.empty_like(tiles)
        for turn in range(8):
            here = self.turns[rows] == turn
            some = np.rot90(tiles[here], turn % 4, axes=(1, 2))
            turned[here] = some[:, :, ::-1] if turn >= 4 else some
        pixels = torch.from_numpy(turned).permute(0, 3, 1, 2)[:, None].float()
        stained = restain(pixels, self.stain_factor[rows], self.stain_shift[rows])
        return stained[:, 0].permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def encode_views(
    slide: Slide,
    xy_px: NDArray[np.float64],
    encoder: TileEncoder,
    config: EncoderConfig,
    views: Views,
    *,
    device: torch.device,
    workers: int = 2,
) -> NDArray[np.float32]:
    """Read spots once and encode all their views but the untouched one.

    Parameters
    ----------
    slide
        An open slide.
    xy_px
        (n, 2) spot centres, level-0 px.
    encoder
        The image encoder, on `device`, in evaluation mode.
    config
        Its configuration.
    views
        How many, and how far they differ.
    device
        Where.
    workers
        Reading threads.

    Returns
    -------
    numpy.ndarray
        (views.count - 1, n, features) float32.

    Raises
    ------
    SlideError
        More than 5 % of the tiles cannot be read.
    HypergeneError
        The device is out of memory.
    """
    n, width = len(xy_px), encoder.features // encoder.crops
    drawn = views.draw(n)
    features = np.zeros((len(drawn), n, encoder.features), np.float32)
    for crop, um in enumerate(config.tile_um):
        columns = slice(crop * width, (crop + 1) * width)
        # Unreadable tiles were counted and reported when the untouched view was encoded.
        batches = read_tiles(
            slide, xy_px, width_um=um, size_px=config.tile_px, workers=workers, unreadable=[]
        )
        for rows, tiles in batches:
            for number, view in enumerate(drawn):
                seen = view.of(tiles, rows)[:, None]
                features[number, rows, columns] = encode_tiles(encoder, seen, device)
    return features
