from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from hypergene.slide import measure_quality, open_slide

#: On the tissue, and on glass, of the painted slide; level-0 px.
PLACES = np.array([(500.0, 520.0), (420.0, 500.0), (1000.0, 200.0)])


def measured(path, mpp=2.0, places=PLACES, diameter_um=110.0, **options):
    with open_slide(path, mpp=mpp) as slide:
        return measure_quality(slide, places, diameter_um, **options)


def test_tissue_is_sharper_darker_and_more_coloured_than_glass(save_png, painted):
    quality = measured(save_png(painted))
    for values in (quality.focus, quality.saturation, quality.brightness):
        assert values.shape == (3,) and values.dtype == np.float32
    assert quality.focus[:2].min() > 10 * quality.focus[2]
    assert quality.saturation[:2].min() > 0.2 > 0.05 > quality.saturation[2]
    assert quality.brightness[2] == pytest.approx(242.5 / 255, abs=0.005)
    assert quality.brightness[:2].max() < 0.8
    assert quality.pen.dtype == bool and not quality.pen.any()


def test_blur_lowers_the_focus_and_little_else(save_png, painted):
    sharp = measured(save_png(painted))
    blurred = Image.fromarray(painted).filter(ImageFilter.GaussianBlur(4))
    quality = measured(save_png(np.asarray(blurred), "blurred.png"))
    assert (quality.focus[:2] < 0.2 * sharp.focus[:2]).all()
    np.testing.assert_allclose(quality.brightness, sharp.brightness, atol=0.02)


def test_the_numbers_are_known_of_a_plain_picture(save_png):
    pixels = np.full((300, 300, 3), (200, 100, 100), np.uint8)
    quality = measured(save_png(pixels), mpp=1.0, places=[(150, 150)], diameter_um=50)
    assert quality.focus == 0
    assert quality.saturation == pytest.approx(0.5)
    assert quality.brightness == pytest.approx((0.299 * 200 + 0.701 * 100) / 255)
    # Columns in turn 100 and 110: the Laplacian is 20 in one and -20 in the next.
    striped = np.full((300, 300, 3), 100, np.uint8)
    striped[:, 1::2] = 110
    quality = measured(save_png(striped, "striped.png"), 1.0, [(150, 150)], 50)
    assert quality.focus == pytest.approx(400, rel=1e-3)


@pytest.mark.parametrize("colour", [(30, 140, 70), (35, 65, 175), (30, 30, 30), (205, 30, 45)])
def test_a_spot_is_flagged_where_ink_covers_a_tenth(save_png, painted, colour):
    pixels = painted.copy()
    pixels[150:250, 995:1100] = colour
    places = [(1000, 200), (500, 520), (1027, 200), (968, 200)]
    pen = measured(save_png(pixels), places=places, diameter_um=110.0).pen
    np.testing.assert_array_equal(pen, [True, False, True, False])


def test_resolution_of_the_file_changes_little(save_png, painted):
    region = painted[400:640, 380:620]
    fine = np.asarray(Image.fromarray(region).resize((960, 960), Image.Resampling.BICUBIC))
    quality = measured(save_png(fine), mpp=0.5, places=[(480, 480)])
    expected = measured(save_png(region, "coarse.png"), places=[(120, 120)])
    np.testing.assert_allclose(quality.focus, expected.focus, rtol=0.5)
    np.testing.assert_allclose(quality.brightness, expected.brightness, atol=0.02)


def test_threads_change_nothing(save_png, painted):
    path = save_png(painted)
    alone = measured(path, workers=0)
    for name, values in measured(path, workers=2).columns().items():
        np.testing.assert_array_equal(values, alone.columns()[name])


def test_bins_of_2_um_are_looked_at_in_32_um(save_png, painted):
    small = measured(save_png(painted), diameter_um=2.0)
    same = measured(save_png(painted), diameter_um=32.0)
    np.testing.assert_array_equal(small.focus, same.focus)


def test_a_spot_that_cannot_be_read_is_nan(save_pyramid, painted):
    path = save_pyramid(painted, levels=1, compression="jpeg")
    places = np.stack(np.meshgrid(np.arange(64, 1200, 32), np.arange(64, 1000, 32)), -1)
    places = places.reshape(-1, 2).astype(float)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
    quality = measured(path, None, places, 32.0)
    lost = np.isnan(quality.focus)
    assert 0 < lost.sum() < 30
    assert (places[lost] < 128 + 32).all()
    np.testing.assert_array_equal(np.isnan(quality.brightness), lost)
    assert not quality.pen.any()


def test_no_spots_have_no_quality(save_png, painted):
    assert measured(save_png(painted), places=np.empty((0, 2))).focus.shape == (0,)
