from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hypergene.errors import SlideError
from hypergene.slide import image_reader, open_slide


def test_a_jpeg_is_read_as_pillow_reads_it(tmp_path, painted):
    path = tmp_path / "a.jpeg"
    Image.fromarray(painted).save(path, quality=90)
    with open_slide(path, mpp=2.0) as slide:
        assert slide.vendor == "jpeg" and slide.warnings == []
        np.testing.assert_array_equal(slide.read(0, 0, 1200, 1000), np.asarray(Image.open(path)))


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB"])
def test_any_8_bit_picture_becomes_rgb(tmp_path, painted, mode):
    path = tmp_path / "a.png"
    picture = Image.fromarray(painted).convert(mode)
    picture.save(path)
    with open_slide(path, mpp=2.0) as slide:
        want = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(slide.read(0, 0, 1200, 1000), want)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white(tmp_path, mode):
    pixels = np.zeros((30, 20, 4), np.uint8)
    pixels[:, :, 3] = 255
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 51
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=1.0) as slide:
        rows = slide.read(0, 0, 20, 30)[:, 0]
    assert (rows[:10] == 255).all() and (rows[10:20] == 204).all() and (rows[20:] == 0).all()


@pytest.mark.parametrize("colour", [False, True])
def test_16_bits_a_channel_are_refused(tmp_path, colour):
    import imagecodecs

    shape = (20, 20, 3) if colour else (20, 20)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.full(shape, 40_000, np.uint16)))
    with pytest.raises(SlideError, match="16 bits"):
        open_slide(path, mpp=1.0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_truncated_picture_is_damaged(tmp_path, painted, suffix, share):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(painted).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: max(20, int(share * len(data)))])
    with pytest.raises(SlideError, match="damaged or truncated"):
        open_slide(path, mpp=2.0)


def test_a_picture_too_large_to_decode_is_refused_before_decoding(tmp_path, monkeypatch):
    Image.new("L", (3000, 2000)).save(tmp_path / "a.png")
    monkeypatch.setattr(image_reader, "MAX_PIECE_BYTES", 3000 * 2000 * 3 - 1)
    monkeypatch.setattr(image_reader, "_decode", pytest.fail)
    with pytest.raises(SlideError, match="3000 x 2000 px, too large"):
        open_slide(tmp_path / "a.png", mpp=1.0)


def test_a_picture_beyond_pillows_own_limit_is_decoded(tmp_path, monkeypatch):
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with open_slide(tmp_path / "a.png", mpp=1.0) as slide:
        assert slide.dimensions == (300, 200)


def test_a_turned_picture_is_used_as_stored_and_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    with open_slide(tmp_path / "a.jpg", mpp=1.0) as slide:
        assert slide.dimensions == (40, 20)
        assert "EXIF" in slide.warnings[0]
