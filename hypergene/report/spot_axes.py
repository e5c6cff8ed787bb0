"""Spots of their true size over the tissue, as many as there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import Collection, EllipseCollection, PolyCollection
from numpy.typing import NDArray

_ROUND_UM = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""Lengths of scale bars that people can read off at a glance."""
_VECTORS_AT_MOST = 5_000
"""Beyond as many spots, PDF and SVG hold them as a picture: viewers choke on more paths."""
_PALE = 0.55
"""How much of the stain is shown under spots, whose dark colours are as purple as it is."""


@dataclass(frozen=True, eq=False)
class SpotAxes:
    """Where the spots of a slide lie, and what is behind them.

    Attributes
    ----------
    xy_px
        float64 (n, 2), centres in level-0 px.
    diameter_px
        Diameter of a circle, or side of a square, level-0 px.
    square
        Whether spots are squares.
    orientation_deg
        By how much squares are turned, degrees, clockwise.
    picture
        uint8 (h, w, 3), the whole slide; None = spots are drawn alone.
    scale
        px of the picture per level-0 px.
    mpp
        µm per level-0 px along x; None = unknown, and no scale bar is drawn.
    """

    xy_px: NDArray[np.float64]
    diameter_px: float
    square: bool
    orientation_deg: float
    picture: NDArray[np.uint8] | None
    scale: float
    mpp: float | None

    @classmethod
    def of(cls, adata: AnnData, *, background: bool) -> SpotAxes:
        """Take all of it from a prediction, with the slide's picture if `background`."""
        library = next(iter(adata.uns["spatial"].values()))
        factors, about = library["scalefactors"], adata.uns.get("hypergene", {})
        layout, mpp = _mapping(about.get("layout")), _mapping(about.get("mpp"))
        return cls(
            np.asarray(adata.obsm["spatial"], dtype=np.float64),
            float(factors["spot_diameter_fullres"]),
            layout.get("shape") == "square",
            float(layout.get("orientation_deg", 0.0)),
            library["images"]["hires"] if background else None,
            float(factors["tissue_hires_scalef"]),
            float(mpp["x"]) if "x" in mpp else None,
        )

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is shown: the spots, level-0 px."""
        left, top = self.xy_px.min(axis=0) - self.diameter_px
        right, bottom = self.xy_px.max(axis=0) + self.diameter_px
        return float(left), float(top), float(right), float(bottom)

    @property
    def tallness(self) -> float:
        """Height of the window over its width."""
        left, top, right, bottom = self.window
        return (bottom - top) / (right - left)

    def draw(self, axes: Axes, **colours: Any) -> Collection:
        """Draw the picture if there is one, the spots, the frame and a scale bar.

        Parameters
        ----------
        axes
            Empty.
        **colours
            Of the spots, as matplotlib's collections take them: ``array`` with ``cmap``, or
            ``facecolors``.
        """
        if self.picture is not None:
            height, width = self.picture.shape[:2]
            pale = np.rint(255 - _PALE * (255.0 - self.picture)).astype(np.uint8)
            axes.imshow(pale, extent=(0, width / self.scale, height / self.scale, 0))
        spots = self._spots(axes, linewidths=0, **colours)
        spots.set_rasterized(len(self.xy_px) > _VECTORS_AT_MOST)
        # Its extent is known, and finding it out anew takes longer than drawing.
        spots.set_in_layout(False)
        axes.add_collection(spots, autolim=False)
        left, top, right, bottom = self.window
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)  # rows of an image run downwards
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if self.mpp is not None:
            _scale_bar(axes, (right - left) * self.mpp)
        return spots

    def _spots(self, axes: Axes, **colours: Any) -> Collection:
        if not self.square:
            size = np.full(len(self.xy_px), self.diameter_px)
            return EllipseCollection(
                size, size, np.zeros(len(size)), units="xy", offsets=self.xy_px,
                offset_transform=axes.transData, **colours,
            )  # fmt: skip
        angle = np.radians(self.orientation_deg + 45 + 90 * np.arange(4))
        corners = np.column_stack([np.cos(angle), np.sin(angle)]) * self.diameter_px / math.sqrt(2)
        # Smoothed edges would show as lines of background between squares that touch.
        outlines: Any = self.xy_px[:, None] + corners
        return PolyCollection(outlines, antialiaseds=False, closed=True, **colours)


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _scale_bar(axes: Axes, width_um: float) -> None:
    """Draw a bar of a round number of µm under the spots."""
    length_um = max([um for um in _ROUND_UM if um <= width_um / 4], default=_ROUND_UM[0])
    start, share = 0.02, length_um / width_um
    axes.plot(
        [start, start + share], [-0.02, -0.02], transform=axes.transAxes, color="black",
        linewidth=2, solid_capstyle="butt", clip_on=False,
    )  # fmt: skip
    label = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um} µm"
    axes.text(
        start + share / 2, -0.035, label, transform=axes.transAxes, ha="center", va="top",
        fontsize=8,
    )  # fmt: skip
