from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hypergene.pipeline.painted import paint_slide, paint_tissue
from hypergene.slide import find_tissue, open_slide


def test_the_same_seed_paints_the_same_pixels() -> None:
    first = paint_tissue(300, mpp=1.0, seed=3).image
    assert np.array_equal(first, paint_tissue(300, mpp=1.0, seed=3).image)
    assert not np.array_equal(first, paint_tissue(300, mpp=1.0, seed=4).image)


def test_it_is_a_pyramid_that_says_its_resolution(painted_slide: Path) -> None:
    with open_slide(painted_slide) as slide:
        assert slide.dimensions == (1200, 1200)
        assert (slide.mpp.x, slide.mpp.y) == pytest.approx((1.0, 1.0))
        assert [level.width for level in slide.levels] == [1200, 600]


def test_each_level_shows_the_same_picture(painted_slide: Path) -> None:
    with tifffile.TiffFile(painted_slide) as file:
        full, half = (page.asarray().astype(float) for page in file.pages)
    shrunk = full.reshape(600, 2, 600, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - half).mean() < 3


def test_tissue_is_found_and_glass_is_left_out(painted_slide: Path) -> None:
    with open_slide(painted_slide) as slide:
        mask = find_tissue(slide).mask
    assert 0.3 < mask.mean() < 0.8
    height, width = mask.shape
    assert mask[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5].mean() > 0.8
    assert not mask[:3].any()


def test_glass_is_white_and_tissue_has_the_two_colours_of_the_stain() -> None:
    image = paint_tissue(600, mpp=1.0).image.astype(float)
    assert image[:20].mean() > 240
    red, green, blue = np.moveaxis(image[200:400, 200:400], -1, 0)
    assert (green < red).mean() > 0.6, "eosin takes away green first"
    nuclei = red + green + blue < 330
    assert 0.01 < nuclei.mean() < 0.5
    assert blue[nuclei].mean() > red[nuclei].mean(), "haematoxylin is blue"


def test_a_tiny_slide_is_one_level(tmp_path: Path) -> None:
    path = paint_slide(tmp_path / "tiny.tiff", size_px=300, mpp=2.0)
    with tifffile.TiffFile(path) as file:
        assert [page.shape for page in file.pages] == [(300, 300, 3)]


def test_stronger_dyes_are_darker_and_paint_the_same_tissue() -> None:
    pale = paint_tissue(300, mpp=1.0, dyes=(0.8, 0.8))
    dark = paint_tissue(300, mpp=1.0, dyes=(1.2, 1.2))
    assert dark.image.mean() < pale.image.mean() - 5
    assert np.array_equal(dark.tumour, pale.tumour)


def test_nuclei_are_crowded_where_the_tumour_is() -> None:
    painting = paint_tissue(600, mpp=1.0)
    dark = painting.image.sum(axis=2) < 330
    tumour = painting.tumour > 0.9
    stroma = (painting.tissue > 0.9) & (painting.tumour + painting.infiltrate < 0.1)
    assert tumour.mean() > 0.02
    assert dark[tumour].mean() > 2 * dark[stroma].mean()
