from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from child import in_child
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
    with pytest.raises(SlideError, match="is damaged"):
        open_slide(path, mpp=2.0)


def resized(data, width, height):
    """A PNG or JPEG whose header claims another size than its pixels have."""
    if data.startswith(b"\x89PNG"):
        header = data[12:16] + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize(
    ("suffix", "width", "height"),
    [
        ("png", 2**31 - 1, 2**31 - 1),
        ("png", 2**31 - 1, 1),
        ("png", 20_000, 20_000),
        ("jpg", 65_500, 65_500),
        ("jpg", 20_000, 20_000),
    ],
)
def test_a_picture_that_claims_more_than_its_file_can_hold_takes_no_memory(
    tmp_path, painted, suffix, width, height
):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(painted[:99, :99]).save(path)
    path.write_bytes(resized(path.read_bytes(), width, height))

    def outcome():
        with pytest.raises(SlideError, match=f"{width} x {height} px, more than") as caught:
            open_slide(path, mpp=0.5)
        return "refused", str(caught.value)

    assert in_child(outcome, seconds=5, memory_mb=100)[0] == "refused"


def test_the_densest_pictures_are_no_bombs(tmp_path):
    for mode, suffix in (("1", "png"), ("L", "png"), ("RGB", "png"), ("RGB", "jpg")):
        path = tmp_path / f"{mode}.{suffix}"
        options = {"quality": 1, "optimize": True} if suffix == "jpg" else {"compress_level": 9}
        Image.new(mode, (1500, 1500)).save(path, **options)
        with open_slide(path, mpp=0.5) as slide:
            assert (slide.read(0, 0, 1500, 1500) < 2).all(), path


def test_a_png_with_a_bomb_beside_its_pixels_is_refused_in_little_memory(tmp_path, painted):
    path = tmp_path / "a.png"
    Image.fromarray(painted[:99, :99]).save(path)
    data = path.read_bytes()
    chunk = b"zTXtComment\0\0" + zlib.compress(bytes(60 * 2**20), 1)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:33] + chunk + data[33:])

    def outcome():
        with pytest.raises(SlideError, match="cannot be decoded"):
            open_slide(path, mpp=0.5)
        return "refused", ""

    assert in_child(outcome, seconds=5, memory_mb=40)[0] == "refused"


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
