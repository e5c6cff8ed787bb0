"""The distance between neighbouring spots in pixels, from their positions.

With the pitch in micrometres that a layout states it gives microns per pixel a second time, so a
wrong resolution is noticed: :func:`pitch_contradicts` is that rule, wherever spots meet a slide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hypergene.slide.resolution import TOLERANCE


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


def pitch_contradicts(pitch_px: float, pitch_um: float, mpp: float, source: str) -> str | None:
    """Say it if the distance of spots and microns per pixel cannot both be right.

    Parameters
    ----------
    pitch_px
        Measured between the centres of neighbours, level-0 px.
    pitch_um
        The same as the platform states it, µm.
    mpp
        µm per level-0 px that is used.
    source
        Who says so.

    Returns
    -------
    str or None
        One sentence without a subject's name; None if they agree to within 5 %
        (:data:`hypergene.slide.resolution.TOLERANCE`).
    """
    implied = pitch_um / pitch_px
    if abs(implied / mpp - 1) <= TOLERANCE:
        return None
    return (
        f"its spots are {pitch_px:.1f} px apart, which at {pitch_um:g} µm is {implied:.3f} µm/px, "
        f"but the mpp given ({source}) is {mpp:g}; the one given is used."
    )
