"""Synthetic slide effects: an offset of every gene and a shift of the stains, by a dose.

One unit of dose is one standard deviation between the spots of a slide: of each gene for the
offset, of the stains' mean optical density for the shift. The direction is drawn once for every
slide, training and test alike, and only its length follows the dose.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypergene.training.augment import _STAINS

DOSES = (0.0, 0.5, 1.0, 2.0)

Floats = NDArray[np.float32]


def direction(slide: str, length: int) -> Floats:
    """Draw a direction of a slide's effect, (length,) standard normal."""
    rng = np.random.default_rng(zlib.crc32(slide.encode()))
    return rng.standard_normal(length).astype(np.float32)


def stain_shift(slide: str, dose: float, deviation: Floats) -> Floats:
    """Shift of haematoxylin, eosin and DAB (3,), optical density; no DAB is added."""
    shift = dose * deviation * direction(f"stain of {slide}", 3)
    shift[2] = 0.0
    return shift.astype(np.float32)


def gene_offset(slide: str, dose: float, genes: int) -> Floats:
    """Offset of every gene (genes,), in standard deviations of that gene."""
    return dose * direction(f"genes of {slide}", genes)


def stain_deviation(tiles: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return by how much the spots of a slide differ in stain, (3,) optical density.

    Parameters
    ----------
    tiles
        One (n, crops, px, px, 3) a slide; the first crop is looked at.
    """
    unmix = np.linalg.inv(np.array(_STAINS))
    spread = []
    for slide in tiles:
        seen = np.stack([-np.log((np.asarray(tile[0], np.float32) + 1) / 256) for tile in slide])
        spread.append((seen.mean(axis=(1, 2)) @ unmix).std(axis=0))
    return np.mean(spread, axis=0).astype(np.float32)
