"""Visium's lattice, known by its geometry: where the array says the spots are, there they lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FEWEST = 7
"""A spot and its six neighbours; fewer could lie like this by chance."""

_ROWS, _COLUMNS = 128, 224
"""Of the largest capture area, 11 mm."""

_STRETCH = 1.03
"""Scanners scale both axes alike, to well within this."""

_JITTER = 0.05
"""How far spots may lie off the lattice (root mean square), in pitches; positions are rounded."""


def visium_pitch_px(
    array_row: npt.NDArray[np.int32],
    array_col: npt.NDArray[np.int32],
    xy_px: npt.NDArray[np.float64],
) -> float | None:
    """Return the pitch of Visium's hexagonal lattice, if the spots lie on one.

    Visium's ``array_col`` counts half pitches and is even on even rows, odd on odd rows; rows are
    √3/2 of a pitch apart. So the positions must be a rotated, scaled and perhaps mirrored copy of
    ``(array_col / 2, array_row · √3/2)``. The copy is fitted by least squares, as an affine map;
    the pitch is the square root of its determinant.

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
    if len(row) < _FEWEST or min(row.min(), column.min()) < 0:
        return None
    if row.max() >= _ROWS or column.max() >= _COLUMNS or len(set((row + column) % 2)) != 1:
        return None
    if len(np.unique(row * _COLUMNS + column)) < len(row):
        return None
    lattice = np.column_stack([column / 2, row * (np.sqrt(3) / 2)])
    lattice -= lattice.mean(axis=0)
    if np.linalg.matrix_rank(lattice) < 2:
        return None
    centred = xy_px - xy_px.mean(axis=0)
    linear, *_ = np.linalg.lstsq(lattice, centred, rcond=None)
    small, large = np.sort(np.linalg.svd(linear, compute_uv=False))
    if small <= 0 or large > _STRETCH * small:
        return None
    pitch = float(np.sqrt(small * large))
    off = np.sqrt(((lattice @ linear - centred) ** 2).sum(axis=1).mean())
    return pitch if off <= _JITTER * pitch else None
