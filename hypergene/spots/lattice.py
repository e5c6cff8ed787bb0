"""Lattices of spots laid on an image, whole or in blocks of rows.

Micrometres until the last step. A lattice of 10 million bins is never one table unless somebody
asks for it: what is kept is where row 0, column 0 lies and how many rows and columns there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError
from hypergene.spots.layout import FRAMES, Layout
from hypergene.spots.table import Spots

MAX_SPOTS = 20_000_000
"""More spots than this on one slide are taken for a mistyped pitch (they would fill gigabytes)."""

SPOTS_PER_BLOCK = 2**17
"""Places of the lattice in a block, about: some 30 MB with their names."""

_FLOAT_SLACK = 1e-9
"""In pitches: a lattice that fits to the last bit must not lose a row to rounding."""

_BIN = {"visium-hd-2": 2, "visium-hd-8": 8, "visium-hd-16": 16}
_MOST_NUMBERED = 10**5
"""Rows or columns that five digits can number."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LaidLattice:
    """A lattice on an image; its spots are made when asked for.

    Attributes
    ----------
    layout
        Its spots.
    mpp
        µm per level-0 px along x and y.
    rows, columns
        Of the lattice; columns of hexagons are half a pitch wide.
    step_um
        (2,) from column to column and from row to row.
    first
        (2,) centre of column 0, row 0 relative to `centre_um`, in steps, before the lattice is
        turned.
    centre_um
        (2,) what the lattice is turned about.
    low_um, high_um
        (2,) each: spots that reach beyond are left out.
    """

    layout: Layout
    mpp: tuple[float, float]
    rows: int
    columns: int
    step_um: Floats
    first: Floats
    centre_um: Floats
    low_um: Floats
    high_um: Floats

    @property
    def hexagon(self) -> bool:
        """Whether even rows hold the even columns and odd rows the odd ones."""
        return self.layout.lattice == "hexagon"

    def __len__(self) -> int:
        """Return the number of places; what reaches beyond the bounds is counted, too."""
        places = self.rows * self.columns
        return (places + 1) // 2 if self.hexagon else places

    def spots(self, start: int = 0, stop: int | None = None) -> Spots:
        """Return the spots of the rows from `start` until before `stop`, maybe none."""
        rows = np.arange(start, self.rows if stop is None else stop, dtype=np.int32)
        array_row = np.repeat(rows, self.columns)
        array_col = np.tile(np.arange(self.columns, dtype=np.int32), len(rows))
        if self.hexagon:
            kept = (array_row + array_col) % 2 == 0
            array_row, array_col = array_row[kept], array_col[kept]
        flat = (np.column_stack([array_col, array_row]) + self.first) * self.step_um
        xy_um = self.centre_um + flat @ _turn(self.layout.orientation_deg)
        reach = self.layout.reach_um - (1 + self.layout.pitch_um) * _FLOAT_SLACK
        inside = ((xy_um >= self.low_um + reach) & (xy_um <= self.high_um - reach)).all(axis=1)
        if not inside.all():
            array_row, array_col, xy_um = array_row[inside], array_col[inside], xy_um[inside]
        return Spots(
            xy_px=xy_um / self.mpp,
            array_row=array_row,
            array_col=array_col,
            names=self._names(array_row, array_col),
            layout=self.layout,
            mpp=self.mpp,
        )

    def _names(
        self, row: npt.NDArray[np.int32], column: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.str_]:
        side = _BIN.get(self.layout.name)
        if side == self.layout.pitch_um and max(self.rows, self.columns) <= _MOST_NUMBERED:
            return _bin_names(f"s_{side:03d}um_00000_00000-1", row, column)
        row_names = np.array([f"r{number}" for number in range(int(row.max(initial=0)) + 1)])
        column_names = np.array([f"c{number}" for number in range(int(column.max(initial=0)) + 1)])
        return np.char.add(row_names[row], column_names[column])

    def blocks(self) -> Iterator[Spots]:
        """Yield the spots in bands of whole rows of about `SPOTS_PER_BLOCK` places, in order."""
        rows = max(1, SPOTS_PER_BLOCK // max(1, len(self) // self.rows))
        for start in range(0, self.rows, rows):
            block = self.spots(start, min(start + rows, self.rows))
            if len(block):
                yield block


def lattice_on(
    layout: Layout,
    dimensions_px: tuple[int, int],
    mpp: tuple[float, float],
    *,
    offset_um: tuple[float, float] | None = None,
) -> LaidLattice:
    """Fit a lattice to an image.

    A layout with a capture area (``visium-6.5``, ``visium-11``) has its rows and columns, once, and
    is cut where the image ends; every other covers the image with as many as there is room for.

    Parameters
    ----------
    layout
        Its lattice is ``hexagon`` or ``square``. With an orientation the lattice is turned about
        its own centre (of the capture area, or of the part of the image that it covers).
    dimensions_px
        (width, height) of the image in level-0 px. Its edges are at 0 and width, 0 and height.
    mpp
        µm per level-0 px along x and y.
    offset_um
        Where the lattice starts: the left and the upper edge of its first spots before it is
        turned, µm from the image's top left corner. None = centred on the image. Of a lattice
        without a capture area nothing lies above or to the left of it.

    Raises
    ------
    SpotsError
        If the image is smaller than one spot, the lattice would have more than ``MAX_SPOTS``
        spots, the offset is no pair of numbers, or the layout has no lattice.
    """
    if layout.lattice == "given":
        raise SpotsError(
            f"Layout '{layout.name}' has no lattice to lay.",
            hint="Give the positions of its spots with --coords.",
        )
    hexagon = layout.lattice == "hexagon"
    # A column of hexagons is half a pitch wide: even rows stand on the even ones, odd rows between.
    step = np.array(
        [layout.pitch_um / 2, layout.pitch_um * math.sqrt(3) / 2]
        if hexagon
        else [layout.pitch_um, layout.pitch_um]
    )
    size = np.multiply(dimensions_px, mpp, dtype=np.float64)
    if size.min() < 2 * layout.reach_um * (1 - _FLOAT_SLACK):
        raise SpotsError(
            f"The image is {size[0]:.6g} × {size[1]:.6g} µm, too small for one spot of "
            f"{layout.diameter_um:g} µm.",
            hint="Check --mpp, or give a smaller --diameter.",
        )
    offset = None if offset_um is None else np.asarray(offset_um, np.float64)
    if offset is not None and (offset.shape != (2,) or not np.isfinite(offset).all()):
        raise SpotsError(
            f"The offset {offset_um} is no pair of finite numbers.",
            hint="Give --offset X,Y in µm from the image's top left corner, e.g. 500,800.",
        )
    low = np.zeros(2)
    frame = FRAMES.get(layout.name)
    if frame is not None:
        count = np.array(frame[::-1])
        extent = (count - 1) * step + layout.diameter_um
        centre = size / 2 if offset is None else offset + extent / 2
        first = -(count - 1) / 2
    else:
        low = low if offset is None else offset
        if (size - low).min() < 2 * layout.reach_um * (1 - _FLOAT_SLACK):
            raise SpotsError(
                f"No whole spot lies beyond an offset of {low[0]:g}, {low[1]:g} µm on an image of "
                f"{size[0]:.6g} × {size[1]:.6g} µm.",
                hint="Give a smaller --offset (µm, not pixels).",
            )
        centre = (low + size) / 2
        # Centres may lie in this rectangle; a turned lattice needs the box around it.
        free = np.maximum(size - low - 2 * layout.reach_um, 0)
        free = np.abs(_turn(layout.orientation_deg)) @ free
        if offset is None:
            count = np.floor(free / step + _FLOAT_SLACK).astype(np.int64) + 1
            if hexagon:
                # With one row or one column the other parity is empty and would spoil centring.
                count[0] -= count[1] == 1 and count[0] % 2 == 0
                count[1] -= count[0] == 1 and count[1] % 2 == 0
            first = -(count - 1) / 2
        else:
            first = (low + layout.diameter_um / 2 - centre) / step
            start = np.ceil(-free / 2 / step - first - _FLOAT_SLACK).astype(np.int64)
            stop = np.floor(free / 2 / step - first + _FLOAT_SLACK).astype(np.int64)
            # Visium's numbers begin on an even row and an even column.
            start -= start % 2 if hexagon else 0
            count, first = np.maximum(stop - start + 1, 1), first + start
    columns, rows = int(count[0]), int(count[1])
    laid = LaidLattice(layout, mpp, rows, columns, step, first, centre, np.maximum(low, 0), size)
    if (number := rows * columns // (2 if hexagon else 1)) > MAX_SPOTS:
        raise SpotsError(
            f"A pitch of {layout.pitch_um:g} µm would lay {number:,} spots on this image of "
            f"{size[0]:.6g} × {size[1]:.6g} µm (at most {MAX_SPOTS:,}).",
            hint="Check --mpp, or give a larger --pitch.",
        )
    return laid


def lay_spots(
    layout: Layout,
    dimensions_px: tuple[int, int],
    mpp: tuple[float, float],
    *,
    offset_um: tuple[float, float] | None = None,
) -> Spots:
    """Cover an image with a lattice of whole spots, centred on it unless an offset is given.

    Every spot lies wholly inside the image, and no further row or column of the lattice would fit.
    The order is row-major (top to bottom, left to right, before the lattice is turned) and depends
    on nothing but the arguments. Hexagons follow Visium's numbering: ``array_col`` counts half
    pitches, so it is even on even rows and odd on odd rows, and neighbours in a row are 2 apart.

    Parameters
    ----------
    layout, dimensions_px, mpp, offset_um
        As for :func:`lattice_on`.

    Returns
    -------
    Spots
        Named ``r<array_row>c<array_col>``, or bins of Visium HD as Space Ranger names them:
        ``s_008um_<array_row>_<array_col>-1``, five digits each.

    Raises
    ------
    SpotsError
        As :func:`lattice_on`, and if no spot is left on the image.
    """
    spots = lattice_on(layout, dimensions_px, mpp, offset_um=offset_um).spots()
    if not len(spots):
        raise no_whole_spot(layout, dimensions_px, mpp)
    return spots


def no_whole_spot(
    layout: Layout, dimensions_px: tuple[int, int], mpp: tuple[float, float]
) -> SpotsError:
    """Return the error that says that of a lattice no spot lies on the image."""
    width, height = np.multiply(dimensions_px, mpp)
    return SpotsError(
        f"No whole spot of layout '{layout.name}' lies on the image's {width:.6g} × {height:.6g} "
        "µm.",
        hint="Check --mpp and --offset (µm), or use --layout visium.",
    )


def _turn(degrees: float) -> Floats:
    """Return the matrix (2, 2) that turns row vectors (x, y) clockwise, y pointing down."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _bin_names(
    pattern: str, row: npt.NDArray[np.int32], column: npt.NDArray[np.int32]
) -> npt.NDArray[np.str_]:
    """Write two numbers of five digits into a pattern; no Python object a bin."""
    letters = np.tile(np.array([pattern]).view(np.uint32), (len(row), 1))
    for numbers, last in ((row, len(pattern) - 9), (column, len(pattern) - 3)):
        rest = numbers.astype(np.uint32)
        for place in range(5):
            letters[:, last - place] += rest % 10
            rest //= 10
    return letters.view(f"=U{len(pattern)}").ravel()
