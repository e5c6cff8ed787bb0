from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hypergene.errors import SlideError
from hypergene.slide import open_slide
from hypergene.slide import slide as slide_module
from hypergene.slide.reader import pyramid


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SlideError, match=r"nothing\.svs does not exist"):
        open_slide(tmp_path / "nothing.svs")


def test_a_directory_is_not_a_slide(tmp_path):
    with pytest.raises(SlideError, match="is a directory"):
        open_slide(tmp_path)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "a.svs").touch()
    with pytest.raises(SlideError, match="is empty"):
        open_slide(tmp_path / "a.svs")


@pytest.mark.parametrize("name", ["a.svs", "a.jpg", "a.tif", "a.txt"])
def test_text_is_not_a_slide_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_text("sample,patient\n1,2\n")
    with pytest.raises(SlideError, match="is not a slide") as caught:
        open_slide(tmp_path / name, mpp=0.5)
    assert "OME-TIFF" in (caught.value.hint or "")


@pytest.mark.skipif(os.name != "posix", reason="needs a named pipe")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.svs")
    with pytest.raises(SlideError, match="is not a file"):
        open_slide(tmp_path / "a.svs")


def test_a_name_with_spaces_accents_and_emoji_opens(save_png, save_pyramid, painted):
    for path in (save_png(painted, "é 🔬 a.png"), save_pyramid(painted, "é 🔬 a.tif")):
        with open_slide(path, mpp=2.0) as slide:
            assert slide.dimensions == (1200, 1000)


def test_outside_the_slide_is_white(save_png, painted):
    with open_slide(save_png(painted), mpp=2.0) as slide:
        corner = slide.read(-10, -20, 30, 40)
        assert (corner[:20] == 255).all() and (corner[:, :10] == 255).all()
        np.testing.assert_array_equal(corner[20:, 10:], painted[:20, :20])
        assert (slide.read(5000, 5000, 8, 8) == 255).all()
        assert (slide.read_um(-5000, 0, 112, 32) == 255).all()


@pytest.fixture(scope="module")
def both(tmp_path_factory, painted):
    """The same picture as PNG and as pyramid."""
    import tifffile

    folder = tmp_path_factory.mktemp("both")
    picture = Image.fromarray(painted)
    picture.save(folder / "a.png")
    with tifffile.TiffWriter(folder / "a.tif") as tif:
        for level in range(3):
            tif.write(np.asarray(picture), subfiletype=int(level > 0), photometric="rgb",
                      tile=(128, 128), compression="deflate", metadata=None)  # fmt: skip
            picture = picture.reduce(2)
    with open_slide(folder / "a.png", mpp=2.0) as png, open_slide(folder / "a.tif", mpp=2.0) as tif:
        yield png, tif


