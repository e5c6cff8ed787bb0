"""Every format named in the documentation, opened from a file as its writers make it."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from slide import scanners

from hypergene.errors import SlideError
from hypergene.slide import find_tissue, open_slide


@pytest.fixture(scope="module")
def small(painted):
    """(230, 250) px: no side is a multiple of a tile's."""
    return painted[300:530, 400:650]


def shown(slide):
    return slide.read(0, 0, *slide.dimensions)


def differ(first, second):
    assert second.std() > 10, "no texture, nothing shown"
    return np.abs(first.astype(int) - second).mean()


@pytest.mark.parametrize("compression", ["aperio_jp2000_rgb", "jpeg", "lzw", None])
def test_an_aperio_svs_with_any_tiles(tmp_path, small, compression):
    with open_slide(scanners.aperio(tmp_path / "a.svs", small, 0.5, compression)) as slide:
        assert (slide.vendor, slide.dimensions) == ("aperio", (250, 230))
        assert slide.mpp.x == slide.mpp.y == 0.5
        assert differ(shown(slide), small) < 6


def test_a_philips_tiff(tmp_path, small):
    with open_slide(scanners.philips(tmp_path / "a.tiff", small, 0.25)) as slide:
        assert (slide.vendor, slide.dimensions) == ("philips", (250, 230))
        assert slide.mpp.x == pytest.approx(0.25)
        assert differ(shown(slide), small) < 6


@pytest.mark.parametrize(
    ("write", "name", "vendor"),
    [
        (scanners.hamamatsu_ndpi, "a.ndpi", "hamamatsu"),
        (scanners.trestle, "a.tif", "trestle"),
    ],
)
def test_scanners_that_know_both_axes(tmp_path, small, write, name, vendor):
    with open_slide(write(tmp_path / name, small, (0.5, 0.52))) as slide:
        assert (slide.vendor, slide.dimensions) == (vendor, (250, 230))
        assert (slide.mpp.x, slide.mpp.y) == (pytest.approx(0.5), pytest.approx(0.52))
        assert slide.mpp.source == "openslide.mpp-x"
        assert slide.warnings == []
        assert differ(shown(slide), small) < 6


def test_a_leica_scn_is_white_where_nothing_was_scanned(tmp_path, small):
    with open_slide(scanners.leica(tmp_path / "a.scn", small, 0.5)) as slide:
        assert (slide.vendor, slide.dimensions) == ("leica", (500, 460))
        assert slide.mpp.x == slide.mpp.y == pytest.approx(0.5)
        pixels = shown(slide)
        assert differ(pixels[:230, :250], small) < 6
        assert (pixels[230:] == 255).all() and (pixels[:, 250:] == 255).all()


@pytest.fixture(scope="module")
def square(painted):
    """(256, 256) px: whole tiles, the only ones that some scanners write."""
    return np.ascontiguousarray(painted[300:556, 400:656])


def test_a_hamamatsu_vms(tmp_path, square):
    with open_slide(scanners.hamamatsu_vms(tmp_path / "a.vms", square, (0.5, 0.52))) as slide:
        assert (slide.vendor, slide.dimensions) == ("hamamatsu", (256, 256))
        assert (slide.mpp.x, slide.mpp.y) == (pytest.approx(0.5), pytest.approx(0.52))
        assert differ(shown(slide), square) < 6


def test_a_scan_without_the_files_that_belong_to_it_is_said(tmp_path, square):
    path = scanners.hamamatsu_vms(tmp_path / "a.vms", square, (0.5, 0.5))
    (tmp_path / "whole.jpg").unlink()
    with pytest.raises(SlideError, match=r"OpenSlide cannot open it .*whole\.jpg") as caught:
        open_slide(path)
    assert "beside it" in (caught.value.hint or "")


def test_a_ventana_bif(tmp_path, square):
    with open_slide(scanners.ventana(tmp_path / "a.bif", square, 0.5)) as slide:
        assert (slide.vendor, slide.dimensions) == ("ventana", (256, 256))
        assert slide.mpp.x == slide.mpp.y == 0.5
        assert differ(shown(slide), square) < 6


def test_a_dicom_slide_with_its_pixel_spacing_on_both_axes(tmp_path, small):
    pytest.importorskip("pydicom")
    with open_slide(scanners.dicom(tmp_path, small, (0.5, 0.52))) as slide:
        assert (slide.vendor, slide.dimensions) == ("dicom", (250, 230))
        assert (slide.mpp.x, slide.mpp.y) == (pytest.approx(0.5), pytest.approx(0.52))
        assert differ(shown(slide), small) < 6


@pytest.mark.parametrize(
    ("subsampling", "stored"),
    [((1, 1), "rgb"), ((1, 1), "ycbcr"), ((2, 1), "ycbcr"), ((2, 2), "ycbcr")],
)
def test_jpeg_tiles_in_either_colour_space(tmp_path, small, subsampling, stored):
    tifffile.imwrite(
        tmp_path / "a.tif",
        small,
        photometric="rgb",
        subsampling=subsampling,
        compression="jpeg",
        compressionargs={"level": 90, "outcolorspace": stored},
        tile=(128, 128),
    )
    with open_slide(tmp_path / "a.tif", mpp=1.0) as slide:
        assert differ(shown(slide), small) < 6


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        ((20_000, 20_000), "CENTIMETER", (0.5, 0.5)),
        (((50_800_000, 1000), (25_400_000, 1000)), "INCH", (0.5, 1.0)),
        (((1_000_000, 25), (1_000_000, 26)), "CENTIMETER", (0.25, 0.26)),
    ],
)
def test_a_rational_resolution_has_numerator_denominator_and_unit(
    tmp_path, small, resolution, unit, mpp
):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, small, photometric="rgb", resolution=resolution, resolutionunit=unit)
    with open_slide(path) as slide:
        assert (slide.mpp.x, slide.mpp.y) == pytest.approx(mpp)


