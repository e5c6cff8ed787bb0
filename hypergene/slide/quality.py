"""How well each spot can be seen: focus, ink, saturation and brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypergene.slide.ink import glass_colour, ink_grades
from hypergene.slide.slide import Slide
from hypergene.slide.tiles import read_tiles

#: Everything is measured at this resolution, µm/px, so that spots of two slides can be compared.
QUALITY_MPP = 1.0

#: A spot is looked at in a square of its diameter, but of no less than this, in µm: a bin of 2 µm
#: has too few px to have a focus.
LEAST_UM = 32.0

#: A spot is flagged where ink covers at least this share of its square.
PEN_SHARE = 0.1

_GLASS_PX = 1024
# Weights of red, green and blue in grey: ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class SpotQuality:
    """How well n spots can be seen; NaN, and no pen, where a spot cannot be read.

    Attributes
    ----------
    focus
        float32 (n,), variance of the Laplacian of grey, in grey levels² (0..255) at 1 µm/px; the
        higher the sharper, and near 0 for glass, which has nothing to be sharp. It depends on the
        tissue, so compare spots of like tissue.
    pen
        bool (n,), whether ink or black covers at least a tenth of the spot.
    saturation
        float32 (n,), mean of (max - min) / max over the channels, 0..1 (0 = grey).
    brightness
        float32 (n,), mean of grey, 0 (black) to 1 (white).
    """

    focus: NDArray[np.float32]
    pen: NDArray[np.bool_]
    saturation: NDArray[np.float32]
    brightness: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[np.float32] | NDArray[np.bool_]]:
        """Return the columns of ``obs`` by their names."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def measure_quality(
    slide: Slide, xy_px: ArrayLike, diameter_um: float, *, workers: int = 2
) -> SpotQuality:
    """Measure how well spots can be seen.

    The pixels are read in a pass of their own, at 1 µm/px, in file order.

    Parameters
    ----------
    slide
        The slide; it stays open.
    xy_px
        Spot centres (n, 2) in level-0 px, x first.
    diameter_um
        Diameter or side of the spots in µm.
    workers
        Threads that read.

    Raises
    ------
    SlideError
        If more than 5 % of the spots cannot be read.

    References
    ----------
    J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study",
    ICPR 2000, vol. 3, 314-317 (the variance of the Laplacian).
    """
    n = len(np.asarray(xy_px).reshape(-1, 2))
    focus, saturation, brightness = (np.full(n, np.nan, np.float32) for _ in range(3))
    pen = np.zeros(n, np.bool_)
    glass = glass_colour(slide.thumbnail(_GLASS_PX)[0])
    width_um = max(diameter_um, LEAST_UM)
    unreadable: list[int] = []
    for rows, tiles in read_tiles(
        slide,
        xy_px,
        width_um=width_um,
        size_px=round(width_um / QUALITY_MPP),
        workers=workers,
        unreadable=unreadable,
    ):
        grey = tiles @ _LUMA
        focus[rows] = _focus(grey)
        brightness[rows] = grey.mean(axis=(1, 2)) / 255
        high = tiles.max(axis=-1).astype(np.float32)
        spread = high - tiles.min(axis=-1)
        saturation[rows] = (spread / np.maximum(high, 1)).mean(axis=(1, 2))
        grades = ink_grades(tiles.reshape(-1, *tiles.shape[2:]), glass).reshape(grey.shape)
        pen[rows] = (grades == 2).mean(axis=(1, 2)) >= PEN_SHARE
    for values in (focus, saturation, brightness):
        values[unreadable] = np.nan
    pen[unreadable] = False
    return SpotQuality(focus, pen, saturation, brightness)


def _focus(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Variance of the Laplacian of each of (b, h, w), away from the edges."""
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    result: NDArray[np.float32] = (around - 4 * inner).var(axis=(1, 2))
    return result
