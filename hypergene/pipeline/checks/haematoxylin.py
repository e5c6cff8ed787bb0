"""How much haematoxylin lies under a spot: where cells are crowded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hypergene.slide import Slide

_OVERVIEW_MPP = 8.0
_MOST_PX = 16_000_000
_STRIP = 512

Place = Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]]
"""From positions, float (n, 2) level-0 px, to what is there, (n,)."""


def haematoxylin_under(
    slide: Slide, diameter_um: float, shape: Literal["circle", "square"]
) -> Place:
    """Unmix the slide's dyes, to look up haematoxylin under spots.

    Parameters
    ----------
    slide
        An open slide; read once, at about 8 µm/px.
    diameter_um
        Diameter of a spot, or side of a square, µm.
    shape
        Its shape.

    Returns
    -------
    callable
        From positions, float (n, 2) level-0 px, to the mean dye over a square of the spot's area,
        float (n,); 0 where the centre is outside the slide.

    References
    ----------
    A. C. Ruifrok, D. A. Johnston, Quantification of histochemical staining by color deconvolution,
    Analytical and Quantitative Cytology and Histology 23, 291-299, 2001.
    """
    from skimage.color import rgb2hed

    full = np.array(slide.dimensions, np.float64)
    mpp = np.array([slide.mpp.x, slide.mpp.y])
    size = full * np.minimum(1.0, mpp / _OVERVIEW_MPP)
    size /= max(1.0, math.sqrt(size.prod() / _MOST_PX))
    width, height = (max(1, round(side)) for side in size)
    overview = slide.overview(width, height)
    dye = np.empty((height, width), np.float32)
    for top in range(0, height, _STRIP):
        dye[top : top + _STRIP] = rgb2hed(overview[top : top + _STRIP])[..., 0]
    scale = full / (width, height)
    side_um = diameter_um * (math.sqrt(math.pi) / 2 if shape == "circle" else 1.0)
    across, down = (max(1, round(side)) for side in side_um / mpp / scale)
    dye = ndimage.uniform_filter(dye, (down, across), mode="nearest")

    def under(xy_px: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        column, row = np.floor(xy_px / scale).astype(np.int64).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return np.where(inside, dye[np.where(inside, row, 0), np.where(inside, column, 0)], 0.0)

    return under
