"""The table of spots: where each one is, what it is called, how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError

if TYPE_CHECKING:
    from hypergene.spots.layout import Layout


@dataclass(frozen=True, eq=False)
class Spots:
    """Spots of one slide; arrays are converted to the types below and checked.

    Parameters
    ----------
    xy_px
        float64 (n, 2): centres as (x, y) = (pixel column, pixel row) of level 0.
    array_row, array_col
        int32 (n,): place on the platform's array.
    names
        str (n,), unique.
    layout
        Shape, size and spacing of the spots.
    mpp
        µm per level-0 px along x and y.

    Raises
    ------
    SpotsError
        If the arrays differ in length, a centre is not finite, a name occurs twice, or the
        resolution is not positive.
    """

    xy_px: npt.NDArray[np.float64]
    array_row: npt.NDArray[np.int32]
    array_col: npt.NDArray[np.int32]
    names: npt.NDArray[np.str_]
    layout: Layout
    mpp: tuple[float, float]

    def __post_init__(self) -> None:
        """Convert the arrays once, so that everyone after can rely on them."""
        for field, dtype in (
            ("xy_px", np.float64),
            ("array_row", np.int32),
            ("array_col", np.int32),
            ("names", np.str_),
        ):
            object.__setattr__(self, field, np.ascontiguousarray(getattr(self, field), dtype=dtype))
        self._check()

    def _check(self) -> None:
        n = len(self.names)
        if self.xy_px.shape != (n, 2) or {self.array_row.shape, self.array_col.shape} != {(n,)}:
            raise SpotsError(
                f"{n} spot names do not fit centres of shape {self.xy_px.shape}, rows of shape "
                f"{self.array_row.shape} and columns of shape {self.array_col.shape}."
            )
        broken = np.flatnonzero(~np.isfinite(self.xy_px).all(axis=1))
        if broken.size:
            raise SpotsError(
                f"{broken.size} of {n} spots have no finite centre, the first is "
                f"'{self.names[broken[0]]}'."
            )
        if len(set(self.names.tolist())) < n:
            values, counts = np.unique(self.names, return_counts=True)
            raise SpotsError(
                f"Spot names must be unique, '{values[counts.argmax()]}' occurs "
                f"{counts.max()} times."
            )
        if not all(np.isfinite(value) and value > 0 for value in self.mpp):
            raise SpotsError(f"Microns per pixel of {self.mpp} are not positive.")

    @property
    def xy_um(self) -> npt.NDArray[np.float64]:
        """Centres in µm from the image's top-left corner, float64 (n, 2)."""
        return self.xy_px * np.asarray(self.mpp)

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.names)

    def subset(self, index: npt.ArrayLike | slice) -> Spots:
        """Return the spots that ``index`` selects, in its order.

        Parameters
        ----------
        index
            A slice, integers (k,), or booleans (n,).

        Returns
        -------
        Spots
            With the same layout and resolution.

        Raises
        ------
        SpotsError
            If a spot is taken twice.
        """
        rows = index if isinstance(index, slice) else np.asarray(index)
        return Spots(
            xy_px=self.xy_px[rows],
            array_row=self.array_row[rows],
            array_col=self.array_col[rows],
            names=self.names[rows],
            layout=self.layout,
            mpp=self.mpp,
        )
