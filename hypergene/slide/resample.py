"""From the pixels of a level to pixels of any size, at sub-pixel positions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: A rectangle (left, top, right, bottom) in continuous px: pixel i spans [i, i + 1).
Box = tuple[float, float, float, float]

#: So little beside the px of the level, in px, a px of the result is that px: what the filter
#: would mix in, at most an eighth of a grey level of a neighbour, is lost in rounding.
_BESIDE_PX = 1 / 2048


def needed(
    box: Box, size: tuple[int, int], level_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Find which whole px of a level :func:`resample` needs to fill `size` from `box`.

    The box and, inside the level, the margin that the filter reaches into, so that the same box
    gives the same picture whether it is cut from a strip or from the whole level.

    Parameters
    ----------
    box
        The wanted rectangle in px of the level; it may reach outside the level.
    size
        Size (width, height) in px it will be resampled to.
    level_size
        Size (width, height) of the level in px.

    Returns
    -------
    tuple of int
        Left, top, right, bottom in px of the level.
    """
    if _coincides(box, size):
        left, top = round(box[0]), round(box[1])
        return left, top, left + size[0], top + size[1]
    sides: list[int] = []
    for axis in range(2):
        low, high = box[axis], box[axis + 2]
        reach = max(1.0, (high - low) / size[axis]) + 1
        first = min(math.floor(low), max(0, math.floor(low - reach)))
        last = max(math.ceil(high), min(level_size[axis], math.ceil(high + reach)))
        sides += first, max(last, first + 1)
    return sides[0], sides[2], sides[1], sides[3]


def resample(pixels: NDArray[np.uint8], box: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample a box of `pixels` to `size`.

    Every px of the result is the mean of the area around it, weighted by a triangle twice as wide
    as the px. Of the averaging filters this one agrees best between a slide and its own pyramid:
    plain box averaging jumps between neighbouring px when the factor is not a whole number. Where
    the result is finer than the pixels, the same triangle is bilinear interpolation.

    Parameters
    ----------
    pixels
        uint8 (height, width, 3).
    box
        Rectangle within `pixels`, in continuous px.
    size
        Wanted size (width, height) in px.

    Returns
    -------
    numpy.ndarray
        uint8 (size[1], size[0], 3).
    """
    if _coincides(box, size):
        left, top = round(box[0]), round(box[1])
        return pixels[top : top + size[1], left : left + size[0]]
    triangle = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, triangle, box=box))


def _coincides(box: Box, size: tuple[int, int]) -> bool:
    """Whether every px of the result is one px of the level."""
    sides = box[0], box[1], box[2] - size[0], box[3] - size[1]
    return all(abs(side - round(side)) < _BESIDE_PX for side in sides) and (
        round(sides[0]) == round(sides[2]) and round(sides[1]) == round(sides[3])
    )
