"""Tiles for self-supervision: a dense lattice over the tissue, far denser than any spots."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import TissueError
from hypergene.features.cache import ArrayCache, array_fingerprint, file_fingerprint
from hypergene.model.config import EncoderConfig
from hypergene.slide import Slide, find_tissue, read_tiles
from hypergene.spots import Layout, lay_spots
from hypergene.training.augment import MARGIN

Tiles = NDArray[np.uint8]

_VERSION = 1
_SEED = 51071


@dataclass(frozen=True)
class DenseGrid:
    """Which places of a slide are learnt from.

    Attributes
    ----------
    pitch_um
        Centre to centre of a square lattice, µm.
    most
        Places a slide at most, drawn at random, so that a large slide does not drown the others.
    min_tissue
        Least share of a place's smallest crop that is tissue, 0..1.
    """

    pitch_um: float = 50.0
    most: int = 4000
    min_tissue: float = 0.5


def dense_places(slide: Slide, width_um: float, grid: DenseGrid) -> NDArray[np.float64]:
    """Lay a dense lattice over the tissue of a slide.

    Parameters
    ----------
    slide
        An open slide.
    width_um
        Side of the square that has to lie on tissue, µm.
    grid
        How dense, and how many.

    Returns
    -------
    ndarray
        (n, 2) float64 centres in level-0 px, n from 2 to ``grid.most``, in the lattice's order.

    Raises
    ------
    SpotsError
        The slide is smaller than one square, or the lattice would have millions of places.
    TissueError
        Fewer than two places hold enough tissue.
    """
    # Squares that overlap are a sliding window, which is what dense tiles are.
    layout = Layout("dense", "square", width_um, grid.pitch_um, "square")
    spots = lay_spots(layout, slide.dimensions, (slide.mpp.x, slide.mpp.y))
    fraction = find_tissue(slide).fraction(spots.xy_px, width_um, slide.mpp, "square")
    kept = np.flatnonzero(fraction >= grid.min_tissue)
    if len(kept) < 2:
        raise TissueError(
            f"{slide.path} has no tissue to learn from: {len(kept)} of {len(spots):,} squares of "
            f"{width_um:g} µm are {grid.min_tissue:.0%} tissue.",
            hint="Leave it out, or check its resolution (--mpp).",
        )
    if len(kept) > grid.most:
        rng = np.random.default_rng(_SEED)
        kept = np.sort(rng.choice(kept, grid.most, replace=False))
    return spots.xy_px[kept]


def dense_tiles(
    slide: Slide,
    encoder: EncoderConfig,
    grid: DenseGrid,
    cache: ArrayCache,
    *,
    workers: int = 2,
) -> Tiles:
    """Read the crops of all places of a slide, or take them from the cache.

    Parameters
    ----------
    slide
        An open slide.
    encoder
        Crop widths (µm) and their size (px).
    grid
        Which places.
    cache
        Where tiles are kept between runs.
    workers
        Reading threads.

    Returns
    -------
    ndarray
        (n, crops, wide, wide, 3) uint8, mapped from the disk, `MARGIN` times wider than the
        crops, so that views can be cut at any angle.

    Raises
    ------
    HypergeneError
        What is wrong with slide, tissue or cache.
    """
    xy_px = dense_places(slide, min(encoder.tile_um), grid)
    wide_px = math.ceil(encoder.tile_px * MARGIN)
    key = {
        "what": "dense tiles",
        "version": _VERSION,
        "slide": file_fingerprint(slide.path),
        "mpp": [slide.mpp.x, slide.mpp.y],
        "grid": asdict(grid),
        "places": array_fingerprint(xy_px),
        "tile_um": encoder.tile_um,
        "tile_px": encoder.tile_px,
        "wide_px": wide_px,
    }

    def read() -> dict[str, Tiles]:
        tiles = np.empty((len(xy_px), len(encoder.tile_um), wide_px, wide_px, 3), np.uint8)
        for crop, um in enumerate(encoder.tile_um):
            width_um = um * wide_px / encoder.tile_px
            for rows, batch in read_tiles(
                slide, xy_px, width_um=width_um, size_px=wide_px, workers=workers
            ):
                tiles[rows, crop] = batch
        return {"tiles": tiles}

    return cache.get(key, read).mapped("tiles")
