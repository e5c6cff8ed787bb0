from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from hypergene.errors import TissueError
from hypergene.slide import Mpp, TissueMask, find_tissue, load_tissue, open_slide, whole_slide
from hypergene.slide.tissue import MAX_MASK_PX, mask_size


def found(save_png, pixels, mpp=2.0):
    with open_slide(save_png(np.clip(pixels, 0, 255).round().astype(np.uint8)), mpp=mpp) as slide:
        return find_tissue(slide)


def overlap(mask: TissueMask, disc: np.ndarray) -> float:
    """Intersection over union with where the tissue was painted."""
    height, width = mask.mask.shape
    small = np.asarray(Image.fromarray(disc).resize((width, height)))
    return float((mask.mask & small).sum() / (mask.mask | small).sum())


def test_the_painted_tissue_is_found_at_8_um(save_png, painted, tissue_disc):
    mask = found(save_png, painted)
    assert mask.mask.shape == (250, 300) and mask.scale == (4.0, 4.0) and mask.source == "auto"
    assert overlap(mask, tissue_disc) > 0.95


@pytest.mark.parametrize("fade", [0.5, 0.25, 0.15])
def test_a_pale_slide_keeps_its_tissue(save_png, painted, tissue_disc, fade):
    noise = np.random.default_rng(0).normal(0, 1, painted.shape)
    mask = found(save_png, 255 - fade * (255.0 - painted) + noise)
    assert overlap(mask, tissue_disc) > 0.9


@pytest.mark.parametrize("light", [0.5, 0.25, 0.12])
def test_a_dark_slide_keeps_its_tissue(save_png, painted, tissue_disc, light):
    noise = np.random.default_rng(0).normal(0, 1, painted.shape)
    assert overlap(found(save_png, light * painted + noise), tissue_disc) > 0.9


def test_a_grey_slide_keeps_its_tissue(save_png, painted, tissue_disc):
    assert overlap(found(save_png, painted[..., 1]), tissue_disc) > 0.95


def test_a_slide_without_glass_is_all_tissue(save_png, painted):
    inside = painted[400:640, 380:620]
    assert found(save_png, inside).mask.all()
    assert found(save_png, 0.4 * inside).mask.all()


def test_a_slide_without_tissue_has_an_empty_mask(save_png, painted):
    assert not found(save_png, painted[:200]).mask.any()
    assert not found(save_png, 0.2 * painted[:200]).mask.any()
    for level in (0, 255):
        assert not found(save_png, np.full((300, 300, 3), level)).mask.any()


def test_a_dot_grid_and_pink_haze_are_glass(save_png, painted, tissue_disc):
    y, x = np.mgrid[:1000, :1200]
    dots = np.hypot(x % 100 - 50, y % 100 - 50) < 25
    haze = np.exp(-((np.hypot(x - 900, y - 500) / 250) ** 2))
    glass = np.array([225.0, 215.0, 230.0]) - 6 * ndimage.gaussian_filter(dots * 1.0, 5)[..., None]
    glass = glass - haze[..., None] * np.array([0.0, 45.0, 15.0])
    pixels = painted * glass / 255
    assert overlap(found(save_png, pixels), tissue_disc) > 0.95
    assert not found(save_png, glass).mask.any()


def test_smooth_tissue_counts_as_tissue(save_png, painted, tissue_disc):
    pixels = painted.copy()
    y, x = np.mgrid[:1000, :1200]
    pool = np.hypot(x - 500, y - 520) < 120  # a pool of blood, larger than any hole that is filled
    pixels[pool] = (170, 60, 90)
    assert overlap(found(save_png, pixels), tissue_disc) > 0.95


def test_specks_go_and_small_holes_are_filled(save_png, painted, tissue_disc):
    pixels = painted.copy()
    y, x = np.mgrid[:1000, :1200]
    pixels[np.hypot(x - 1000, y - 200) < 20] = (90, 60, 120)  # 80 µm of dust
    pixels[np.hypot(x - 500, y - 520) < 25] = 243  # a hole of 100 µm
    mask = found(save_png, pixels).mask
    assert not mask[:, 225:].any()
    assert mask[125:136, 120:131].all()


def test_a_large_hole_stays_open(save_png, painted):
    pixels = painted.copy()
    y, x = np.mgrid[:1000, :1200]
    pixels[np.hypot(x - 500, y - 520) < 120] = 243
    assert not found(save_png, pixels).mask[120:140, 115:135].any()


