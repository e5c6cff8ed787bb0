"""The eight ways in which a square can lie on itself: how spots can lie wrongly on an image.

A symmetry is named after what is wrong with the positions, and does what puts them right. All of
them swap x and y or not, then mirror x, y, both or none, then shift; turning by a quarter is a swap
and one mirror. Seen on the screen, where y runs down, ``rotated_90`` are positions turned
clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


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

    def right(self, xy_px: Points, shift_px: npt.ArrayLike) -> Points:
        """Put wrong positions right.

        Parameters
        ----------
        xy_px
            Wrong positions (x, y), float (n, 2), px.
        shift_px
            Added at the end, (x, y), px: from :meth:`within` or :meth:`about`.

        Returns
        -------
        numpy.ndarray
            float (n, 2).
        """
        turned = xy_px[:, ::-1] if self.swaps else xy_px
        return turned * [1 - 2 * self.mirrors_x, 1 - 2 * self.mirrors_y] + np.asarray(shift_px)

    def within(self, size_px: tuple[float, float]) -> Points:
        """Return the shift that keeps positions within an image of this width and height, px."""
        return np.array(size_px, np.float64) * [self.mirrors_x, self.mirrors_y]

    def about(self, middle_px: Points) -> Points:
        """Return the shift that leaves a point (x, y) where it is, px."""
        return middle_px - self.right(middle_px[None], (0, 0))[0]

    def fix(self, shift_px: Points) -> str:
        """Say how to put positions right, as two assignments."""
        names = ("pixel_y", "pixel_x") if self.swaps else ("pixel_x", "pixel_y")
        mirrors = (self.mirrors_x, self.mirrors_y)
        terms = []
        for name, mirrored, shift in zip(names, mirrors, shift_px, strict=True):
            moved = f"{name} {shift:+.0f}".replace("+", "+ ").replace("-", "- ")
            terms.append(f"{shift:.0f} - {name}" if mirrored else moved if round(shift) else name)
        return f"x = {terms[0]}, y = {terms[1]}"


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
