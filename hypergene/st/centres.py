"""Spot centres that somebody gives, before they are spots of a layout on a slide."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError
from hypergene.spots import Layout, Spots

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SpotCentres:
    """Spot centres, from a file or an object.

    Attributes
    ----------
    origin
        Where they come from, for messages.
    xy_px
        float64 (n, 2), (x, y) in level-0 px.
    array_row, array_col
        int32 (n,), place on the platform's array; None = unknown.
    names
        str (n,); None = numbered.
    in_tissue
        bool (n,); None = nobody says so. Spots outside are left out.
    layout
        Shape and size of the spots, if known.
    """

    origin: str
    xy_px: npt.NDArray[np.float64]
    array_row: npt.NDArray[np.int32] | None = None
    array_col: npt.NDArray[np.int32] | None = None
    names: npt.NDArray[np.str_] | list[str] | None = None
    in_tissue: npt.NDArray[np.bool_] | None = None
    layout: Layout | None = None

    def __str__(self) -> str:
        """Return the origin, which stands in the record of a prediction."""
        return self.origin

    def spots(self, layout: Layout, mpp: tuple[float, float]) -> Spots:
        """Make spots of the centres in the tissue.

        Parameters
        ----------
        layout
            Shape and size of the spots, unless the centres have their own.
        mpp
            µm per level-0 px along x and y.

        Raises
        ------
        SpotsError
            There are none, or none in the tissue; a centre is not finite, or a name occurs twice.
            The origin is named.
        """
        count, origin = len(self.xy_px), self.origin
        if not count:
            raise SpotsError(f"{origin} has no spots.")
        kept = np.ones(count, np.bool_) if self.in_tissue is None else self.in_tissue
        if not kept.any():
            raise SpotsError(
                f"{origin} puts all of its {count:,} spots outside the tissue.",
                hint="Set in_tissue (or selected) to 1, or leave that column out.",
            )
        if not kept.all():
            _log.info(
                "%s: %s of %s spots are not in the tissue and are left out",
                *(origin, f"{int((~kept).sum()):,}", f"{count:,}"),
            )
        unplaced = np.full(count, -1, np.int32)
        names = [f"spot{i}" for i in range(count)] if self.names is None else self.names
        try:
            return Spots(
                xy_px=self.xy_px[kept],
                array_row=(unplaced if self.array_row is None else self.array_row)[kept],
                array_col=(unplaced if self.array_col is None else self.array_col)[kept],
                names=np.asarray(names, dtype=np.str_)[kept],
                layout=layout if self.layout is None else self.layout,
                mpp=mpp,
            )
        except SpotsError as reason:
            raise SpotsError(f"{origin}: {reason.message}", hint=reason.hint) from None
