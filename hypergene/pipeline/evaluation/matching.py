"""Which row of another tool's table is which measured spot: by name, or by where it lies."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hypergene.errors import DataError

LEAST_FOUND = 0.5
"""With a smaller share of the measured spots found, names (or places) are not the same."""
TOLERANCE_PITCH = 0.25
"""Spots are the same if their centres are no further apart than this share of the pitch."""

# Row numbers name no spot.
_NUMBERED = re.compile(r"(?:spot)?[_-]?\d+")


class Match(NamedTuple):
    """Rows of a prediction for measured spots.

    Attributes
    ----------
    rows
        int64 (n,): row of the prediction for each measured spot; -1 = it has none.
    how
        One sentence: by what they were matched, within what tolerance, and how many.
    warning
        What a careful user wants to read; "" if nothing.
    """

    rows: npt.NDArray[np.int64]
    how: str
    warning: str


def match_spots(
    names: npt.NDArray[np.str_],
    xy_px: npt.NDArray[np.float64],
    pitch_px: float,
    other_names: npt.NDArray[np.str_],
    other_xy_px: npt.NDArray[np.float64] | None,
    *,
    sample: str,
    source: str,
) -> Match:
    """Find the predicted row of every measured spot.

    By name if at least half of the measured spots are found so (with or without the sample's name
    before or after it), and names are more than row numbers; else by the nearest centre within a
    quarter of the pitch, one to one.

    Parameters
    ----------
    names, xy_px
        (n,) and (n, 2) of the measured spots, level-0 px.
    pitch_px
        Distance of neighbouring measured spots, px.
    other_names, other_xy_px
        (m,) and (m, 2) of the prediction; no places = None.
    sample, source
        The sample, and where the prediction came from, for messages.

    Raises
    ------
    DataError
        A name twice, or fewer than half of the measured spots are found.
    """
    by_name = _by_name(names, other_names, sample, source)
    found = float((by_name >= 0).mean())
    telling = not all(_NUMBERED.fullmatch(str(name)) for name in other_names)
    tolerance_px = TOLERANCE_PITCH * pitch_px
    if found >= LEAST_FOUND and (telling or other_xy_px is None):
        how = f"{sample}: {_count(by_name)} spots matched by name."
        return Match(by_name, how, _far_apart(by_name, xy_px, other_xy_px, tolerance_px, sample))
    if other_xy_px is None:
        raise DataError(
            f"{source} names {found:.0%} of the {len(names):,} spots of {sample} (it has "
            f"'{other_names[0]}', the sample '{names[0]}'), and gives no places.",
            hint="Name its rows as the sample's spots, or give centres in level-0 px: "
            'obsm["spatial"], or the columns x and y of a table.',
        )
    rows, distance = _by_place(xy_px, other_xy_px, tolerance_px)
    found = float((rows >= 0).mean())
    if found < LEAST_FOUND:
        raise DataError(
            f"Only {found:.0%} of the {len(names):,} spots of {sample} are in {source}, within "
            f"{tolerance_px:.1f} px (a quarter of their pitch); the median distance to the nearest "
            f"is {np.median(distance):.0f} px.",
            hint="Its places must be spot centres (x, y) in pixels of the full-resolution image; "
            "or name its rows as the sample's spots.",
        )
    how = (
        f"{sample}: {_count(rows)} spots matched by the nearest centre, at most "
        f"{tolerance_px:.1f} px apart (a quarter of the pitch; median "
        f"{np.median(distance[rows >= 0]):.1f} px)."
    )
    return Match(rows, how, "")


def _count(rows: npt.NDArray[np.int64]) -> str:
    return f"{int((rows >= 0).sum()):,} of {len(rows):,}"


def _by_name(
    names: npt.NDArray[np.str_], others: npt.NDArray[np.str_], sample: str, source: str
) -> npt.NDArray[np.int64]:
    def bare(name: str) -> str:
        for mark in "_-:":
            name = name.removeprefix(f"{sample}{mark}").removesuffix(f"{mark}{sample}")
        return name

    place: dict[str, int] = {}
    for row, name in enumerate(others):
        if place.setdefault(bare(str(name)), row) != row:
            raise DataError(
                f"{source} has the spot '{name}' of {sample} twice.",
                hint="Give each spot one row.",
            )
    return np.array([place.get(bare(str(name)), -1) for name in names], dtype=np.int64)


def _by_place(
    xy_px: npt.NDArray[np.float64], other_px: npt.NDArray[np.float64], tolerance_px: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Pair spots that are each other's nearest, within the tolerance."""
    distance, nearest = cKDTree(other_px).query(xy_px)
    back = cKDTree(xy_px).query(other_px)[1]
    mutual = (back[nearest] == np.arange(len(xy_px))) & (distance <= tolerance_px)
    return np.where(mutual, nearest, -1).astype(np.int64), distance


def _far_apart(
    rows: npt.NDArray[np.int64],
    xy_px: npt.NDArray[np.float64],
    other_px: npt.NDArray[np.float64] | None,
    tolerance_px: float,
    sample: str,
) -> str:
    """Warn where spots of one name lie in different places."""
    if other_px is None:
        return ""
    both = rows >= 0
    apart = float(np.median(np.hypot(*(xy_px[both] - other_px[rows[both]]).T)))
    if apart <= tolerance_px:
        return ""
    return (
        f"{sample}: spots of the same name lie {apart:.0f} px apart (median) in data and "
        "prediction; are both in pixels of the same image, and the names of the same section?"
    )
