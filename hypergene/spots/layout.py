"""Where spots go: the platforms' lattices, in micrometres until the last step.

Visium is a hexagonal lattice: 55 µm circles, 100 µm centre to centre, rows 100·√3/2 = 86.6 µm
apart, odd rows shifted by half a pitch. Legacy Spatial Transcriptomics is a square lattice: 100 µm
circles, 200 µm centre to centre. Visium HD bins are squares of 2, 8 or 16 µm that touch, and
``xenium`` pseudo-spots squares of 55 µm, as hypergene.st pools Xenium's transcripts into. ``grid``
is a square lattice of square bins of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError, UsageError
from hypergene.spots.table import Spots

Lattice = Literal["hexagon", "square", "given"]
Shape = Literal["circle", "square"]

MAX_SPOTS = 20_000_000
"""More spots than this on one slide are taken for a mistyped pitch (they would fill gigabytes)."""

_FLOAT_SLACK = 1e-9
"""In pitches: a lattice that fits to the last bit must not lose a row to rounding."""


@dataclass(frozen=True)
class Layout:
    """Shape, size and spacing of the spots of a platform.

    Parameters
    ----------
    name
        What users and files call it: ``visium``, ``st``, ``grid``, or a reader's own word.
    lattice
        ``hexagon`` or ``square`` can be laid on a slide; ``given`` says that the positions came
        with the data, and that diameter and pitch only describe them.
    diameter_um
        Diameter of a circle, or side of a square, µm.
    pitch_um
        Distance between the centres of nearest neighbours, µm.
    shape
        Outline of a spot.

    Raises
    ------
    SpotsError
        If a size is not a positive number, or circles of a laid lattice would overlap. Squares may
        overlap (a pitch below the diameter is a sliding window); printed circles never do, so a
        pitch below the diameter is a mistake there.
    """

    name: str
    lattice: Lattice
    diameter_um: float
    pitch_um: float
    shape: Shape

    def __post_init__(self) -> None:
        """Refuse sizes that make no layout."""
        for flag, value in (("--diameter", self.diameter_um), ("--pitch", self.pitch_um)):
            if not (math.isfinite(value) and value > 0):
                raise SpotsError(
                    f"The {flag.removeprefix('--')} of layout '{self.name}' is {value:g} µm.",
                    hint=f"Give {flag} a number of micrometres above 0.",
                )
        overlap = self.lattice != "given" and self.pitch_um < self.diameter_um
        if self.shape == "circle" and overlap:
            raise SpotsError(
                f"Circles of {self.diameter_um:g} µm overlap at a pitch of {self.pitch_um:g} µm "
                f"(layout '{self.name}').",
                hint="Give --pitch at least --diameter, or use --layout grid, whose squares may "
                "overlap.",
            )


_KNOWN = {
    "visium": Layout("visium", "hexagon", 55.0, 100.0, "circle"),
    "visium-6.5": Layout("visium-6.5", "hexagon", 55.0, 100.0, "circle"),
    "visium-11": Layout("visium-11", "hexagon", 55.0, 100.0, "circle"),
    "visium-hd-2": Layout("visium-hd-2", "square", 2.0, 2.0, "square"),
    "visium-hd-8": Layout("visium-hd-8", "square", 8.0, 8.0, "square"),
    "visium-hd-16": Layout("visium-hd-16", "square", 16.0, 16.0, "square"),
    "st": Layout("st", "square", 100.0, 200.0, "circle"),
    "xenium": Layout("xenium", "square", 55.0, 55.0, "square"),
}
#: Rows and columns (half pitches, so twice the spots of a row) of a capture area, by layout.
_FRAMES = {"visium-6.5": (78, 128), "visium-11": (128, 224)}
_NAMES = (*_KNOWN, "grid")


def layout_named(
    name: str, *, diameter_um: float | None = None, pitch_um: float | None = None
) -> Layout:
    """Return a layout by its name, with the user's diameter and pitch where given.

    Parameters
    ----------
    name
        ``visium`` (hexagons, 55 µm circles, 100 µm pitch, over the whole image), ``visium-6.5`` and
        ``visium-11`` (the same, one capture area of 6.5 or 11 mm), ``visium-hd-2``, ``-8`` and
        ``-16`` (touching squares of that many µm), ``st`` (square lattice, 100 µm circles, 200 µm
        pitch), ``xenium`` (touching squares of 55 µm) or ``grid`` (square lattice of squares, any
        size).
    diameter_um
        Diameter or side of a spot, µm. Needed for ``grid``.
    pitch_um
        Centre to centre, µm. For ``grid`` the diameter unless given: bins that touch.

    Returns
    -------
    Layout
        Always valid.

    Raises
    ------
    UsageError
        If the name is unknown, ``grid`` lacks a diameter, or the sizes make no layout.
    """
    if name not in _NAMES:
        raise UsageError(
            f"There is no layout '{name}'.", hint=f"Known layouts: {', '.join(_NAMES)}."
        )
    if name == "grid" and diameter_um is None:
        raise UsageError(
            "Layout 'grid' has no size of its own.",
            hint="Give --diameter (µm), and --pitch (µm) if the squares should not touch.",
        )
    try:
        if diameter_um is not None and name == "grid":
            pitch_um = diameter_um if pitch_um is None else pitch_um
            return Layout("grid", "square", diameter_um, pitch_um, "square")
        known = _KNOWN[name]
        return replace(
            known,
            diameter_um=known.diameter_um if diameter_um is None else diameter_um,
            pitch_um=known.pitch_um if pitch_um is None else pitch_um,
        )
    except SpotsError as error:
        raise UsageError(error.message, hint=error.hint) from None


def lay_spots(layout: Layout, dimensions_px: tuple[int, int], mpp: tuple[float, float]) -> Spots:
    """Cover an image with a lattice of whole spots, centred on it.

    Every spot lies wholly inside the image, and no further row or column of the lattice would fit.
    The order is row-major (top to bottom, left to right) and depends on nothing but the arguments.
    Hexagons follow Visium's numbering: ``array_col`` counts half pitches, so it is even on even
    rows and odd on odd rows, and neighbours in a row are 2 apart.

    Parameters
    ----------
    layout
        A layout whose lattice is ``hexagon`` or ``square``.
    dimensions_px
        (width, height) of the image in level-0 px. Its edges are at 0 and width, 0 and height.
    mpp
        µm per level-0 px along x and y.

    Returns
    -------
    Spots
        Named ``r<array_row>c<array_col>``.

    Raises
    ------
    SpotsError
        If the image is smaller than one spot, the lattice would have more than ``MAX_SPOTS``
        spots, or the layout has no lattice.
    """
    if layout.lattice == "given":
        raise SpotsError(
            f"Layout '{layout.name}' has no lattice to lay.",
            hint="Give the positions of its spots with --coords.",
        )
    hexagon = layout.lattice == "hexagon"
    # A column of hexagons is half a pitch wide: even rows stand on the even ones, odd rows between.
    column_um = layout.pitch_um / 2 if hexagon else layout.pitch_um
    row_um = layout.pitch_um * math.sqrt(3) / 2 if hexagon else layout.pitch_um

    size_um = (dimensions_px[0] * mpp[0], dimensions_px[1] * mpp[1])
    if min(size_um) < layout.diameter_um * (1 - _FLOAT_SLACK):
        raise SpotsError(
            f"The image is {size_um[0]:.6g} × {size_um[1]:.6g} µm, too small for one spot of "
            f"{layout.diameter_um:g} µm.",
            hint="Check --mpp, or give a smaller --diameter.",
        )
    columns = math.floor((size_um[0] - layout.diameter_um) / column_um + _FLOAT_SLACK) + 1
    rows = math.floor((size_um[1] - layout.diameter_um) / row_um + _FLOAT_SLACK) + 1
    frame = _FRAMES.get(layout.name)
    if frame is not None:
        rows, columns = frame
    elif hexagon:
        # With one row or one column the other parity is empty; counting it would spoil centring.
        columns -= rows == 1 and columns % 2 == 0
        rows -= columns == 1 and rows % 2 == 0
    number = (rows * columns + 1) // 2 if hexagon else rows * columns
    if number > MAX_SPOTS:
        raise SpotsError(
            f"A pitch of {layout.pitch_um:g} µm would lay {number:,} spots on this image of "
            f"{size_um[0]:.6g} × {size_um[1]:.6g} µm (at most {MAX_SPOTS:,}).",
            hint="Check --mpp, or give a larger --pitch.",
        )

    array_row, array_col = _lattice(rows, columns, hexagon=hexagon)
    x_um = size_um[0] / 2 + (array_col - (columns - 1) / 2) * column_um
    y_um = size_um[1] / 2 + (array_row - (rows - 1) / 2) * row_um
    if frame is not None:
        # The image may be smaller than what is printed.
        reach_x, reach_y = ((side - layout.diameter_um) / 2 + _FLOAT_SLACK for side in size_um)
        inside = (np.abs(x_um - size_um[0] / 2) <= reach_x) & (
            np.abs(y_um - size_um[1] / 2) <= reach_y
        )
        array_row, array_col, x_um, y_um = (
            values[inside] for values in (array_row, array_col, x_um, y_um)
        )
        if not len(array_row):
            raise SpotsError(
                f"No whole spot of layout '{layout.name}', centred on the image, lies on its "
                f"{size_um[0]:.6g} × {size_um[1]:.6g} µm.",
                hint="Check --mpp, or use --layout visium.",
            )
    row_names = np.array([f"r{row}" for row in range(rows)])
    column_names = np.array([f"c{column}" for column in range(columns)])
    return Spots(
        xy_px=np.column_stack([x_um / mpp[0], y_um / mpp[1]]),
        array_row=array_row,
        array_col=array_col,
        names=np.char.add(row_names[array_row], column_names[array_col]),
        layout=layout,
        mpp=mpp,
    )


def _lattice(
    rows: int, columns: int, *, hexagon: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return array_row and array_col, int32 (n,), row-major; hexagons keep like parities only."""
    array_row = np.repeat(np.arange(rows, dtype=np.int32), columns)
    array_col = np.tile(np.arange(columns, dtype=np.int32), rows)
    if hexagon:
        kept = (array_row + array_col) % 2 == 0
        array_row, array_col = array_row[kept], array_col[kept]
    return array_row, array_col
