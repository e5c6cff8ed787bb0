"""The spots of a slide, drawn over a picture of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hypergene.spots import Layout, Spots

# Okabe and Ito's yellow and sky blue: apart for every kind of colour vision, and neither is a
# colour of H&E. The dark line under them keeps them visible on glass.
_ON_TISSUE = (240, 228, 66)
_OFF_TISSUE = (86, 180, 233)
_CASING = (0, 0, 0)
# Outlines are drawn this much larger and averaged down, which Pillow's circles need to be smooth.
_SUPERSAMPLING = 2
_SMALLEST_OUTLINE_PX = 4.0
"""Spots less wide than this on the picture have no visible inside: their area is tinted instead."""
_TINT = 0.5
_STRIP = 128


class Overlay:
    """A picture of a slide on which spots are drawn, block by block.

    Spots are outlined at their true size; where they are less than 4 px wide on the picture, what
    they cover is tinted instead, so 10 million bins cost no more memory than the picture itself.

    Parameters
    ----------
    picture
        uint8 (h, w, 3), the whole slide, RGB.
    scale
        px of `picture` per level-0 px.
    layout
        Of all spots.
    mpp
        µm per level-0 px along x and y.
    min_tissue
        Spots with less tissue than this are drawn in blue, the others in yellow.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        scale: float,
        layout: Layout,
        mpp: tuple[float, float],
        *,
        min_tissue: float,
    ) -> None:
        self._picture, self._scale, self._min_tissue = picture, scale, min_tissue
        self._layout = layout
        self._size_px = layout.diameter_um / np.asarray(mpp) * scale
        self._tinted = self._size_px.min() < _SMALLEST_OUTLINE_PX
        # 0 = no spot, 1 = spots off the tissue, 2 = one on it.
        self._covered = np.zeros(picture.shape[:2], np.uint8)
        self._canvas = Image.fromarray(picture)
        if not self._tinted:
            larger = (side * _SUPERSAMPLING for side in self._canvas.size)
            self._canvas = self._canvas.resize((next(larger), next(larger)))

    def add(self, spots: Spots, tissue_fraction: NDArray[np.float32]) -> None:
        """Draw spots; `tissue_fraction` is the share (n,) of each one's area on tissue."""
        on_tissue = tissue_fraction >= self._min_tissue
        if self._tinted:
            self._cover(spots.xy_px * self._scale, on_tissue)
        else:
            self._outline(spots.xy_px * self._scale * _SUPERSAMPLING, on_tissue)

    def image(self) -> Image.Image:
        """Return the picture with all that was added, RGB, of its own size."""
        if not self._tinted:
            height, width = self._picture.shape[:2]
            return self._canvas.resize((width, height), Image.Resampling.BOX)
        drawn = self._picture.copy()
        # In strips: floats of the whole picture would be half of what a layout needs.
        for top in range(0, len(drawn), _STRIP):
            strip, covered = drawn[top : top + _STRIP], self._covered[top : top + _STRIP]
            for value, colour in ((1, _OFF_TISSUE), (2, _ON_TISSUE)):
                here = covered == value
                strip[here] = (1 - _TINT) * strip[here] + _TINT * np.array(colour)
        return Image.fromarray(drawn)

    def _cover(self, centres: NDArray[np.float64], on_tissue: NDArray[np.bool_]) -> None:
        """Mark the picture's px that a regular grid of points in each spot falls on."""
        height, width = self._picture.shape[:2]
        count = max(1, math.ceil(self._size_px.max()))
        steps = (np.arange(count) + 0.5) / count - 0.5
        for value, chosen in ((1, ~on_tissue), (2, on_tissue)):
            for x in steps * self._size_px[0]:
                for y in steps * self._size_px[1]:
                    place = np.floor(centres[chosen] + (x, y)).astype(np.int64)
                    column, row = place[:, 0], place[:, 1]
                    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                    row, column = row[inside], column[inside]
                    self._covered[row, column] = np.maximum(self._covered[row, column], value)

    def _outline(self, centres: NDArray[np.float64], on_tissue: NDArray[np.bool_]) -> None:
        brush = ImageDraw.Draw(self._canvas)
        radius = self._size_px / 2 * _SUPERSAMPLING
        width = max(_SUPERSAMPLING, math.ceil(0.1 * radius.min()))
        colours = [_ON_TISSUE if on else _OFF_TISSUE for on in on_tissue.tolist()]
        if self._layout.shape == "square" and self._layout.orientation_deg:
            angle = np.radians(self._layout.orientation_deg + 45 + 90 * np.arange(5))
            corners = math.sqrt(2) * np.column_stack([np.cos(angle), np.sin(angle)]) * radius
            for corner, colour in zip(centres[:, None] + corners, colours, strict=True):
                line = corner.ravel().tolist()
                brush.line(line, fill=_CASING, width=2 * width)
                brush.line(line, fill=colour, width=width)
            return
        outline = brush.rectangle if self._layout.shape == "square" else brush.ellipse
        boxes = np.hstack([centres - radius, centres + radius])
        for box, colour in zip(boxes.tolist(), colours, strict=True):
            outline(box, outline=_CASING, width=2 * width)
            outline(box, outline=colour, width=width)


def draw_overlay(
    picture: NDArray[np.uint8],
    scale: float,
    spots: Spots,
    tissue_fraction: NDArray[np.float32],
    *,
    min_tissue: float,
) -> Image.Image:
    """Draw every spot over a picture of its slide; see :class:`Overlay`.

    Parameters
    ----------
    picture
        uint8 (h, w, 3), the whole slide, RGB.
    scale
        px of `picture` per level-0 px.
    spots
        The n spots to draw.
    tissue_fraction
        float32 (n,), share of each spot's area on tissue.
    min_tissue
        Spots with less tissue than this are drawn in blue, the others in yellow.

    Returns
    -------
    PIL.Image.Image
        RGB, of the size of `picture`.
    """
    overlay = Overlay(picture, scale, spots.layout, spots.mpp, min_tissue=min_tissue)
    overlay.add(spots, tissue_fraction)
    return overlay.image()
