"""Pixels that another package holds: lazy arrays (channel, y, x), read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import SlideError, first_line
from hypergene.slide.file_tiles import TileCache
from hypergene.slide.reader import MAX_PIECE_BYTES, Level, pyramid
from hypergene.slide.resolution import Mpp
from hypergene.slide.rgb import as_rgb


class ArrayReader:
    """A :class:`~hypergene.slide.reader.Reader` over the levels of a picture in dask arrays.

    A block (chunk) of the array is computed when it is needed, by the thread that needs it, and
    kept for its neighbours as decoded tiles of a file are; the picture is never held whole, unless
    it is one block.

    Parameters
    ----------
    levels
        uint8 (3 | 4, height, width) each, RGB or RGBA, largest first.
    name
        Of the picture, for messages.
    resolutions
        What is known of its microns per pixel.

    Raises
    ------
    SlideError
        If an array is of another kind, empty, or has blocks too large to be read in one piece.
    """

    def __init__(
        self,
        levels: Sequence[Any],
        name: str,
        resolutions: tuple[Mpp, ...] = (),
        cache: TileCache | None = None,
    ) -> None:
        for level in levels:
            _refuse(level, name)
        self._arrays = tuple(levels)
        self._name = name
        self._cache = cache or TileCache()
        self._edges = [
            tuple(np.array([0, *accumulate(sides)]) for sides in level.chunks[1:])
            for level in levels
        ]
        self.vendor = "array"
        self.levels: tuple[Level, ...] = pyramid(
            [(int(level.shape[2]), int(level.shape[1])) for level in levels]
        )
        self.resolutions = resolutions
        self.warnings: tuple[str, ...] = ()

    def shrinks(self, level: int) -> tuple[int, ...]:
        """Offer each level as it is only."""
        return (1,)

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle inside a level (px) as uint8 (height, width, 3)."""
        tops, lefts = self._edges[level]
        result = np.empty((height, width, 3), np.uint8)
        for down in _touched(tops, row, row + height):
            for across in _touched(lefts, column, column + width):
                top, left = int(tops[down]), int(lefts[across])
                block = self._block(level, down, across)
                y0, y1 = max(row, top), min(row + height, top + block.shape[0])
                x0, x1 = max(column, left), min(column + width, left + block.shape[1])
                result[y0 - row : y1 - row, x0 - column : x1 - column] = block[
                    y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return result

    def reopen(self) -> ArrayReader:
        """Share the arrays and the blocks read last with another thread."""
        return ArrayReader(self._arrays, self._name, self.resolutions, self._cache)

    def close(self) -> None:
        """Let go of the blocks; the arrays belong to whoever made them."""
        self._cache = TileCache()

    def _block(self, level: int, down: int, across: int) -> NDArray[np.uint8]:
        return self._cache.get(
            (level, down, across, 1), lambda: self._computed(level, down, across)
        )

    def _computed(self, level: int, down: int, across: int) -> NDArray[np.uint8]:
        tops, lefts = self._edges[level]
        part = self._arrays[level][
            :, tops[down] : tops[down + 1], lefts[across] : lefts[across + 1]
        ]
        try:
            # In this thread: readers are threads already, and a pool in each would only queue up.
            pixels = np.asarray(part.compute(scheduler="synchronous"))
        except Exception as error:
            # Whatever graph stands behind the array may raise whatever it likes.
            factor = self.levels[level].downsample
            raise SlideError(
                f"{self._name} cannot be read at x {lefts[across] * factor[0]:.0f}, "
                f"y {tops[down] * factor[1]:.0f} px ({type(error).__name__}: {first_line(error)}).",
                hint="Is the store behind the picture whole, and still where it was?",
            ) from error
        return as_rgb(np.moveaxis(pixels, 0, 2))


def _touched(edges: NDArray[np.int64], start: int, stop: int) -> range:
    """Return the numbers of the blocks that overlap [start, stop)."""
    first = int(np.searchsorted(edges, start, side="right")) - 1
    return range(first, int(np.searchsorted(edges, stop, side="left")))


def _refuse(level: Any, name: str) -> None:
    shape = tuple(level.shape)
    if len(shape) != 3 or shape[0] not in (3, 4) or level.dtype != np.uint8 or 0 in shape:
        raise SlideError(
            f"{name} is no colour picture of 8 bits: it is {level.dtype} of shape {shape}.",
            hint="It must be uint8 with 3 channels (RGB) or 4 (RGBA), channels first (c, y, x).",
        )
    largest = max(level.chunks[1]) * max(level.chunks[2]) * shape[0]
    if largest > MAX_PIECE_BYTES:
        raise SlideError(
            f"{name} is stored in blocks of {largest / 2**30:.1f} GiB, too large to read one by "
            "one.",
            hint="Write it in smaller chunks, e.g. (3, 1024, 1024).",
        )
