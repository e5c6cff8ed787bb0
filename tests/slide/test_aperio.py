"""Tiles of an Aperio SVS decoded without OpenSlide have OpenSlide's pixels."""

from __future__ import annotations

import numpy as np
import openslide
import pytest
import tifffile
from slide import scanners

from hypergene.errors import SlideError
from hypergene.slide import open_slide, read_tiles
from hypergene.slide.openslide_reader import OpenSlideReader


def by_openslide(path, x, y, width, height):
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((x, y), 0, (width, height)).convert("RGB"))


def directly(path, x, y, width, height):
    reader = OpenSlideReader(path, "aperio")
    try:
        return reader._tiles.read(0, x, y, width, height)
    finally:
        reader.close()


def grey_levels_apart(first, second):
    return np.abs(first.astype(int) - second).max()


def save(path, pixels, **options):
    height, width = pixels.shape[:2]
    about = f"Aperio Image Library v11\n{width}x{height} (128x128)|MPP = 0.5"
    options = {"photometric": "rgb", "tile": (128, 128)} | options
    tifffile.imwrite(path, pixels, description=about, metadata=None, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg", "compressionargs": {"level": 80, "outcolorspace": stored}}
        | {"subsampling": subsampling}
        for stored, subsampling in [
            ("rgb", (1, 1)), ("ycbcr", (1, 1)), ("ycbcr", (2, 1)), ("ycbcr", (2, 2))
        ]
    ]
    + [{"compression": c} for c in ("aperio_jp2000_rgb", "lzw", "deflate", None)]
    + [{"compression": "lzw", "predictor": True}],
    ids=str,
)  # fmt: skip
def test_whatever_its_tiles_are(tmp_path, painted, options):
    path = save(tmp_path / "a.svs", painted[300:730, 400:850], **options)
    assert by_openslide(path, 0, 0, 450, 430).std() > 10, "no texture, nothing shown"
    for box in [(0, 0, 450, 430), (100, 120, 50, 40), (127, 255, 2, 2), (384, 384, 66, 46)]:
        assert grey_levels_apart(directly(path, *box), by_openslide(path, *box)) <= 2


def test_of_a_real_slide(shared_data):
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    box = 900, 1900, 1320, 1067
    assert by_openslide(path, *box).std() > 10, "no texture, nothing shown"
    assert grey_levels_apart(directly(path, *box), by_openslide(path, *box)) <= 2


def test_a_slide_read_directly_never_asks_openslide_for_pixels(tmp_path, painted, monkeypatch):
    path = scanners.aperio(tmp_path / "a.svs", painted, 0.5, "jpeg")
    monkeypatch.setattr(openslide.OpenSlide, "read_region", None)
    with open_slide(path) as slide:
        assert slide.read(0, 0, 300, 300).std() > 1


@pytest.mark.parametrize("missing", [False, True])
def test_what_is_in_doubt_is_left_to_openslide(tmp_path, painted, missing):
    compression = "jpeg" if missing else "aperio_jp2000_ycbc"
    path = tmp_path / "a.svs"
    if missing:
        scanners.aperio(path, painted[:300, :300], 0.5, compression)
        with tifffile.TiffFile(path, mode="r+") as tif:
            counts = [0, *tif.pages[0].databytecounts[1:]]
            tif.pages[0].tags["TileByteCounts"].overwrite(counts)
    else:
        scanners.aperio(path, painted[:300, :300], 0.5, "aperio_jp2000_rgb")
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags["Compression"].overwrite(33003)
    reader = OpenSlideReader(path, "aperio")
    assert 0 not in reader._tiles and reader.shrinks(0) == (1,)
    pixels = reader.read(0, 0, 0, 300, 300)
    np.testing.assert_array_equal(pixels[130:], by_openslide(path, 0, 130, 300, 170))
    assert not missing or (pixels[:128, :128] == 255).all()
    reader.close()


