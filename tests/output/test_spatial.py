"""The tissue image behind the spots."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.output import spatial_uns


class PaintedSlide:
    """A slide with a dark square whose place is known, and a count of how often it was read."""

    def __init__(self, width: int = 8000, height: int = 6000) -> None:
        self.dimensions = (width, height)
        self.reads = 0

    def thumbnail(self, max_px: int) -> tuple[np.ndarray, float]:
        self.reads += 1
        scale = min(1.0, max_px / max(self.dimensions))
        width, height = (round(side * scale) for side in self.dimensions)
        image = np.full((height, width, 3), 255, np.uint8)
        image[
            round(0.5 * height) : round(0.6 * height), round(0.2 * width) : round(0.3 * width)
        ] = 0
        return image, scale


def darkest(image: np.ndarray, scale: float) -> tuple[float, float]:
    """Centre (x, y) of the dark square in level-0 px."""
    rows, columns = np.nonzero(image[..., 0] < 128)
    return (columns.mean() + 0.5) / scale, (rows.mean() + 0.5) / scale


def test_it_has_the_keys_that_squidpy_reads():
    spatial = spatial_uns(PaintedSlide(), "slide-1", 220)
    assert list(spatial) == ["slide-1"]
    assert set(spatial["slide-1"]) == {"images", "scalefactors", "metadata"}
    assert set(spatial["slide-1"]["scalefactors"]) == {
        "tissue_hires_scalef",
        "tissue_lowres_scalef",
        "spot_diameter_fullres",
    }
    assert spatial["slide-1"]["scalefactors"]["spot_diameter_fullres"] == 220.0
    assert [key for key in spatial["slide-1"]["images"] if "hires" in key] == ["hires"]


@pytest.mark.parametrize(("width", "height"), [(8000, 6000), (6000, 8000), (7001, 4999)])
@pytest.mark.parametrize("resolution", ["hires", "lowres"])
def test_a_place_times_the_scale_factor_is_the_place_on_the_image(width, height, resolution):
    slide = spatial_uns(PaintedSlide(width, height), "s", 1)["s"]
    image = slide["images"][resolution]
    assert image.dtype == np.uint8
    assert max(image.shape[:2]) == {"hires": 2000, "lowres": 600}[resolution]
    x, y = darkest(image, slide["scalefactors"][f"tissue_{resolution}_scalef"])
    assert x == pytest.approx(0.25 * width, abs=0.002 * width)
    assert y == pytest.approx(0.55 * height, abs=0.002 * height)


def test_a_small_slide_is_not_enlarged():
    slide = spatial_uns(PaintedSlide(300, 200), "s", 1)["s"]
    assert slide["images"]["hires"].shape == slide["images"]["lowres"].shape == (200, 300, 3)
    assert slide["scalefactors"]["tissue_hires_scalef"] == 1.0
    assert slide["scalefactors"]["tissue_lowres_scalef"] == 1.0


def test_the_slide_is_read_once():
    slide = PaintedSlide()
    spatial_uns(slide, "s", 1)
    assert slide.reads == 1


def test_the_metadata_tell_the_full_size():
    assert spatial_uns(PaintedSlide(), "s", 1)["s"]["metadata"] == {
        "fullres_width_px": 8000,
        "fullres_height_px": 6000,
    }
