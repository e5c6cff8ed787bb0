"""Reading around what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.rgb import WHITE

#: A slide of which a larger share cannot be decoded is damaged, not blemished.
MAX_UNREADABLE = 0.05

#: What cannot be decoded is given up in pieces this small, in px: a fraction of a file's tile...
_SMALLEST_PX = 64
#: ... but on a large level no smaller than this share of its side: each failure may cost one more
#: opening of the file, and a ruined one must be told within seconds.
_SMALLEST_SHARE = 1 / 200

#: Level, left, top, width and height in px of the level -> uint8 (height, width, 3).
ReadLevel = Callable[[int, int, int, int, int], NDArray[np.uint8]]


class Patient:
    """A :data:`ReadLevel` that quarters a rectangle until only the damage in it is lost.

    Parameters
    ----------
    read
        The reader that raises ``SlideError`` on damage.
    size
        Width and height of the level in px.
    path
        The slide, for the message.
    """

    def __init__(self, read: ReadLevel, size: tuple[int, int], path: Path) -> None:
        self._read = read
        self._path = path
        self._bearable_px = MAX_UNREADABLE * size[0] * size[1]
        self._smallest_px = max(_SMALLEST_PX, _SMALLEST_SHARE * max(size))
        self._lost_px = 0

    def __call__(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Read a rectangle; what cannot be decoded is white.

        Raises
        ------
        SlideError
            If more than 5 % of the level has been given up.
        """
        try:
            return self._read(level, left, top, width, height)
        except SlideError as error:
            result = np.full((height, width, 3), WHITE, np.uint8)
            if max(width, height) <= self._smallest_px:
                self._give_up(width * height, error)
                return result
        half_x, half_y = -(-width // 2), -(-height // 2)
        for y in range(0, height, half_y):
            for x in range(0, width, half_x):
                right, bottom = min(x + half_x, width), min(y + half_y, height)
                result[y:bottom, x:right] = self(level, left + x, top + y, right - x, bottom - y)
        return result

    def _give_up(self, px: int, error: SlideError) -> None:
        self._lost_px += px
        if self._lost_px > self._bearable_px:
            raise SlideError(
                f"{self._path} is damaged: more than {MAX_UNREADABLE:.0%} of it cannot be decoded.",
                hint="Copy or export the slide again.",
            ) from error
