"""The tissue image that scanpy and squidpy draw behind the spots."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image


class HasThumbnail(Protocol):
    """Anything that can show itself small; every :class:`hypergene.slide.Slide` can."""

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) in level-0 px."""

    def thumbnail(self, max_px: int) -> tuple[npt.NDArray[np.uint8], float]:
        """Return uint8 (h, w, 3) of at most ``max_px`` a side, and its px per level-0 px."""


def spatial_uns(
    slide: HasThumbnail,
    library_id: str,
    spot_diameter_fullres_px: float,
    *,
    hires_px: int = 2000,
    lowres_px: int = 600,
) -> dict[str, Any]:
    """Return ``uns["spatial"]`` in the form of Space Ranger, scanpy and squidpy.

    Parameters
    ----------
    slide
        What the thumbnails are taken from, once.
    library_id
        Key of the slide, its name as a rule.
    spot_diameter_fullres_px
        Diameter (or side) of a spot in level-0 px.
    hires_px, lowres_px
        Longer side of the two images, px; less if the slide is smaller.

    Returns
    -------
    dict
        ``{library_id: {"images": {"hires", "lowres"}, "scalefactors": {"tissue_hires_scalef",
        "tissue_lowres_scalef", "spot_diameter_fullres"}, "metadata": {"fullres_width_px",
        "fullres_height_px"}}}``. Images are uint8 (h, w, 3); ``obsm["spatial"]`` times a scale
        factor is a place on the image of that name. Only one image key contains "hires", since
        readers search for that word.
    """
    hires, hires_scale = slide.thumbnail(hires_px)
    lowres, shrink = _shrunk(hires, lowres_px)
    width, height = slide.dimensions
    return {
        library_id: {
            "images": {"hires": hires, "lowres": lowres},
            "scalefactors": {
                "tissue_hires_scalef": float(hires_scale),
                "tissue_lowres_scalef": float(hires_scale * shrink),
                "spot_diameter_fullres": float(spot_diameter_fullres_px),
            },
            "metadata": {"fullres_width_px": int(width), "fullres_height_px": int(height)},
        }
    }


def _shrunk(image: npt.NDArray[np.uint8], max_px: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Return an image of at most ``max_px`` a side by area averaging, and its scale (<= 1)."""
    height, width = image.shape[:2]
    scale = min(1.0, max_px / max(height, width))
    if scale == 1.0:
        return image, scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)), scale
