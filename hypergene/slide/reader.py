"""What every file format has to offer, so that a slide need not know which one it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hypergene.slide.resolution import Mpp

#: The most that is decoded in one piece, in bytes of pixels: a plain image, or one strip or tile.
MAX_PIECE_BYTES = 2**31


@dataclass(frozen=True)
class Level:
    """One resolution of the pyramid.

    Attributes
    ----------
    width, height
        Size in px of this level.
    downsample
        Level-0 px per px of this level, along x and along y.
    """

    width: int
    height: int
    downsample: tuple[float, float]


class Reader(Protocol):
    """One open file: its pyramid, what it says of its resolution, and its pixels.

    Attributes
    ----------
    vendor
        Who wrote the file, or its format: ``"aperio"``, ``"ome-tiff"``, ``"jpeg"``, ...
    levels
        The pyramid, level 0 first, each level smaller than the one before.
    resolutions
        Microns per pixel the file states, the most trusted statement first.
    warnings
        What a user should know about how the file is read.
    """

    vendor: str
    levels: tuple[Level, ...]
    resolutions: tuple[Mpp, ...]
    warnings: tuple[str, ...]

    def shrinks(self, level: int) -> tuple[int, ...]:
        """How many times smaller on each side a level can be read at less cost; first 1."""
        ...

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle that lies inside the level.

        All lengths are in px of that level made `shrink` times smaller on each side, of which
        there are ``width // shrink`` by ``height // shrink``; `shrink` is one of :meth:`shrinks`.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB.

        Raises
        ------
        hypergene.errors.SlideError
            If the pixels cannot be decoded. The reader stays usable.
        """
        ...

    def reopen(self) -> Reader:
        """Open the same file once more, for another thread."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def pyramid(sizes: list[tuple[int, int]]) -> tuple[Level, ...]:
    """Levels from their sizes in px (width, height), level 0 first.

    Writers cut or round up what is left when a side is not a multiple of the downsample, so the
    quotient of two sides is a little off (2,967 / 741 is 4.004). Where a whole number explains
    both sides to within one px, that number is the downsample.
    """
    full_width, full_height = sizes[0]
    levels = []
    for width, height in sizes:
        downsample = full_width / width, full_height / height
        whole = round(sum(downsample) / 2)
        if abs(full_width / whole - width) < 1 and abs(full_height / whole - height) < 1:
            downsample = float(whole), float(whole)
        levels.append(Level(width, height, downsample))
    return tuple(levels)
