from __future__ import annotations

import numpy as np
import pytest
import tifffile
from child import in_child

from hypergene.errors import SlideError
from hypergene.slide import open_slide

LOSSLESS = {"tile": (64, 64), "compression": "deflate"}
#: 0.5 µm/px across and 0.52 µm/px down.
SIZED = {"resolution": (20_000, 1e4 / 0.52), "resolutionunit": "CENTIMETER"}


def whole(path):
    """All px of a file written with :data:`SIZED`."""
    with open_slide(path) as slide:
        assert (slide.mpp.x, slide.mpp.y) == (pytest.approx(0.5), pytest.approx(0.52))
        width, height = slide.dimensions
        return slide.read(0, 0, width, height)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 64)},
        LOSSLESS,
        {"tile": (64, 64), "compression": "lzw", "predictor": True},
        {"tile": (64, 64), "compression": "zstd"},
        {"tile": (64, 96), "compression": "webp", "compressionargs": {"lossless": True}},
        {"tile": (64, 64), "planarconfig": "separate"},
        {"rowsperstrip": 7, "compression": "deflate"},
        {"rowsperstrip": 1000},
        {"bigtiff": True, **LOSSLESS},
        {"byteorder": ">", **LOSSLESS},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_lossless_layout_gives_the_same_pixels(tmp_path, painted, options):
    small = painted[300:530, 400:650]
    stored = np.moveaxis(small, 2, 0) if "planarconfig" in options else small
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **SIZED, **options)
    np.testing.assert_array_equal(whole(tmp_path / "a.tif"), small)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_lossy_tiles_come_out_in_the_right_colours(tmp_path, painted, compression):
    small = painted[300:556, 400:656]
    options = {"tile": (128, 128), "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", small, photometric="rgb", **SIZED, **options)
    assert np.abs(whole(tmp_path / "a.tif").astype(int) - small).mean() < 6


def test_grey_is_spread_over_the_colours(tmp_path, painted):
    grey = painted[:200, :300, 1]
    tifffile.imwrite(tmp_path / "a.tif", grey, **SIZED, **LOSSLESS)
    tifffile.imwrite(tmp_path / "b.tif", 255 - grey, photometric="miniswhite", **SIZED, **LOSSLESS)
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(whole(tmp_path / name), grey[..., None].repeat(3, 2))


def test_alpha_is_laid_over_white_and_other_extra_channels_are_dropped(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    for kind, want in {"unassalpha": 255, "assocalpha": 255, "unspecified": 0}.items():
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind], **SIZED, **LOSSLESS
        )
        assert (whole(tmp_path / "a.tif") == want).all(), kind


def test_an_ome_pyramid_in_subifds_has_its_levels(tmp_path, painted):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        options = {"photometric": "rgb", **LOSSLESS}
        tif.write(painted, subifds=2, metadata={"axes": "YXS", **size}, **options)
        tif.write(painted[::2, ::2], subfiletype=1, **options)
        tif.write(painted[::4, ::4], subfiletype=1, **options)
    with open_slide(path) as slide:
        assert slide.vendor == "ome-tiff" and slide.mpp.x == 0.5
        assert [level.downsample[0] for level in slide.levels] == [1, 2, 4]
        np.testing.assert_array_equal(slide.read(0, 0, 300, 250, level=2), painted[::4, ::4])


def test_a_pyramid_that_has_lost_the_page_of_a_level_is_damaged(tmp_path, painted):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        options = {"photometric": "rgb", **LOSSLESS}
        tif.write(painted, subifds=1, metadata={"axes": "YXS"}, **options)
        tif.write(painted[::2, ::2], subfiletype=1, **options)
    with tifffile.TiffFile(path) as tif:
        (lost,) = tif.pages[0].subifds
    data = bytearray(path.read_bytes())
    data[lost : lost + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(SlideError, match=r"damaged|truncated|cut"):
        open_slide(path, mpp=1.0)


def test_three_channels_kept_apart_are_taken_as_rgb_and_said(tmp_path, painted):
    planes = np.moveaxis(painted[:128, :192], 2, 0)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX"}, **LOSSLESS)
    with open_slide(path, mpp=1.0) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 192, 128), painted[:128, :192])
        assert "red, green and blue" in slide.warnings[0]


def test_a_tile_the_scanner_left_out_is_white(tmp_path, painted):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, painted[:128, :128], photometric="rgb", **SIZED, **LOSSLESS)
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = list(tif.pages[0].databytecounts)
        counts[1] = 0
        tif.pages[0].tags["TileByteCounts"].overwrite(counts)
    pixels = whole(path)
    assert (pixels[:64, 64:] == 255).all()
    np.testing.assert_array_equal(pixels[64:], painted[64:128, :128])


def test_16_bits_a_channel_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint16), photometric="rgb")
    with pytest.raises(SlideError, match="16 bits"):
        open_slide(tmp_path / "a.tif", mpp=1.0)


