from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from hypergene.slide import find_tissue, open_slide
from hypergene.slide.ink import find_ink, glass_colour, ink_grades

#: What a stroke lets through of red, green and blue light, as grey levels.
PENS = {"black": (35, 35, 38), "green": (30, 140, 70), "blue": (35, 65, 175), "red": (205, 30, 45)}
GLASS = np.full(3, 255, np.float32)


def drawn_over(pixels: np.ndarray, pen: str, points: list[tuple[int, int]], width: int):
    """A stroke of see-through ink over a slide, and where it is."""
    sheet = Image.new("L", pixels.shape[1::-1])
    ImageDraw.Draw(sheet).line(points, fill=255, width=width, joint="curve")
    stroke = np.asarray(sheet) / 255
    through = ((np.array(PENS[pen]) + 1) / 256) ** stroke[..., None]
    return np.rint(pixels * through).astype(np.uint8), stroke > 0.5


@pytest.mark.parametrize("pen", PENS)
def test_a_pen_is_ink_and_stain_is_none(pen):
    stains = np.array([[(90, 60, 140), (230, 140, 190), (245, 244, 246), (150, 40, 90)]], np.uint8)
    assert not ink_grades(stains, GLASS).any()
    assert (ink_grades(np.array([[PENS[pen]]], np.uint8), GLASS) == 2).all()


def test_glass_is_the_brightest_tenth_whatever_frames_it(painted):
    framed = np.pad(painted, ((800, 800), (0, 0), (0, 0)))
    assert glass_colour(painted) == pytest.approx([244, 243, 245], abs=2)
    assert glass_colour(framed) == pytest.approx([244, 243, 245], abs=2)
    assert (glass_colour(np.zeros((5, 5, 3), np.uint8)) == 255).all()


def test_the_faint_rim_of_a_black_stroke_is_ink_only_beside_the_dark():
    pixels = np.full((20, 40, 3), 255, np.uint8)
    pixels[5:10, 5:10], pixels[5:10, 10:12], pixels[5:10, 30:32] = 30, 150, 150
    ink = find_ink(pixels, GLASS)
    assert ink[5:10, 5:12].all() and ink.sum() == 5 * 7


@pytest.mark.parametrize("pen", PENS)
def test_a_thick_pen_on_glass_is_no_tissue(save_png, painted, pen):
    marked, stroke = drawn_over(painted, pen, [(60, 60), (1100, 100)], 60)
    with open_slide(save_png(painted), mpp=2.0) as slide:
        clean = find_tissue(slide).mask
    with open_slide(save_png(marked, "marked.png"), mpp=2.0) as slide:
        mask = find_tissue(slide).mask
    assert not mask[stroke[::4, ::4]].any()
    assert (mask ^ clean).sum() < 0.01 * clean.sum()


def test_a_black_patch_is_no_tissue_and_changes_no_other(save_png, painted):
    patched = painted.copy()
    patched[700:950, 850:1150] = 0
    patched[450:600, 450:600] = 0
    with open_slide(save_png(painted), mpp=2.0) as slide:
        clean = find_tissue(slide).mask
    with open_slide(save_png(patched, "patched.png"), mpp=2.0) as slide:
        mask = find_tissue(slide).mask
    black = (patched == 0).all(axis=2)[::4, ::4]
    assert not (mask & black).any()
    around = ndimage.binary_dilation(black, iterations=8)
    assert (mask ^ clean)[~around].sum() < 0.03 * clean.sum()


@pytest.mark.parametrize("pen", PENS)
def test_a_pen_on_a_real_slide_leaves_its_tissue(shared_data, save_png, pen):
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        clean = find_tissue(slide)
        pixels = slide.overview(*(round(side * 0.499 / 4) for side in slide.dimensions))
    # On glass, left of the tissue, 100 µm wide and 600 µm long.
    marked, stroke = drawn_over(pixels, pen, [(15, 175), (15, 325)], 25)
    with open_slide(save_png(marked), mpp=4.0) as slide:
        mask = find_tissue(slide)
    where = np.asarray(Image.fromarray(stroke).resize(mask.mask.shape[::-1]))
    assert (mask.mask & where).sum() < 0.02 * where.sum()
    assert np.abs(mask.mask.mean() - clean.mask.mean()) < 0.02


def test_h_and_e_of_real_slides_is_no_ink(shared_data):
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        pixels, _ = slide.thumbnail(400)
    assert find_ink(pixels, glass_colour(pixels)).mean() < 1e-3
