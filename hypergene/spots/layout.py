"""The platforms' spots: their shape, size and spacing, in micrometres.

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

from hypergene.errors import SpotsError, UsageError

Lattice = Literal["hexagon", "square", "given"]
Shape = Literal["circle", "square"]


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
    orientation_deg
        By how much lattice and squares are turned, degrees, clockwise as one looks at the image.

    Raises
    ------
    SpotsError
        If a size is not a positive number, the orientation is no number, or circles of a laid
        lattice would overlap. Squares may overlap (a pitch below the diameter is a sliding window);
        printed circles never do, so a pitch below the diameter is a mistake there.
    """

    name: str
    lattice: Lattice
    diameter_um: float
    pitch_um: float
    shape: Shape
    orientation_deg: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sizes that make no layout."""
        for flag, value in (("--diameter", self.diameter_um), ("--pitch", self.pitch_um)):
            if not (math.isfinite(value) and value > 0):
                raise SpotsError(
                    f"The {flag.removeprefix('--')} of layout '{self.name}' is {value:g} µm.",
                    hint=f"Give {flag} a number of micrometres above 0.",
                )
        if not math.isfinite(self.orientation_deg):
            raise SpotsError(
                f"The orientation of layout '{self.name}' is {self.orientation_deg:g} degrees.",
                hint="Give --orientation a number of degrees, e.g. 12.5.",
            )
        overlap = self.lattice != "given" and self.pitch_um < self.diameter_um
        if self.shape == "circle" and overlap:
            raise SpotsError(
                f"Circles of {self.diameter_um:g} µm overlap at a pitch of {self.pitch_um:g} µm "
                f"(layout '{self.name}').",
                hint="Give --pitch at least --diameter, or use --layout grid, whose squares may "
                "overlap.",
            )

    @property
    def reach_um(self) -> float:
        """How far a spot reaches from its centre along the image's axes, µm."""
        if self.shape == "circle":
            return self.diameter_um / 2
        turn = math.radians(self.orientation_deg)
        return self.diameter_um / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))


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
FRAMES = {"visium-6.5": (78, 128), "visium-11": (128, 224)}
"""Rows and columns (half pitches, so twice the spots of a row) of a capture area, by layout."""

_NAMES = (*_KNOWN, "grid")


def layout_named(
    name: str,
    *,
    diameter_um: float | None = None,
    pitch_um: float | None = None,
    orientation_deg: float = 0.0,
) -> Layout:
    """Return a layout by its name, with the user's diameter, pitch and orientation where given.

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
    orientation_deg
        Degrees by which the lattice is turned, clockwise as one looks at the image.

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
            return Layout("grid", "square", diameter_um, pitch_um, "square", orientation_deg)
        known = _KNOWN[name]
        return replace(
            known,
            diameter_um=known.diameter_um if diameter_um is None else diameter_um,
            pitch_um=known.pitch_um if pitch_um is None else pitch_um,
            orientation_deg=orientation_deg,
        )
    except SpotsError as error:
        raise UsageError(error.message, hint=error.hint) from None
