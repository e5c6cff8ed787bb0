"""The spots of a slide, drawn over a picture of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hypergene.spots import Spots

# Okabe and Ito's yellow and sky blue: apart for every kind of colour vision, and neither is a
# colour of H&E. The dark line under them keeps them visible on glass.
_ON_TISSUE = (240, 228, 66)
_OFF_TISSUE = (86, 180, 233)
_CASING = (0, 0, 0)
# Outlines are drawn this much larger and averaged down, which Pillow's circles need to be smooth.
_SUPERSAMPLING = 2


def draw_overlay(
    picture: NDArray[np.uint8],
    scale: float,
    spots: Spots,
    tissue_fraction: NDArray[np.float32],
    *,
    min_tissue: float,
) -> Image.Image:
    """Draw the outline of every spot, at its true size, over a picture of its slide.

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
    image = Image.fromarray(picture)
    canvas = image.resize((image.width * _SUPERSAMPLING, image.height * _SUPERSAMPLING))
    brush = ImageDraw.Draw(canvas)
    outline = brush.rectangle if spots.layout.shape == "square" else brush.ellipse
    centres = spots.xy_px * scale * _SUPERSAMPLING
    radius = spots.layout.diameter_um / 2 / np.asarray(spots.mpp) * scale * _SUPERSAMPLING
    width = max(_SUPERSAMPLING, math.ceil(0.1 * radius.min()))
    boxes = np.hstack([centres - radius, centres + radius])
    for box, on_tissue in zip(boxes.tolist(), tissue_fraction >= min_tissue, strict=True):
        outline(box, outline=_CASING, width=2 * width)
        outline(box, outline=_ON_TISSUE if on_tissue else _OFF_TISSUE, width=width)
    return canvas.resize(image.size, Image.Resampling.BOX)
