"""The distance between neighbouring spots in pixels, from their positions.

With the pitch in micrometres that a layout states it gives microns per pixel a second time, so a
wrong resolution is noticed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree


def square_pitch_px(
    array_xy: npt.NDArray[np.int32], xy_px: npt.NDArray[np.float64]
) -> float | None:
    """Estimate the pitch of a square lattice from array coordinates and positions.

    Least squares of ``xy_px = A @ array_xy + b``; the pitch is ``sqrt(|det A|)``, the geometric
    mean of both axes, whatever the rotation. Jitter of single spots averages out.

    Parameters
    ----------
    array_xy
        Array column and row, shape (n, 2).
    xy_px
        Positions in level-0 px, shape (n, 2).

    Returns
    -------
    float or None
        Pitch in px; None if the spots lie on one line or on one point.
    """
    # Whole numbers: rounding of a mean could lift collinear spots off their line.
    if np.linalg.matrix_rank(array_xy - array_xy[0]) < 2:
        return None
    centred = array_xy - array_xy.mean(axis=0)
    linear, *_ = np.linalg.lstsq(centred, xy_px - xy_px.mean(axis=0), rcond=None)
    pitch = float(np.sqrt(abs(np.linalg.det(linear))))
    return pitch if pitch > 0 else None


def nearest_pitch_px(xy_px: npt.NDArray[np.float64]) -> float | None:
    """Estimate the pitch of any lattice as the median distance to the nearest spot.

    Parameters
    ----------
    xy_px
        Positions in level-0 px, shape (n, 2).

    Returns
    -------
    float or None
        Pitch in px; None with fewer than two spots, or if they lie on one point.
    """
    if len(xy_px) < 2:
        return None
    distances, _ = cKDTree(xy_px).query(xy_px, k=2)
    pitch = float(np.median(distances[:, 1]))
    return pitch if pitch > 0 else None
