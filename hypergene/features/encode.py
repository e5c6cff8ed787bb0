"""Spots of a slide to feature vectors: each spot is read and encoded once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.features.batches import CPU_TILES, BatchEncoder
from hypergene.features.table import FeatureTable
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide, read_tiles

Progress = Callable[[int], None]
"""Called with the number of tiles done since the last call."""

_READ_TILES = 64
"""Tiles that one reader reads at a time, at most: many readers share a large batch."""


@dataclass
class Effort:
    """What it took to encode spots, and where it failed.

    Attributes
    ----------
    unreadable
        Rows of spots whose tile could not be read (encoded as white).
    reading_s, encoding_s
        Wall time in seconds: the device waiting (for tiles, as a rule), and computing.
    batch_size
        Tiles encoded at once, at the end.
    """

    unreadable: NDArray[np.int64]
    reading_s: float
    encoding_s: float
    batch_size: int


@dataclass
class Encoding(Effort):
    """Features of spots in memory, and what it took.

    Attributes
    ----------
    features
        float32 (n, features), rows as the spots were given.
    """

    features: NDArray[np.float32]


def encode_spots(
    slide: Slide,
    xy_px: NDArray[np.float64],
    encoder: TileEncoder,
    *,
    tile_um: tuple[float, ...],
    tile_px: int,
    device: torch.device,
    batch_size: int = CPU_TILES,
    workers: int = 2,
    progress: Progress | None = None,
) -> Encoding:
    """Read and encode the crops around spots, into memory.

    Parameters and errors as of :func:`encode_into`.
    """
    features = np.zeros((len(xy_px), encoder.features), np.float32)
    effort = encode_into(
        features,
        slide,
        xy_px,
        encoder,
        tile_um=tile_um,
        tile_px=tile_px,
        device=device,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )
    return Encoding(**vars(effort), features=features)


def encode_into(
    table: FeatureTable,
    slide: Slide,
    xy_px: NDArray[np.float64],
    encoder: TileEncoder,
    *,
    tile_um: tuple[float, ...],
    tile_px: int,
    device: torch.device,
    batch_size: int = CPU_TILES,
    workers: int = 2,
    compile: bool = False,
    progress: Progress | None = None,
) -> Effort:
    """Read and encode the crops around spots.

    Parameters
    ----------
    table
        (n, features) float32, to be filled, rows as the spots are given. It does not depend on
        `workers`, nor, but for rounding, on `batch_size`.
    slide
        An open slide.
    xy_px
        (n, 2) spot centres, level-0 px.
    encoder
        The image encoder, on `device`, in evaluation mode.
    tile_um
        Crop widths in µm, in the encoder's order.
    tile_px
        Width the crops are resampled to, px.
    device, batch_size, workers, compile
        Where, how many tiles at once (fewer where memory is short), how many reading threads,
        whether with ``torch.compile``.
    progress
        Called with the number of tiles of each batch when it is done.

    Raises
    ------
    SlideError
        More than 5 % of the tiles cannot be read.
    UsageError
        `batch_size` is below 1.
    HypergeneError
        The device is out of memory, or the encoder cannot be compiled.
    """
    run = BatchEncoder(encoder, device, batch_size=batch_size, compile=compile)
    if device.type == "cuda" and len(xy_px):
        run.fit(tile_px)
    width = encoder.features // encoder.crops
    unreadable: list[int] = []
    start = time.perf_counter()
    for crop, um in zip(range(encoder.crops), tile_um, strict=True):
        columns = slice(crop * width, (crop + 1) * width)
        batches = read_tiles(
            slide,
            xy_px,
            width_um=um,
            size_px=tile_px,
            batch_size=_divisor(run.limit, _READ_TILES),
            workers=workers,
            unreadable=unreadable,
        )
        for rows, features in run.over((rows, tiles[:, None]) for rows, tiles in batches):
            table[rows, columns] = features
            if progress is not None:
                progress(len(rows))
    return Effort(
        unreadable=np.unique(np.asarray(unreadable, np.int64)),
        reading_s=max(0.0, time.perf_counter() - start - run.busy_s),
        encoding_s=run.busy_s,
        batch_size=run.limit,
    )


def encode_tiles(
    encoder: TileEncoder, tiles: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Encode tiles that are in memory.

    Parameters
    ----------
    encoder
        The image encoder, on `device`, in evaluation mode.
    tiles
        (n, crops, px, px, 3) uint8, RGB.
    device
        Where.

    Returns
    -------
    numpy.ndarray
        (n, features) float32.

    Raises
    ------
    HypergeneError
        The device is out of memory.
    """
    if not len(tiles):
        return np.zeros((0, encoder.features), np.float32)
    run = BatchEncoder(encoder, device, batch_size=len(tiles))
    parts = [features for _, features in run.over([(np.arange(len(tiles)), tiles)])]
    return np.concatenate(parts)


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)
