"""How much fine structure a slide's tissue shows: blur and a wrong resolution change that."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.slide import Slide
from hypergene.slide.tissue import TissueMask

WIDTH_UM, WIDTH_PX = 112.0, 112
"""Of a tile: 1 µm/px."""
PERIODS_UM: Final = (56.0, 28.0, 14.0, 7.0, 4.6, 3.5, 2.8, 2.0)
"""Edges of the bands, coarse to fine; the first two bands are what the others are compared with."""
BANDS = len(PERIODS_UM) - 3
_TILES, _LEAST_TILES = 96, 8
_ROUNDING = 1e-9


def tissue_spectrum(slide: Slide, mask: TissueMask) -> NDArray[np.float64] | None:
    """Measure the power of fine structure of a slide's tissue, relative to that of coarse.

    Parameters
    ----------
    slide
        The slide; its resolution decides what is fine.
    mask
        Its tissue; 96 places of it are looked at, the same in every call.

    Returns
    -------
    ndarray or None
        (BANDS,) float64, natural logarithm of the spectral power of optical density at periods of
        14 to 2 µm, less the mean of that at 56 to 14 µm: medians over tiles of 112 µm. None where
        fewer than 8 of the tiles hold anything, or can be read.
    """
    rows, columns = np.nonzero(mask.mask)
    if not len(rows):
        return None
    chosen = np.random.default_rng(0).choice(len(rows), min(_TILES, len(rows)), replace=False)
    tiles = []
    for at in np.sort(chosen):
        x, y = (np.array([columns[at], rows[at]]) + 0.5) * mask.scale
        try:
            tiles.append(slide.read_um(float(x), float(y), WIDTH_UM, WIDTH_PX))
        except SlideError:
            continue  # the spots' own tiles say what cannot be read
    return spectrum_of(np.stack(tiles)) if tiles else None


def spectrum_of(tiles: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Measure tiles (n, px, px, 3), RGB at 1 µm/px; as :func:`tissue_spectrum`."""
    density = -np.log((tiles.astype(np.float64) + 1) / 256).mean(axis=-1)
    density -= density.mean(axis=(1, 2), keepdims=True)
    size = density.shape[1]
    window = np.hanning(size)
    power = np.abs(np.fft.fft2(density * window[:, None] * window)) ** 2
    along = np.fft.fftfreq(size)
    frequency = np.hypot(along[:, None], along)
    bands = np.stack(
        [
            power[:, (frequency >= 1 / longest) & (frequency < 1 / shortest)].mean(axis=1)
            for longest, shortest in pairwise(PERIODS_UM)
        ],
        axis=1,
    )
    bands = bands[(bands > _ROUNDING).all(axis=1)]  # a blank tile has no structure
    if len(bands) < _LEAST_TILES:
        return None
    log = np.log(bands)
    found: NDArray[np.float64] = np.median(log[:, 2:] - log[:, :2].mean(axis=1)[:, None], axis=0)
    return found
