"""A reduced image, positions of another size, and a resolution that cannot be, are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from layouts.made import MadeSection, made_section
from PIL import Image

from hypergene.pipeline.checks.image import check_image
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.slide import open_slide
from hypergene.st import read_sample, read_samples

# The made picture is 400 x 360 px; here it stands for one of 0.5 µm/px that is five times as wide.
FULL = 5
FULL_MPP = 0.5
LAYOUT = {"lattice": "hexagon", "name": "visium", "shape": "circle"}


def canonical(made: MadeSection, scale: float = FULL, **about: Any) -> AnnData:
    """Spots on the tissue of the made picture, which ends at x 370 and y 330, times `scale`."""
    x, y = np.meshgrid(np.linspace(45, 355, 12), np.linspace(45, 315, 11))
    xy_px = np.column_stack([x.ravel(), y.ravel()])
    counts = np.asarray(made.draw(xy_px).sum(axis=1)).ravel()
    stated = {
        "layout": LAYOUT | {"diameter_um": 55.0, "pitch_um": 27.0 * FULL * FULL_MPP},
        "pitch_px": 27.0 * scale,
    }
    return AnnData(
        obs=pd.DataFrame({"total_counts": counts}, index=[f"s{i}" for i in range(len(counts))]),
        obsm={"spatial": xy_px * scale},
        uns={"hypergene": stated | about},
    )


def save(made: MadeSection, path: Path, scale: float) -> Path:
    size = tuple(round(side * scale) for side in made.picture.shape[1::-1])
    Image.fromarray(made.picture).resize(size).save(path)
    return path


@pytest.fixture(scope="module")
def made() -> MadeSection:
    return made_section(seed=1)


@pytest.fixture(scope="module")
def full(made: MadeSection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(made, tmp_path_factory.mktemp("full") / "full.png", FULL)


def check(path: Path, adata: AnnData, mpp: float = FULL_MPP) -> list[Verdict]:
    with open_slide(path, mpp=mpp) as slide:
        return check_image("A1", slide, adata)


def codes(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    for verdict in verdicts:
        assert verdict.samples == ("A1",)
        assert verdict.message.startswith("A1: ") and verdict.message.endswith(".")
        assert "\n" not in verdict.message + verdict.fix
    return [(verdict.level, verdict.code) for verdict in verdicts]


def test_an_image_that_fits_is_left_alone(made, full):
    assert codes(check(full, canonical(made))) == []


@pytest.mark.parametrize(("name", "scale"), [("hires", 1.0), ("lowres", 0.3)])
def test_the_copy_whose_scale_the_data_state_is_named(made, tmp_path, name, scale):
    copy = save(made, tmp_path / "picture.png", scale)
    adata = canonical(made, hires_scale=1.0 / FULL, lowres_scale=0.3 / FULL)
    (verdict,) = check(copy, adata)
    assert codes([verdict]) == [("fail", f"{name}_image")]
    assert str(copy) in verdict.message
    assert "of the spots lie outside it, but 100% on its tissue" in verdict.message
    assert "2,000 × 1,800 px" in verdict.fix
    assert "Space Ranger" in verdict.fix


def test_a_copy_is_known_by_its_name(made, tmp_path):
    copy = save(made, tmp_path / "V1_tissue_lowres_image.png", 0.3)
    assert codes(check(copy, canonical(made))) == [("fail", "lowres_image")]


def test_a_copy_with_positions_that_fit_it_is_known_by_name_and_pitch(made, tmp_path):
    copy = save(made, tmp_path / "tissue_hires_image.png", 1.0)
    (verdict,) = check(copy, canonical(made, scale=1), mpp=FULL * FULL_MPP)
    assert codes([verdict]) == [("fail", "hires_image")]
    assert "its pixels are 2.5 µm, and a spot is 22 px across" in verdict.message


def test_the_factor_of_an_unknown_copy_is_found(made, tmp_path):
    copy = save(made, tmp_path / "picture.png", 1.0)
    (verdict,) = check(copy, canonical(made))
    assert codes([verdict]) == [("fail", "hires_image")]
    factor = float(verdict.message.split("multiplied by ")[1].rstrip("."))
    assert factor == pytest.approx(1 / FULL, rel=0.05)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_positions_in_pixels_of_a_copy_are_named_with_the_factor(made, full, scale):
    adata = canonical(made, scale=scale, hires_scale=1 / FULL, lowres_scale=0.3 / FULL)
    (verdict,) = check(full, adata)
    assert codes([verdict]) == [("fail", "scaled_positions")]
    assert f"pixels of the {'hires' if scale == 1 else 'lowres'} copy" in verdict.message
    assert f"by {FULL / scale:.4g}:" in verdict.fix


def test_positions_in_pixels_of_a_copy_are_found_without_any_scale_or_pitch(made, full):
    adata = canonical(made, scale=1.0)
    adata.uns["hypergene"].clear()
    (verdict,) = check(full, adata)
    assert codes([verdict]) == [("fail", "scaled_positions")]
    factor = float(verdict.message.split("multiplied by ")[1].split(":")[0])
    assert factor == pytest.approx(FULL, rel=0.05)


def test_micrometres_and_places_on_the_array_are_told_apart(made, full):
    micrometres = canonical(made, scale=FULL * FULL_MPP)
    (verdict,) = check(full, micrometres)
    assert codes([verdict]) == [("fail", "scaled_positions")]
    assert "micrometres" in verdict.message
    assert "by 2:" in verdict.fix
    array = canonical(made, scale=1 / 27)
    (verdict,) = check(full, array)
    assert codes([verdict]) == [("fail", "scaled_positions")]
    assert "places on the array" in verdict.message


def test_spots_outside_are_counted_and_a_swap_that_helps_is_said(made, full):
    adata = canonical(made)
    adata.obsm["spatial"] = adata.obsm["spatial"] + np.array([450.0, 0.0])
    (verdict,) = check(full, adata)
    assert codes([verdict]) == [("fail", "spots_outside")]
    outside = (adata.obsm["spatial"][:, 0] >= 2000).mean()
    assert f"{outside:.0%} of the spots lie outside" in verdict.message
    assert "2000 × 1800 px" in verdict.message
    adata = canonical(made)
    adata.obsm["spatial"] = adata.obsm["spatial"][:, ::-1] * [1.0, 1.1]
    adata.obsm["spatial"] = np.ascontiguousarray(adata.obsm["spatial"])
    assert (adata.obsm["spatial"][:, 1] > 1800).any()
    (verdict,) = check(full, adata)
    assert codes([verdict]) == [("fail", "spots_outside")]
    assert "swapped" in verdict.fix


@pytest.mark.parametrize(
    ("mpp", "level"), [(0.49, None), (0.51, None), (0.55, "warn"), (1.0, "fail"), (0.25, "fail")]
)
def test_a_resolution_that_the_pitch_contradicts_is_named(made, full, mpp, level):
    verdicts = check(full, canonical(made), mpp=mpp)
    assert codes(verdicts) == ([(level, "mpp_disagrees")] if level else [])
    for verdict in verdicts:
        assert f"{mpp:g} µm/px by --mpp, which is used" in verdict.message
        assert "0.5 by the pitch of the spots" in verdict.message


def test_who_states_which_resolution_is_said(made, full):
    adata = canonical(made, mpp=[0.8, 0.8], mpp_source="scalefactors_json.json")
    (verdict,) = check(full, adata)
    assert codes([verdict]) == [("fail", "mpp_disagrees")]
    assert "0.8 by scalefactors_json.json" in verdict.message
    adata = canonical(made, mpp=[0.6, 0.6], mpp_source="samples sheet")
    (verdict,) = check(full, adata, mpp=0.6)
    assert "0.6 µm/px by samples sheet, which is used, but 0.5 by the pitch" in verdict.message


def test_what_opening_the_slide_warns_of_is_passed_on(made, tmp_path, save_svs):
    picture = np.asarray(Image.fromarray(made.picture).resize((2000, 1800)))
    path = save_svs(picture, tmp_path / "slide.svs", mpp=0.25)
    (verdict,) = check(path, canonical(made), mpp=0.5)
    assert codes([verdict]) == [("warn", "slide_warning")]
    assert "0.25" in verdict.message


def test_coarse_and_impossible_pixels_are_named(made, tmp_path):
    small = save(made, tmp_path / "small.png", 1.0)
    (verdict,) = check(small, canonical(made, scale=1.0), mpp=FULL * FULL_MPP)
    assert codes([verdict]) == [("warn", "coarse_image")]
    smaller = save(made, tmp_path / "smaller.png", 0.25)
    (verdict,) = check(smaller, canonical(made, scale=0.25), mpp=4 * FULL * FULL_MPP)
    assert codes([verdict]) == [("fail", "implausible_mpp")]
    assert "10 µm" in verdict.message


def test_a_reduced_copy_of_a_real_image_is_found_to_one_in_a_hundred(shared_data, tmp_path):
    sample = next(one for one in read_samples(shared_data / "her2st") if one.sample == "C6")
    adata = read_sample(sample)
    with open_slide(sample.slide, mpp=0.69) as slide:
        assert check_image("C6", slide, adata) == []
        picture, factor = slide.thumbnail(1500)
    Image.fromarray(picture).save(tmp_path / "small.png")
    with open_slide(tmp_path / "small.png", mpp=0.69) as slide:
        (verdict,) = check_image("C6", slide, adata)
    assert verdict.code == "hires_image"
    found = float(verdict.message.split("multiplied by ")[1].rstrip("."))
    assert found == pytest.approx(factor, rel=0.015)