@given(
    x=st.integers(-50, 1250),
    y=st.integers(-50, 1050),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_rectangle_is_the_same_in_both_files(both, painted, x, y, width, height):
    padded = np.pad(painted, ((400, 400), (400, 400), (0, 0)), constant_values=255)
    want = padded[y + 400 : y + 400 + height, x + 400 : x + 400 + width]
    for slide in both:
        np.testing.assert_array_equal(slide.read(x, y, width, height), want)


@given(x=st.floats(0, 1200), y=st.floats(0, 1000), mpp=st.floats(0.4, 3.9))
@settings(max_examples=40, deadline=None)
def test_a_tile_above_the_second_level_is_the_same_in_both_files(both, x, y, mpp):
    png, tif = (slide.read_um(x, y, mpp * 64, 64) for slide in both)
    np.testing.assert_array_equal(png, tif)


@pytest.mark.parametrize("mpp", [4.0, 4.5, 6.0, 8.0, 9.0])
def test_a_tile_from_a_lower_level_is_nearly_the_same(both, mpp):
    assert both[1].level_for(mpp) > 0
    for x, y in [(400, 500), (500.3, 333.3), (700.5, 500.5)]:
        png, tif = (slide.read_um(x, y, mpp * 48, 48).astype(float) for slide in both)
        assert png.std() > 10, "no texture, nothing shown"
        assert np.abs(png - tif).mean() < 4


def test_a_lossy_pyramid_gives_nearly_the_same_tile(save_png, save_pyramid, painted):
    lossy = save_pyramid(painted, compression="jpeg", compressionargs={"level": 95})
    with open_slide(save_png(painted), mpp=2.0) as png, open_slide(lossy) as tif:
        for um in (112.0, 256.0):
            first, second = (s.read_um(450, 500, um, 128).astype(float) for s in (png, tif))
            assert first.std() > 10
            assert np.abs(first - second).mean() < 2


def test_a_tile_is_centred_where_it_was_asked_for(save_png):
    pixels = np.full((200, 200, 3), 255, np.uint8)
    pixels[90:110, 120:140] = 0  # centre (130, 100)
    with open_slide(save_png(pixels), mpp=0.5) as slide:
        for size in (20, 40, 10, 32):
            dark = 255.0 - slide.read_um(130, 100, 20, size)[..., 0]
            at = (np.arange(size) + 0.5) / size - 0.5
            assert abs((dark.sum(0) * at).sum() / dark.sum()) < 1e-3
            assert abs((dark.sum(1) * at).sum() / dark.sum()) < 1e-3
        np.testing.assert_array_equal(slide.read_um(130, 100, 20, 40), pixels[80:120, 110:150])


def test_pixels_that_are_not_square_become_square(tmp_path, save_pyramid):
    y, x = np.mgrid[:300, :600]
    # A disc of 100 µm seen at 0.5 µm/px across and 1 µm/px down: an ellipse in the file.
    disc = np.hypot((x - 300) * 0.5, (y - 150) * 1.0) < 50
    pixels = np.where(disc[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    with open_slide(save_pyramid(pixels, mpp=(0.5, 1.0))) as slide:
        tile = slide.read_um(300, 150, 150, 150)[..., 0] < 128
    assert abs(int(tile.any(0).sum()) - 100) <= 2
    assert abs(int(tile.any(1).sum()) - 100) <= 2


def test_the_level_is_the_coarsest_that_is_fine_enough(save_pyramid, painted):
    with open_slide(save_pyramid(painted)) as slide:  # 2, 4 and 8 µm/px
        asked = {0.5: 0, 2: 0, 3.9: 0, 4: 1, 7.9: 1, 8: 2, 50: 2}
        assert {mpp: slide.level_for(mpp) for mpp in asked} == asked


def test_a_downsample_is_whole_where_a_whole_number_explains_it():
    levels = pyramid([(2220, 2967), (555, 741), (138, 185)])
    assert [level.downsample for level in levels] == [(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)]
    assert pyramid([(1000, 1000), (400, 400)])[1].downsample == (2.5, 2.5)


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged(save_png, painted):
    with open_slide(save_png(painted), mpp=2.0) as slide:
        small, scale = slide.thumbnail(300)
        assert small.shape == (250, 300, 3) and scale == 0.25
        whole, one = slide.thumbnail(5000)
        assert one == 1.0
        np.testing.assert_array_equal(whole, painted)


def test_an_overview_read_block_by_block_is_that_of_the_whole(both, painted, monkeypatch):
    whole = np.asarray(Image.fromarray(painted).resize((333, 277), Image.Resampling.BILINEAR))
    monkeypatch.setattr(slide_module, "BLOCK_PX", 150)
    blocks = both[0].overview(333, 277)
    # Fixed-point weights may round one grey level the other way.
    assert np.abs(blocks.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [(150, 100), (300, 200), (37, 41)])
def test_a_box_at_any_size_is_that_part_of_the_picture(both, painted, monkeypatch, size):
    from hypergene.slide.resample import resample

    monkeypatch.setattr(slide_module, "BLOCK_PX", 64)
    expected = resample(painted, (200.0, 100.0, 500.0, 300.0), size).astype(int)
    for slide in both:
        found = slide.read_box((200.0, 100.0, 500.0, 300.0), size)
        assert found.shape == (size[1], size[0], 3)
        assert np.abs(found.astype(int) - expected).mean() < 3
    np.testing.assert_array_equal(
        both[0].read_box((200.0, 100.0, 500.0, 300.0), (300, 200)), painted[100:300, 200:500]
    )


def test_a_box_beyond_the_slide_is_white_there(both):
    for slide in both:
        found = slide.read_box((1100.0, 900.0, 1300.0, 1100.0), (100, 100))
        assert (found[51:] == 255).all() and (found[:, 51:] == 255).all()
        assert (found[:49, :49] < 255).any()


def test_a_plain_picture_is_decoded_once(save_png, painted, monkeypatch):
    with open_slide(save_png(painted), mpp=2.0) as slide:
        slide.path.unlink()
        with slide.reopen() as again:
            np.testing.assert_array_equal(again.read(0, 0, 1200, 1000), painted)
