"""A platform's lattice, known by its geometry: where the array says the spots are, there they lie.

What is fitted is the affine map from places on the array to pixels, by least squares over all
spots, so the jitter of single spots averages out: legacy ST is printed askew, and the median
distance to the nearest spot then is too small by several percent.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hypergene.st.pitch import nearest_pitch_px

_FEWEST = 7
"""A spot of a hexagon and its neighbours; fewer could lie like this by chance."""

_VISIUM_ROWS, _VISIUM_COLUMNS = 128, 224
"""Of the largest capture area, 11 mm."""

_STRETCH = 1.03
"""Scanners scale both axes alike, to well within this."""

_JITTER = {"visium": 0.05, "square": 0.15}
"""How far spots may lie off the lattice (root mean square), in pitches."""

_ADJACENT = 1.25
"""In pitches: between the nearest neighbours (1) and a square's diagonal (1.41)."""

_FEWEST_BARE = 12
_PROBES = 2000


def visium_pitch_px(
    array_row: npt.NDArray[np.int32],
    array_col: npt.NDArray[np.int32],
    xy_px: npt.NDArray[np.float64],
) -> float | None:
    """Return the pitch of Visium's hexagonal lattice, if the spots lie on one.

    Visium's ``array_col`` counts half pitches and is even on even rows, odd on odd rows; rows are
    √3/2 of a pitch apart. So the positions must be a rotated, scaled and perhaps mirrored copy of
    ``(array_col / 2, array_row · √3/2)``.

    Parameters
    ----------
    array_row, array_col
        Place on the array, shape (n,); -1 where unknown.
    xy_px
        Centres (x, y), shape (n, 2), in pixels.

    Returns
    -------
    float or None
        Centre to centre in px. None if there are fewer than 7 spots, a place is unknown, twice
        there or beyond the largest array, parities differ, or the positions are elsewhere.
    """
    row, column = array_row.astype(np.int64), array_col.astype(np.int64)
    if not len(row) or row.max() >= _VISIUM_ROWS or column.max() >= _VISIUM_COLUMNS:
        return None
    if len(np.unique((row + column) % 2)) > 1:
        return None
    lattice = np.column_stack([column / 2, row * (np.sqrt(3) / 2)])
    return _pitch_px(row, column, lattice, xy_px, _JITTER["visium"])


def square_lattice_pitch_px(
    array_row: npt.NDArray[np.int32],
    array_col: npt.NDArray[np.int32],
    xy_px: npt.NDArray[np.float64],
) -> float | None:
    """Return the pitch of a square lattice, if the spots lie on one as the array says.

    Parameters
    ----------
    array_row, array_col
        Place on the array, shape (n,), in pitches; -1 where unknown.
    xy_px
        Centres (x, y), shape (n, 2), in pixels.

    Returns
    -------
    float or None
        Centre to centre in px. None if there are fewer than 7 spots, a place is unknown or twice
        there, or the positions are elsewhere.
    """
    row, column = array_row.astype(np.int64), array_col.astype(np.int64)
    lattice = np.column_stack([column, row]).astype(np.float64)
    return _pitch_px(row, column, lattice, xy_px, _JITTER["square"])


def lattice_of(xy_px: npt.NDArray[np.float64]) -> Literal["hexagon", "square"] | None:
    """Tell a hexagonal from a square lattice by how many neighbours a spot has.

    Parameters
    ----------
    xy_px
        Positions (n, 2), any unit and rotation.

    Returns
    -------
    str or None
        ``"hexagon"`` (six neighbours), ``"square"`` (four), or None: too few spots, or neither.
    """
    pitch = nearest_pitch_px(xy_px)
    if pitch is None or len(xy_px) < _FEWEST_BARE:
        return None
    probes = xy_px[:: max(1, len(xy_px) // _PROBES)]
    near = cKDTree(xy_px).query_ball_point(probes, _ADJACENT * pitch, return_length=True) - 1
    # Spots at the edge of the tissue have fewer; the upper quarter is inside it.
    typical = int(np.percentile(near, 75))
    return {6: "hexagon", 4: "square"}.get(typical)  # type: ignore[return-value]


def _pitch_px(
    row: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    lattice: npt.NDArray[np.float64],
    xy_px: npt.NDArray[np.float64],
    jitter: float,
) -> float | None:
    """Fit `lattice` (n, 2), in pitches, to the positions; the pitch is √|det| of the map."""
    if len(row) < _FEWEST or min(row.min(), column.min()) < 0:
        return None
    if len(np.unique(np.column_stack([row, column]), axis=0)) < len(row):
        return None
    lattice = lattice - lattice.mean(axis=0)
    if np.linalg.matrix_rank(lattice) < 2:
        return None
    centred = xy_px - xy_px.mean(axis=0)
    linear, *_ = np.linalg.lstsq(lattice, centred, rcond=None)
    small, large = np.sort(np.linalg.svd(linear, compute_uv=False))
    if small <= 0 or large > _STRETCH * small:
        return None
    pitch = float(np.sqrt(small * large))
    off = np.sqrt(((lattice @ linear - centred) ** 2).sum(axis=1).mean())
    return pitch if off <= jitter * pitch else None
