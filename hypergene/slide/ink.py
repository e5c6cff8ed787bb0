"""Ink and black on a stained slide, by its colour: what no H&E tissue looks like."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hypergene.slide.pieces import pieces_holding

#: Share of px that glass is brighter than: bare glass is the brightest thing on a slide.
_GLASS_PERCENTILE = 90
#: Darker than this in all channels is a black frame, which says nothing of the glass (grey level).
_FRAME = 8
_ROWS = 512
_PIECE = 2**20

# Borders in van der Laak's plane, where H&E lies within cx -0.65..0.35 and cy 0.05..0.6 at 8 µm/px
# on all six slides measured (docs/tissue.md), and densities (natural logarithm, mean of channels).
_FAINT = 0.25
_BLUE_CX = 0.5
_GREEN_CX, _GREEN_CY = 0.1, 0.05
_RED_CX, _RED_DENSITY = -0.75, 0.8
_NEUTRAL_CX, _NEUTRAL_CY, _BLACK_DENSITY = 0.3, 0.12, 1.2
_NOTHING_SO_DARK = 2.6


def glass_colour(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Find the colour of bare glass: the 90th percentile of each channel, black frames left out.

    Parameters
    ----------
    rgb
        uint8 (height, width, 3), the whole slide at any scale.

    Returns
    -------
    numpy.ndarray
        float32 (3,), grey levels 0..255; white if all is black.
    """
    counts = np.stack([grey_counts(rgb[..., c]) for c in range(3)])
    counts[:, :_FRAME] = 0
    reached = np.cumsum(counts, axis=1)
    if not reached[:, -1].all():
        return np.full(3, 255, np.float32)
    wanted = reached[:, -1:] * _GLASS_PERCENTILE / 100
    return (reached >= wanted).argmax(axis=1).astype(np.float32)


def grey_counts(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count how often each of the 256 grey levels occurs.

    In pieces, as bincount makes int64 of all it is given.
    """
    counts = np.zeros(256, np.int64)
    flat = values.ravel()
    for start in range(0, flat.size, _PIECE):
        counts += np.bincount(flat[start : start + _PIECE], minlength=256)
    return counts


def find_ink(rgb: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find pen ink (black, blue, green, red) and black patches.

    What :func:`ink_grades` grades 2, and what it grades 1 where that touches it.

    Parameters
    ----------
    rgb
        uint8 (height, width, 3).
    glass
        float32 (3,), from :func:`glass_colour`.

    Returns
    -------
    numpy.ndarray
        bool (height, width).
    """
    grades = ink_grades(rgb, glass)
    certain = grades == 2
    return pieces_holding(grades > 0, certain) if certain.any() else certain


def ink_grades(rgb: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grade each px: 2 = ink or black by its colour, 1 = as neutral as the rim of black ink, 0.

    Haematoxylin and eosin both absorb green most, so whatever they mix to lies in a corner of the
    plane of chromaticities cx = OD_R / OD - 1, cy = (OD_G - OD_B) / (√3 OD), which does not depend
    on how thick the stain is; OD is the mean optical density over the three channels, here against
    the slide's own glass. Green ink has a negative cy, blue ink a large cx, red ink a small one,
    and black is neutral and dark.

    Parameters
    ----------
    rgb
        uint8 (height, width, 3), H&E. At other stains the borders are wrong: DAB is as dark and
        neutral as a black pen.
    glass
        float32 (3,), from :func:`glass_colour`.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width).

    References
    ----------
    J. van der Laak et al., "Hue-saturation-density (HSD) model for stain recognition in digital
    images from transmitted light microscopy", Cytometry 39(4), 275-284, 2000, eq. 3-5.
    """
    grades = np.empty(rgb.shape[:2], np.uint8)
    grey_levels = np.arange(256, dtype=np.float32)
    density = np.log((glass[:, None] + 1) / (grey_levels + 1)).clip(0).astype(np.float32)
    for top in range(0, len(rgb), _ROWS):
        rows = slice(top, top + _ROWS)
        red, green, blue = (density[c][rgb[rows, :, c]] for c in range(3))
        grades[rows] = _graded(red, green, blue)
    return grades


def _graded(
    red: NDArray[np.float32], green: NDArray[np.float32], blue: NDArray[np.float32]
) -> NDArray[np.uint8]:
    # cx > a is 3 red > (1 + a) total, cy > b is √3 (green - blue) > b total: no division by zero.
    total = red + green + blue
    across, up = 3 * red - total, math.sqrt(3) * (green - blue)
    seen = total > 3 * _FAINT
    coloured = across > _BLUE_CX * total
    coloured |= (across > _GREEN_CX * total) & (up < _GREEN_CY * total)
    coloured |= (across < _RED_CX * total) & (total > 3 * _RED_DENSITY)
    neutral = (abs(across) < _NEUTRAL_CX * total) & (up < _NEUTRAL_CY * total)
    certain = seen & coloured
    certain |= neutral & (total > 3 * _BLACK_DENSITY)
    certain |= total > 3 * _NOTHING_SO_DARK
    return np.where(certain, 2, seen & neutral).astype(np.uint8)
