"""Spots of a slide to feature vectors: each spot is read and encoded once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.errors import HypergeneError, UsageError
from hypergene.features.device import encoder_precision
from hypergene.model.encoder import TileEncoder
from hypergene.slide import Slide, read_tiles

Progress = Callable[[int], None]
"""Called with the number of tiles done since the last call."""


@dataclass
class Encoding:
    """Features of spots, and what it took.

    Attributes
    ----------
    features
        float32 (n, features), rows as the spots were given.
    unreadable
        Rows of spots whose tile could not be read (encoded as white).
    reading_s, encoding_s
        Wall time waiting for tiles and encoding them, seconds.
    """

    features: NDArray[np.float32]
    unreadable: NDArray[np.int64]
    reading_s: float = 0.0
    encoding_s: float = 0.0


def encode_spots(
    slide: Slide,
    xy_px: NDArray[np.float64],
    encoder: TileEncoder,
    *,
    tile_um: tuple[float, ...],
    tile_px: int,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 2,
    progress: Progress | None = None,
) -> Encoding:
    """Read and encode the crops around spots.

    Parameters
    ----------
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
    device, batch_size, workers
        Where, how many tiles at once, how many reading threads.
    progress
        Called with the number of tiles of each batch when it is done.

    Returns
    -------
    Encoding
        It does not depend on `workers`, nor, but for rounding, on `batch_size`.

    Raises
    ------
    SlideError
        More than 5 % of the tiles cannot be read.
    UsageError
        `batch_size` is below 1.
    HypergeneError
        The device is out of memory.
    """
    if batch_size < 1:
        raise UsageError(f"A batch of {batch_size} tiles cannot be.", hint="Give at least 1.")
    n, width = len(xy_px), encoder.features // encoder.crops
    encoding = Encoding(np.zeros((n, encoder.features), np.float32), np.zeros(0, np.int64))
    unreadable: list[int] = []
    for crop, um in zip(range(encoder.crops), tile_um, strict=True):
        columns = slice(crop * width, (crop + 1) * width)
        batches = read_tiles(
            slide,
            xy_px,
            width_um=um,
            size_px=tile_px,
            batch_size=batch_size,
            workers=workers,
            unreadable=unreadable,
        )
        start = time.perf_counter()
        for rows, tiles in batches:
            arrived = time.perf_counter()
            encoding.features[rows, columns] = encode_tiles(encoder, tiles[:, None], device)
            done = time.perf_counter()
            encoding.reading_s += arrived - start
            encoding.encoding_s += done - arrived
            if progress is not None:
                progress(len(rows))
            start = time.perf_counter()
    encoding.unreadable = np.unique(np.asarray(unreadable, np.int64))
    return encoding


@torch.inference_mode()
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
    try:
        pixels = torch.from_numpy(tiles).to(device).permute(0, 1, 4, 2, 3)
        with encoder_precision(device, training=False):
            features: torch.Tensor = encoder(pixels)
    except torch.cuda.OutOfMemoryError as error:
        raise HypergeneError(
            f"The device {device} is out of memory with {len(tiles)} tiles at once.",
            hint="Give a smaller --batch-size.",
        ) from error
    array: NDArray[np.float32] = features.cpu().numpy()
    return array