@pytest.mark.parametrize(("size", "unit"), [(0.5, "µm"), (500.0, "nm"), (0.0005, "mm")])
def test_an_ome_tiff_says_its_size_in_its_unit(tmp_path, small, size, unit):
    about = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    about |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, small, photometric="rgb", metadata=about, tile=(64, 64), bigtiff=True)
    with open_slide(path) as slide:
        assert slide.mpp.x == pytest.approx(0.5)
        np.testing.assert_array_equal(shown(slide), small)


@pytest.mark.parametrize("name", ["a b.svs", "Größe ñ 日本.svs", "🔬💥.svs", "100% #1 'a'.svs"])
def test_no_name_is_too_odd_for_any_reader(tmp_path, small, name):
    written = [scanners.aperio(tmp_path / name, small, 0.5, "jpeg")]
    for suffix in (".png", ".jpg"):
        written.append((tmp_path / name).with_suffix(suffix))
        Image.fromarray(small).save(written[-1])
    tifffile.imwrite(tmp_path / f"{name}.tif", small, photometric="rgb", tile=(64, 64))
    for path in (*written, tmp_path / f"{name}.tif"):
        with open_slide(path, mpp=0.5) as slide:
            assert slide.dimensions == (250, 230)


def test_jpegs_of_grey_and_of_printers_ink_become_rgb(tmp_path, small):
    for mode in ("L", "CMYK"):
        picture = Image.fromarray(small).convert(mode)
        picture.save(tmp_path / "a.jpg", quality=95)
        with open_slide(tmp_path / "a.jpg", mpp=1.0) as slide:
            assert differ(shown(slide), np.asarray(picture.convert("RGB"))) < 6


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_more_than_8_bits_are_refused_with_the_way_out(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), dtype), photometric="rgb")
    with pytest.raises(SlideError, match="bits a channel") as caught:
        open_slide(tmp_path / "a.tif", mpp=1.0)
    assert "8-bit" in (caught.value.hint or "")


# Damage that the fuzzer (tests/fuzz_slides.py) found, or that it cannot make.


def test_tiles_beyond_the_end_are_never_given_to_openslide(tmp_path, painted):
    path = scanners.aperio(tmp_path / "a.svs", painted, 2.0, "jpeg")
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = list(tif.pages[0].databytecounts)
        counts[12] = 2**31 - 1  # tile (2, 1): GLib would end the process for want of 2 GB
        tif.pages[0].tags["TileByteCounts"].overwrite(counts)
    with open_slide(path) as slide:
        assert "1 of 80 tiles" in slide.warnings[0]
        with pytest.raises(SlideError, match="beyond the end"):
            slide.read(250, 120, 20, 20)
        assert differ(slide.read(384, 256, 300, 300), painted[256:556, 384:684]) < 6
        overview = slide.overview(600, 500)
        assert (overview[70:120, 134:186] == 255).all(), "what is lost is white"
        assert find_tissue(slide).mask.any(), "one bad tile does not lose the mask"


@pytest.mark.parametrize("side", [2**31 - 1, 10**6])
@pytest.mark.parametrize("suffix", ["svs", "tif"])
def test_absurd_dimensions_are_damage(tmp_path, small, side, suffix):
    path = scanners.aperio(tmp_path / f"a.{suffix}", small, 0.5, "jpeg")
    with tifffile.TiffFile(path, mode="r+") as tif:
        if suffix == "tif":
            tif.pages[0].tags["ImageDescription"].overwrite("no vendor")
        for name in ("ImageWidth", "ImageLength"):
            tif.pages[0].tags[name].overwrite(side, dtype="I")
    with pytest.raises(SlideError, match="damaged"):
        open_slide(path, mpp=0.5)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_a_tile_that_claims_to_be_larger_than_its_place_is_not_decoded(
    tmp_path, small, compression
):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, small, photometric="rgb", tile=(64, 64), compression=compression)
    encode = {"jpeg": "jpeg8", "jpeg2000": "jpeg2k"}.get(compression, compression)
    encoded = getattr(imagecodecs, f"{encode}_encode")(np.zeros((400, 500, 3), np.uint8))
    with tifffile.TiffFile(path, mode="r+") as tif:
        offsets, counts = list(tif.pages[0].dataoffsets), list(tif.pages[0].databytecounts)
        offsets[0], counts[0] = path.stat().st_size, len(encoded)
        tif.pages[0].tags["TileOffsets"].overwrite(offsets)
        tif.pages[0].tags["TileByteCounts"].overwrite(counts)
    with path.open("ab") as file:
        file.write(encoded)
    with open_slide(path, mpp=1.0) as slide:
        with pytest.raises(SlideError, match="claims to be 500 x 400 px"):
            slide.read(0, 0, 10, 10)
        assert differ(slide.read(64, 64, 64, 64), small[64:128, 64:128]) < 6


def test_an_ndpi_whose_jpeg_claims_more_than_its_page_never_reaches_openslide(tmp_path, small):
    path = scanners.hamamatsu_ndpi(tmp_path / "a.ndpi", small, (0.5, 0.5))
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xdc\xff\xdc"  # OpenSlide would allocate a strip of 1 GB, or abort
    path.write_bytes(data)
    with pytest.raises(SlideError, match="larger than its page"):
        open_slide(path)
