"""Microns per pixel: who says so, whether it can be true, and who is believed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike

from hypergene.errors import ResolutionError

#: Microns per px that a microscope slide can have: from a 100x oil lens to a bare overview camera.
PLAUSIBLE_MPP = (0.05, 20.0)

#: Two statements that differ by more than this share contradict each other.
TOLERANCE = 0.05

#: The statement that photo editors make, too: how large to print the picture.
_PRINT_SETTING = "tiff.XResolution"

#: Micrometres per unit of the TIFF tag ResolutionUnit (TIFF 6.0, page 38; 4 and 5 are tifffile's).
TIFF_UNIT_UM = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}

#: Micrometres per unit of an OME PhysicalSize (OME schema 2016-06, UnitsLength).
OME_UNIT_UM = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3,
    "pm": 1e-6, "Å": 1e-4, "in": 25_400.0, "thou": 25.4, "mil": 25.4,
}  # fmt: skip

#: What ImageJ writes for the unit of a length, besides the names above ("\\u00B5m" as it stands).
_IMAGEJ_UNITS = {
    "\\u00b5m": "µm", "micron": "µm", "microns": "µm", "micrometer": "µm", "micrometre": "µm",
    "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "inch": "in",
}  # fmt: skip


@dataclass(frozen=True)
class Mpp:
    """Microns per px of level 0, on both axes, and where they come from.

    Attributes
    ----------
    x, y
        Micrometres per px along the columns and along the rows.
    source
        ``"--mpp"``, or the key in the file: ``"openslide.mpp-x"``, ``"aperio.MPP"``,
        ``"tiff.XResolution"``, ``"imagej.unit"``, ``"ome.PhysicalSizeX"``; or of an object
        ``"wsidata.mpp"``, or ``"spatialdata."`` and a coordinate system.
    """

    x: float
    y: float
    source: str

    @property
    def plausible(self) -> bool:
        """Whether both axes lie in :data:`PLAUSIBLE_MPP`."""
        low, high = PLAUSIBLE_MPP
        return low <= self.x <= high and low <= self.y <= high

    def agrees(self, other: Mpp) -> bool:
        """Whether both axes are within :data:`TOLERANCE` of `other`'s."""
        return all(
            math.isclose(mine, theirs, rel_tol=TOLERANCE)
            for mine, theirs in ((self.x, other.x), (self.y, other.y))
        )

    def __str__(self) -> str:
        """Value and source, with one number where both axes agree."""
        value = f"{self.x:.4g}" if math.isclose(self.x, self.y) else f"{self.x:.4g} x {self.y:.4g}"
        return f"{value} µm/px ({self.source})"


def from_text(x: str | None, y: str | None, source: str) -> Mpp | None:
    """Mpp from two numbers written as text; None where they are not positive numbers.

    One axis alone stands for both. A decimal comma, which some scanners write, is read as a point.
    """
    values = [_number(text) for text in (x, y) if text is not None]
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    return Mpp(values[0], values[-1], source)


def from_tiff(
    x: tuple[int, int] | float | None, y: tuple[int, int] | float | None, unit: int | None
) -> Mpp | None:
    """Mpp from the TIFF tags XResolution, YResolution and ResolutionUnit.

    The tags give px per unit, as a rational (numerator, denominator) or as a number already
    divided; mpp = unit in µm x denominator / numerator. Without a unit (1) they are a ratio only.
    """
    unit_um = TIFF_UNIT_UM.get(unit or 0)
    per_unit = [_ratio(value) for value in (x, y) if value is not None]
    if unit_um is None or not per_unit or min(per_unit) <= 0:
        return None
    return Mpp(unit_um / per_unit[0], unit_um / per_unit[-1], _PRINT_SETTING)