def test_white_and_black_frames_are_not_tissue(save_png, painted, tissue_disc):
    for value in (0, 255):
        framed = np.pad(painted, ((300, 300), (300, 300), (0, 0)), constant_values=value)
        disc = np.pad(tissue_disc, 300)
        assert overlap(found(save_png, framed), disc) > 0.93


def test_the_mask_is_that_of_the_pyramid_too(save_png, save_pyramid, painted):
    with open_slide(save_pyramid(painted)) as slide:
        pyramid = find_tissue(slide).mask
    plain = found(save_png, painted).mask
    assert (plain & pyramid).sum() / (plain | pyramid).sum() > 0.98


def test_a_mask_is_never_finer_than_the_slide(save_png, painted):
    assert found(save_png, painted[::5, ::5], mpp=10.0).mask.shape == (200, 240)


@pytest.mark.parametrize("section", ["B/B4", "C/C3", "C/C6"])
def test_spots_of_a_real_section_are_on_tissue_and_its_glass_is_not(shared_data, section):
    (path,) = (shared_data / "her2st" / "ST-imgs" / section).glob("*.jpg")
    name = section.split("/")[1]
    table = shared_data / "her2st" / "ST-spotfiles" / f"{name}_selection.tsv"
    with table.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["selected"] == "1"]
    spots = np.array([(float(row["pixel_x"]), float(row["pixel_y"])) for row in rows])
    with open_slide(path, mpp=0.69) as slide:
        mask = find_tissue(slide)
        width, height = slide.dimensions
        mpp = slide.mpp
    assert len(spots) > 150
    assert (mask.fraction(spots, 100, mpp) >= 0.25).mean() >= 0.99
    grid = np.stack(np.meshgrid(np.arange(145, width, 290), np.arange(145, height, 290)), -1)
    grid = grid.reshape(-1, 2).astype(float)
    far = grid[cKDTree(spots).query(grid)[0] * 0.69 > 250]
    assert len(far) > 500
    assert (mask.fraction(far, 100, mpp) >= 0.25).mean() <= 0.005
    assert 0.15 < mask.mask.mean() < 0.3


def test_the_tissue_of_a_real_svs_is_found(shared_data):
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        mask = find_tissue(slide)
        middle, glass = mask.fraction([(1100, 1800), (400, 1500)], 55, slide.mpp)
    assert middle == 1 and glass == 0
    assert 0.38 < mask.mask.mean() < 0.48


def half_plane() -> TissueMask:
    mask = np.zeros((100, 100), bool)
    mask[:, :50] = True
    return TissueMask(mask, (10.0, 10.0), "auto")  # tissue where x < 500 px


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_a_fraction_is_the_share_of_the_area(shape):
    mpp = Mpp(0.5, 0.5, "--mpp")
    mask = half_plane()
    x = np.array([[100, 500], [450, 500], [500, 500], [525, 500], [600, 500]], float)
    fraction = mask.fraction(x, 50, mpp, shape)  # 100 px across
    assert fraction.dtype == np.float32
    quarter = 0.25 if shape == "square" else 0.1955  # circle cut at half its radius
    np.testing.assert_allclose(fraction, [1, 1, 0.5, quarter, 0], atol=0.04)


def test_outside_the_slide_there_is_no_tissue():
    fraction = half_plane().fraction([(0, 500), (0, 0), (-500, 500)], 50, Mpp(0.5, 0.5, "x"))
    np.testing.assert_allclose(fraction, [0.5, 0.25, 0], atol=0.04)


def test_a_spot_smaller_than_a_px_of_the_mask_is_in_or_out():
    fraction = half_plane().fraction([(495, 500), (505, 500)], 2, Mpp(0.5, 0.5, "x"), "square")
    np.testing.assert_array_equal(fraction, [1, 0])


def test_no_spots_have_no_fractions():
    assert half_plane().fraction(np.empty((0, 2)), 50, Mpp(0.5, 0.5, "x")).shape == (0,)


