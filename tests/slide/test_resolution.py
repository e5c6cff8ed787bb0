from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import ResolutionError
from hypergene.slide import Mpp, open_slide
from hypergene.slide.resolution import (
    choose,
    from_imagej,
    from_ome,
    from_text,
    from_tiff,
    given_mpp,
)


@given(
    st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), st.sampled_from([(2, 25400), (3, 1e4)])
)
def test_a_tiff_rational_has_a_numerator_and_a_denominator(numerator, denominator, unit):
    mpp = from_tiff((numerator, denominator), (2 * numerator, denominator), unit[0])
    assert mpp is not None
    assert math.isclose(mpp.x, unit[1] * denominator / numerator)
    assert math.isclose(mpp.y, mpp.x / 2)


def test_a_tiff_ratio_without_unit_is_no_resolution():
    assert from_tiff((20_000, 1), (20_000, 1), 1) is None
    assert from_tiff((20_000, 0), (20_000, 0), 3) is None
    assert from_tiff(None, None, 3) is None


@pytest.mark.parametrize(
    ("size", "unit"),
    [("0.5", None), ("0.5", "µm"), ("500", "nm"), ("0.0005", "mm"), ("5e-5", "cm"), ("5e-7", "m")],
)
def test_an_ome_size_is_read_in_its_unit(size, unit):
    mpp = from_ome(size, size, unit, unit)
    assert mpp is not None
    assert math.isclose(mpp.x, 0.5) and math.isclose(mpp.y, 0.5)


def test_an_ome_size_in_pixels_is_no_resolution():
    assert from_ome("1", "1", "pixel", "pixel") is None


def test_text_that_is_no_positive_number_is_no_resolution():
    assert from_text("0,499", None, "aperio.MPP") == Mpp(0.499, 0.499, "aperio.MPP")
    for text in ("", "0", "-0.5", "nan", "inf", "unknown", ".", "1e"):
        assert from_text(text, None, "aperio.MPP") is None, text


@pytest.mark.parametrize("value", [0, -0.5, math.nan, math.inf, 100, 0.01])
def test_a_given_mpp_that_cannot_be_true_is_an_error(value):
    with pytest.raises(ResolutionError, match="--mpp") as caught:
        given_mpp(value)
    assert caught.value.exit_code == 1


def test_the_given_mpp_wins_and_a_contradiction_is_said():
    found = [Mpp(0.25, 0.25, "openslide.mpp-x"), Mpp(0.25, 0.25, "aperio.MPP")]
    used, warnings = choose(found, given_mpp(0.5), "slide.svs")
    assert (used.x, used.source) == (0.5, "--mpp")
    assert len(warnings) == 1 and "0.5 µm/px (--mpp)" in warnings[0]
    assert "0.25 µm/px (openslide.mpp-x)" in warnings[0]


def test_a_difference_within_five_per_cent_is_no_contradiction():
    assert choose([Mpp(0.499, 0.499, "aperio.MPP")], given_mpp(0.5), "a.svs")[1] == []


def test_metadata_that_contradict_each_other_are_said():
    found = [Mpp(0.5, 0.5, "openslide.mpp-x"), Mpp(0.25, 0.25, "tiff.XResolution")]
    used, warnings = choose(found, None, "a.svs")
    assert used is found[0] and "tiff.XResolution" in warnings[0]


def test_what_cannot_be_true_is_said_unless_it_is_a_print_setting():
    sound = Mpp(0.5, 0.5, "tiff.XResolution")
    used, warnings = choose([Mpp(499.0, 499.0, "openslide.mpp-x"), sound], None, "a.svs")
    assert used is sound
    assert len(warnings) == 1 and "implausible: 499 µm/px (openslide.mpp-x)" in warnings[0]
    assert choose([Mpp(353.0, 353.0, "tiff.XResolution")], given_mpp(0.5), "a.tif")[1] == []


def test_pixels_that_are_not_square_are_said():
    assert choose([Mpp(0.5, 0.51, "openslide.mpp-x")], None, "a.svs")[1] == []
    (said,) = choose([Mpp(0.5, 1.0, "openslide.mpp-x")], None, "a.svs")[1]
    assert "not square, 0.5 x 1 µm/px" in said


@pytest.mark.parametrize(
    ("unit", "per_unit"),
    [
        ("micron", 2.0),
        ("um", 2.0),
        ("\\u00B5m", 2.0),
        ("mm", 2000.0),
        ("inch", 50_800),
    ],
)
def test_imagej_says_its_unit_in_words(tmp_path: Path, painted, unit, per_unit):
    assert from_imagej(per_unit, per_unit / 2, unit) == Mpp(
        pytest.approx(0.5), pytest.approx(1.0), "imagej.unit"
    )
    path = tmp_path / "a.tif"
    options = {"resolution": (per_unit, per_unit), "metadata": {"unit": unit}}
    tifffile.imwrite(path, painted[:64, :64], imagej=True, photometric="rgb", **options)
    with open_slide(path) as slide:
        assert slide.mpp.source == "imagej.unit"
        assert math.isclose(slide.mpp.x, 0.5, rel_tol=1e-6)


def test_imagej_without_a_length_says_nothing():
    for unit in ("pixel", "", None, "parsec"):
        assert from_imagej(2.0, 2.0, unit) is None
    assert from_imagej((1, 0), (1, 0), "um") is None


def test_one_axis_alone_can_contradict():
    assert choose([Mpp(0.5, 1.0, "tiff.XResolution")], given_mpp(0.5), "a.tif")[1]


def test_a_missing_resolution_names_the_flag(save_png, painted):
    path = save_png(painted[:50, :50])
    with pytest.raises(ResolutionError, match="--mpp") as caught:
        open_slide(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("dpi", [72, 96, 98, 300])
def test_the_dpi_of_a_photo_editor_is_ignored_and_said(tmp_path: Path, dpi):
    path = tmp_path / "a.tif"
    pixels = np.full((64, 64, 3), 200, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(dpi, dpi), resolutionunit="INCH")
    with pytest.raises(ResolutionError, match=r"ignored.*tiff\.XResolution"):
        open_slide(path)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.mpp == Mpp(0.5, 0.5, "--mpp") and slide.warnings == []


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_dpi_of_a_plain_picture_is_never_taken(tmp_path: Path, painted, suffix):
    from PIL import Image

    path = tmp_path / f"a.{suffix}"
    Image.fromarray(painted[:50, :50]).save(path, dpi=(50_800, 50_800))
    with pytest.raises(ResolutionError, match="--mpp"):
        open_slide(path)


def test_tiff_tags_give_both_axes(save_pyramid, painted):
    with open_slide(save_pyramid(painted, mpp=(0.5, 1.0))) as slide:
        assert slide.mpp.source == "tiff.XResolution"
        assert math.isclose(slide.mpp.x, 0.5, rel_tol=1e-6)
        assert math.isclose(slide.mpp.y, 1.0, rel_tol=1e-6)


def test_ome_is_trusted_before_the_tags(tmp_path: Path, painted):
    path = tmp_path / "a.ome.tif"
    size = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    options = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, painted, photometric="rgb", metadata={"axes": "YXS", **size}, **options)
    with open_slide(path) as slide:
        assert slide.mpp == Mpp(0.25, 0.5, "ome.PhysicalSizeX")
        assert "tiff.XResolution" in slide.warnings[0]