def test_a_stack_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((5, 64, 64), np.uint8), metadata={"axes": "ZYX"})
    with pytest.raises(SlideError, match="stack"):
        open_slide(path, mpp=1.0)


def test_a_palette_is_refused_with_the_way_out(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    pixels = np.zeros((64, 64), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=colours)
    with pytest.raises(SlideError, match="neither a grey nor an RGB") as caught:
        open_slide(tmp_path / "a.tif", mpp=1.0)
    assert "8-bit RGB" in (caught.value.hint or "")


@pytest.mark.parametrize("compression", ["png", "jpegxl", "jpegxr", "lerc"])
def test_codecs_that_believe_their_own_header_are_refused(tmp_path, painted, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, painted[:64, :64], photometric="rgb", compression=compression)
    with pytest.raises(SlideError, match="compressed in a way") as caught:
        open_slide(path, mpp=1.0)
    assert "vips" in (caught.value.hint or "")


@pytest.mark.parametrize("compression", ["deflate", "zstd", "lzw"])
def test_a_tile_that_unpacks_to_more_than_its_place_takes_no_more_memory(
    tmp_path, painted, compression
):
    import imagecodecs

    codec = {"deflate": "zlib"}.get(compression, compression)
    bomb = getattr(imagecodecs, f"{codec}_encode")(bytes(40 * 2**20))
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "tile": (64, 64), "compression": compression}
    tifffile.imwrite(path, painted[:64, :128], **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        offsets, counts = list(tif.pages[0].dataoffsets), list(tif.pages[0].databytecounts)
        offsets[0], counts[0] = path.stat().st_size, len(bomb)
        tif.pages[0].tags["TileOffsets"].overwrite(offsets)
        tif.pages[0].tags["TileByteCounts"].overwrite(counts)
    with path.open("ab") as file:
        file.write(bomb)

    def outcome():
        with open_slide(path, mpp=1.0) as slide:
            np.testing.assert_array_equal(slide.read(64, 0, 64, 64), painted[:64, 64:128])
            try:
                slide.read(0, 0, 10, 10)
            except SlideError as error:
                return "refused", str(error)
        return "filled", ""

    assert in_child(outcome, seconds=5, memory_mb=30)[0] in ("refused", "filled")


def test_five_channels_are_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    pixels = np.zeros((5, 64, 64), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(SlideError, match="neither a grey nor an RGB"):
        open_slide(path, mpp=1.0)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.8, 0.95])
def test_a_truncated_pyramid_is_damaged(save_pyramid, painted, share):
    path = save_pyramid(painted)
    data = path.read_bytes()
    path.write_bytes(data[: max(20, int(share * len(data)))])
    with pytest.raises(SlideError, match="damaged"):
        open_slide(path)


def test_a_truncated_single_page_is_damaged(save_pyramid, painted):
    path = save_pyramid(painted, levels=1)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.8 * len(data))])
    with pytest.raises(SlideError, match="does not hold all the tiles"):
        open_slide(path)


def test_a_few_lost_tiles_are_said_and_the_rest_is_read(save_pyramid, painted):
    path = save_pyramid(painted, levels=1)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with open_slide(path) as slide:
        assert "1 of 80 tiles" in slide.warnings[0]
        np.testing.assert_array_equal(slide.read(0, 0, 1000, 800), painted[:800, :1000])
        with pytest.raises(SlideError, match="cannot be decoded at x 1152, y 896 px"):
            slide.read(1152, 896, 20, 20)


def test_after_a_tile_that_cannot_be_decoded_the_slide_still_reads(save_pyramid, painted):
    path = save_pyramid(painted)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[12], tif.pages[0].databytecounts[12]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match="cannot be decoded at x 256, y 128 px"):
            slide.read(300, 150, 10, 10)
        np.testing.assert_array_equal(slide.read(500, 500, 64, 64), painted[500:564, 500:564])


def test_only_the_tiles_a_read_touches_are_decoded(save_pyramid, painted):
    with open_slide(save_pyramid(painted)) as slide:
        slide.read(130, 130, 100, 100)
        assert list(slide._reader._tiles._cache._tiles) == [(0, 0, 11, 1)]
        slide.read(200, 130, 100, 100)
        assert list(slide._reader._tiles._cache._tiles) == [(0, 0, 11, 1), (0, 0, 12, 1)]


@pytest.mark.parametrize("name", ["a.tif", "a.svs"])
def test_a_file_that_forgets_where_tiles_lie_is_no_crash(save_pyramid, painted, name):
    about = "Aperio Image Library v11\n1200x1000 (128x128) Q=90|AppMag = 20|MPP = 2.0"
    path = save_pyramid(painted, name, levels=1, description=about if name == "a.svs" else None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = tif.pages[0].databytecounts
        tif.pages[0].tags["TileByteCounts"].overwrite(counts[:5])
    with pytest.raises(SlideError, match=r"damaged|cannot be decoded"), open_slide(path) as slide:
        slide.read(0, 0, 1200, 1000)