def broken(path, page_tile=12):
    """Zeros in the middle of one tile, where libjpeg would warn and go on in grey."""
    with tifffile.TiffFile(path) as tif:
        offset, count = (table[page_tile] for table in (
            tif.pages[0].dataoffsets, tif.pages[0].databytecounts
        ))  # fmt: skip
    data = bytearray(path.read_bytes())
    data[offset + count // 2 : offset + count // 2 + 300] = bytes(300)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.svs", "a.tif"])
def test_half_a_tile_is_no_tile(tmp_path, painted, name):
    path = scanners.aperio(tmp_path / name, painted, 2.0, "jpeg")
    if name == "a.tif":
        tifffile.tiffcomment(path, "no vendor")
    broken(path)
    with open_slide(path, mpp=2.0) as slide:
        with pytest.raises(SlideError, match="cannot be decoded at x"):
            slide.read(250, 150, 50, 50)
        unreadable: list[int] = []
        xy = np.stack(np.meshgrid(np.arange(32, 1200, 64), np.arange(32, 1000, 64)), -1)
        xy = xy.reshape(-1, 2)
        for _ in read_tiles(slide, xy, width_um=100, size_px=50, unreadable=unreadable):
            pass
        assert sorted(map(tuple, xy[unreadable])) == [
            (x, y) for x in (288, 352) for y in (160, 224)
        ]


@pytest.mark.parametrize("name", ["a.svs", "a.tif"])
@pytest.mark.parametrize("factor", [4.0, 5.3, 9.0])
def test_a_far_coarser_tile_is_nearly_that_of_all_the_pixels(tmp_path, painted, name, factor):
    path = scanners.aperio(tmp_path / name, painted, 1.0, "jpeg")
    if name == "a.tif":
        tifffile.tiffcomment(path, "no vendor")
    with open_slide(path, mpp=1.0) as slide:
        asked = []
        read = slide._reader.read

        def noted(*place):
            asked.append(place[-1])
            return read(*place)

        slide._reader.read = noted
        small = slide.read_um(600.3, 500.1, factor * 100, 100)
        slide._reader.shrinks = lambda level: (1,)
        full = slide.read_um(600.3, 500.1, factor * 100, 100)
    assert asked == [2 if factor < 8 else 4, 1]
    assert full.std() > 5
    assert np.abs(small.astype(int) - full).mean() < 1


def test_twice_as_coarse_is_filtered_from_all_the_pixels(tmp_path, painted):
    path = scanners.aperio(tmp_path / "a.svs", painted, 1.0, "jpeg")
    with open_slide(path) as slide:
        assert [slide._shrink_for(0, mpp) for mpp in (0.5, 1, 2, 3.9, 4, 7.9, 8, 16)] == [
            1, 1, 1, 1, 2, 2, 4, 4
        ]  # fmt: skip


def test_what_openslide_must_read_is_made_as_small(tmp_path, painted, monkeypatch):
    path = scanners.aperio(tmp_path / "a.svs", painted, 1.0, "jpeg")
    reader = OpenSlideReader(path, "aperio")
    box = 0, 10, 20, 301, 203
    want = reader.read(*box, 2)
    monkeypatch.setattr(reader._tiles, "_tile", lambda *_: (_ for _ in ()).throw(SlideError("")))
    found = reader.read(*box, 2)
    assert found.shape == want.shape == (203, 301, 3)
    assert np.abs(found.astype(int) - want).mean() < 2
    reader.close()


@pytest.mark.parametrize("ending", [b"", b"\0\0\xff\xd9", b"\xff\xd9\0\0"])
def test_how_a_jpeg_ends_does_not_matter(tmp_path, painted, ending):
    path = scanners.aperio(tmp_path / "a.tif", painted[400:528, 400:528], 2.0, "jpeg")
    tifffile.tiffcomment(path, "no vendor")
    with open_slide(path, mpp=2.0) as slide:
        want = slide.read(0, 0, 128, 128)
    with tifffile.TiffFile(path, mode="r+") as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
        tile = path.read_bytes()[offset : offset + count]
        assert tile.endswith(b"\xff\xd9")
        tile = tile[:-2] + ending
        tif.pages[0].tags["TileOffsets"].overwrite([path.stat().st_size])
        tif.pages[0].tags["TileByteCounts"].overwrite([len(tile)])
    with path.open("ab") as file:
        file.write(tile)
    with open_slide(path, mpp=2.0) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 128, 128), want)