def from_imagej(
    x: tuple[int, int] | float | None, y: tuple[int, int] | float | None, unit: str | None
) -> Mpp | None:
    """Mpp from the TIFF tags of a picture that ImageJ or Fiji saved: px per `unit`.

    ImageJ leaves ResolutionUnit at none and writes the unit's name into the description.
    """
    name = (unit or "").strip().lower()
    unit_um = OME_UNIT_UM.get(_IMAGEJ_UNITS.get(name, name))
    per_unit = [_ratio(value) for value in (x, y) if value is not None]
    if unit_um is None or not per_unit or min(per_unit) <= 0:
        return None
    return Mpp(unit_um / per_unit[0], unit_um / per_unit[-1], "imagej.unit")


def from_ome(x: str | None, y: str | None, unit_x: str | None, unit_y: str | None) -> Mpp | None:
    """Mpp from OME's PhysicalSizeX and PhysicalSizeY, each in its unit (µm unless given)."""
    size = from_text(x, y, "ome.PhysicalSizeX")
    per_x, per_y = (OME_UNIT_UM.get(unit or "µm") for unit in (unit_x, unit_y))
    if size is None or per_x is None or per_y is None:
        return None
    return Mpp(size.x * per_x, size.y * per_y, size.source)


def given_mpp(value: float) -> Mpp:
    """Mpp from the user's ``--mpp``.

    Raises
    ------
    ResolutionError
        If it is not a number within :data:`PLAUSIBLE_MPP`.
    """
    given = Mpp(float(value), float(value), "--mpp")
    if not given.plausible:
        low, high = PLAUSIBLE_MPP
        raise ResolutionError(
            f"--mpp {value:g} cannot be the microns per pixel of a slide.",
            hint=f"Give a number between {low:g} and {high:g}; 0.5 is usual for 20x, 0.25 for 40x.",
        )
    return given


def choose(
    found: Iterable[Mpp],
    given: Mpp | None,
    path: str | PathLike[str],
    hint: str = "Give it with --mpp, for instance --mpp 0.5.",
) -> tuple[Mpp, list[str]]:
    """Choose among the statements about one slide: the user's, else the file's first plausible one.

    Parameters
    ----------
    found
        What the file says, the most trusted statement first.
    given
        What the user says.
    path
        The slide, for the error.
    hint
        What to do where nobody says anything.

    Returns
    -------
    mpp : Mpp
        The one used.
    warnings : list of str
        Sentences that name the one used and those that contradict it, those that cannot be true
        though it is no print setting that says so, and px that are not square.

    Raises
    ------
    ResolutionError
        If nobody says anything that can be true.
    """
    found = list(found)
    believable = [mpp for mpp in found if mpp.plausible]
    if given is None and not believable:
        ignored = "; ".join(str(mpp) for mpp in found)
        raise ResolutionError(
            f"{path} does not say how many microns a pixel is"
            + (f" (ignored as implausible, a print setting: {ignored})." if ignored else "."),
            hint=hint,
        )
    used = given or believable[0]
    against = "; ".join(str(mpp) for mpp in believable if not used.agrees(mpp))
    absurd = "; ".join(
        str(mpp) for mpp in found if not mpp.plausible and mpp.source != _PRINT_SETTING
    )
    warnings = []
    if against:
        warnings.append(f"Using {used}, although the file also says {against}.")
    if absurd:
        warnings.append(f"Using {used}; what the file says is implausible: {absurd}.")
    if not math.isclose(used.x, used.y, rel_tol=TOLERANCE):
        warnings.append(f"The pixels are not square, {used}; tiles are resampled to square ones.")
    return used, warnings


def _number(text: str) -> float:
    match = re.fullmatch(r"\s*([-+]?\d*[.,]?\d*(?:[eE][-+]?\d+)?)\s*", text)
    try:
        return float(match[1].replace(",", ".")) if match else math.nan
    except ValueError:
        return math.nan


def _ratio(value: tuple[int, int] | float) -> float:
    if isinstance(value, tuple):
        numerator, denominator = value
        return numerator / denominator if denominator else 0.0
    return float(value)
