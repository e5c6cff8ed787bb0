"""The eight ways in which a square can lie on itself: how spots can lie wrongly on an image.

A symmetry is named after what is wrong with the positions, and does what puts them right. All of
them swap x and y or not, and then mirror x, y, both or none; turning by a quarter is a swap and one
mirror. Seen on the screen, where y runs down, ``rotated_90`` are positions turned clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Symmetry:
    """One of the eight.

    Attributes
    ----------
    name
        What is wrong with the positions: ``"identity"`` (nothing), ``"swapped_axes"`` ...
    swaps
        Whether x and y change places, which comes first.
    mirrors_x, mirrors_y
        Whether left and right, top and bottom change places afterwards.
    wrong
        The same in words, to follow "the spots are".
    """

    name: str
    swaps: bool
    mirrors_x: bool
    mirrors_y: bool
    wrong: str

    def right(
        self, xy_px: npt.NDArray[np.float64], low: npt.ArrayLike, high: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """Put wrong positions right within a frame.

        Parameters
        ----------
        xy_px
            Wrong positions (x, y), float (n, 2), px.
        low, high
            Left and top, right and bottom of the frame *after* the correction: (0, 0) and (width,
            height) of the image that the positions should lie on.

        Returns
        -------
        numpy.ndarray
            float (n, 2).
        """
        turned = xy_px[:, ::-1] if self.swaps else xy_px
        mirrored = np.asarray(low, np.float64) + np.asarray(high, np.float64) - turned
        return np.where([self.mirrors_x, self.mirrors_y], mirrored, turned)

    def fix(self, width_px: int, height_px: int) -> str:
        """Say how to put positions right on an image, as two assignments."""
        x, y = ("pixel_y", "pixel_x") if self.swaps else ("pixel_x", "pixel_y")
        x = f"{width_px} - {x}" if self.mirrors_x else x
        y = f"{height_px} - {y}" if self.mirrors_y else y
        return f"x = {x}, y = {y}"


IDENTITY = Symmetry("identity", False, False, False, "as they should be")
SYMMETRIES = (
    IDENTITY,
    Symmetry("swapped_axes", True, False, False, "swapped in x and y"),
    Symmetry("flipped_x", False, True, False, "mirrored left to right"),
    Symmetry("flipped_y", False, False, True, "mirrored top to bottom"),
    Symmetry("rotated_90", True, False, True, "turned by 90° clockwise"),
    Symmetry("rotated_180", False, True, True, "turned by 180°"),
    Symmetry("rotated_270", True, True, False, "turned by 90° counter-clockwise"),
    Symmetry("anti_transposed", True, True, True, "mirrored in the other diagonal"),
)


def about_centre(symmetry: Symmetry, xy_px: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Put wrong positions right about the middle of their own bounding box.

    Parameters
    ----------
    symmetry
        What is wrong.
    xy_px
        float (n, 2), px.
    """
    middle = (xy_px.min(axis=0) + xy_px.max(axis=0)) / 2
    return middle + symmetry.right(xy_px - middle, (0, 0), (0, 0))