@given(st.integers(0, 2**32 - 1), st.floats(1, 300), st.sampled_from(["circle", "square"]))
def test_knowing_what_lies_around_changes_no_fraction(seed, diameter, shape):
    rng = np.random.default_rng(seed)
    patches = ndimage.gaussian_filter(rng.normal(size=(50, 61)), 6) > 0
    mask = TissueMask(patches, (7.0, 9.0), "x")
    xy = rng.uniform(-100, 600, (30, 2))
    side = np.array([diameter / 0.5, diameter / 0.6])
    count = int(np.clip(np.ceil(2 * (side / mask.scale).max()), 2, 32))
    at = (np.arange(count) + 0.5) / count - 0.5
    points = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    if shape == "circle":
        points = points[np.hypot(*points.T) <= 0.5]
    column, row = np.moveaxis(np.floor((xy[:, None] + points * side) / mask.scale), 2, 0)
    inside = (column >= 0) & (column < 61) & (row >= 0) & (row < 50)
    hit = patches[np.clip(row, 0, 49).astype(int), np.clip(column, 0, 60).astype(int)] & inside
    fraction = mask.fraction(xy, diameter, Mpp(0.5, 0.6, "x"), shape)
    np.testing.assert_array_equal(fraction, hit.mean(axis=1).astype(np.float32))


def test_the_whole_slide_counts_with_none(save_png, painted):
    with open_slide(save_png(painted), mpp=2.0) as slide:
        mask = whole_slide(slide)
        assert mask.source == "none"
        np.testing.assert_allclose(mask.fraction([(600, 500), (0, 500)], 100, slide.mpp), [1, 0.5])


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_drawn_mask_fits_at_any_scale(tmp_path, save_png, painted, tissue_disc, name, step):
    drawn = np.where(tissue_disc[::step, ::step], 1, 0).astype(np.uint8)
    path = tmp_path / name
    tifffile.imwrite(path, drawn) if name.endswith("tif") else Image.fromarray(drawn).save(path)
    with open_slide(save_png(painted), mpp=2.0) as slide:
        mask = load_tissue(path, slide)
        assert mask.source == str(path)
        np.testing.assert_allclose(mask.fraction([(500, 520), (1000, 200)], 100, slide.mpp), [1, 0])


def test_colour_and_bilevel_masks_are_tissue_where_not_black(tmp_path, save_png, painted):
    drawn = np.zeros((100, 120, 3), np.uint8)
    drawn[:, :60] = (0, 0, 200)
    Image.fromarray(drawn).save(tmp_path / "colour.png")
    Image.fromarray(drawn[..., 2]).convert("1", dither=0).save(tmp_path / "bilevel.png")
    with open_slide(save_png(painted), mpp=2.0) as slide:
        for name in ("colour.png", "bilevel.png"):
            mask = load_tissue(tmp_path / name, slide).mask
            assert mask[:, :60].all() and not mask[:, 60:].any()


def test_a_mask_of_another_shape_is_refused(tmp_path, save_png, painted):
    Image.new("L", (100, 100), 1).save(tmp_path / "mask.png")
    with (
        open_slide(save_png(painted), mpp=2.0) as slide,
        pytest.raises(TissueError, match="not the same shape"),
    ):
        load_tissue(tmp_path / "mask.png", slide)


@pytest.mark.parametrize("name", ["none.png", "text.png", "text.tif", "lossy.png", "stack.tif"])
def test_a_mask_that_is_no_picture_is_refused(tmp_path, save_png, painted, name):
    (tmp_path / "text.png").write_text("mask")
    (tmp_path / "text.tif").write_text("mask")
    Image.new("L", (120, 100)).save(tmp_path / "lossy.png", format="JPEG")
    stack = np.zeros((2, 3, 100, 120), np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with (
        open_slide(save_png(painted), mpp=2.0) as slide,
        pytest.raises(TissueError, match=f"tissue mask .*{name}"),
    ):
        load_tissue(tmp_path / name, slide)


@given(side=st.integers(1_000, 2**30), mpp=st.sampled_from([0.1, 0.25, 0.5, 2.0]))
def test_a_mask_is_8_um_a_px_or_of_bounded_size(side, mpp):
    slide = SimpleNamespace(dimensions=(side, side), mpp=Mpp(mpp, mpp, "test"))
    (width, height), scale = mask_size(slide)
    assert width * height <= 1.001 * MAX_MASK_PX
    assert width * scale[0] == pytest.approx(side)
    if side * mpp <= 32_000:
        assert scale[0] * mpp == pytest.approx(8.0, abs=8.0 / width)
    else:
        assert width * height >= 0.999 * MAX_MASK_PX
