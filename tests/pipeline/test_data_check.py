"""``data check`` on made sections, and on real ones of which copies are wrong in one way each."""

from __future__ import annotations

import json
import re
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from layouts import anndata_files, hest, legacy, spaceranger, visium_hd, xenium
from layouts.made import made_section
from PIL import Image

from hypergene.errors import DataError, OutputError
from hypergene.pipeline.checks import section
from hypergene.pipeline.checks.symmetry import SYMMETRIES
from hypergene.pipeline.data_check import CONTACT_SHEET, DataCheck, check_samples
from hypergene.slide import open_slide
from hypergene.st import Sample, log1p_cp10k, read_sample, read_samples
from hypergene.st.formats.her2st import find_spots

MPP = 0.69
REPOSITORY = Path(__file__).resolve().parents[2]


def codes(check: DataCheck, sample: str | None = None) -> dict[str, str]:
    """Code -> level, of all verdicts or of those that concern one sample alone."""
    return {
        verdict.code: verdict.level
        for verdict in check.verdicts
        if sample is None or verdict.samples == (sample,)
    }


@pytest.fixture
def samples(tiny_cohort: Any) -> list[Sample]:
    """A1, A2, B1 and B2: 30 spots, 20 genes each, in order."""
    return read_samples(tiny_cohort.sheet)


# Real sections


@pytest.fixture(scope="module")
def real(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DataCheck, Path]]:
    """C3 as it is; C4 with x and y swapped; a small copy of C5's image; C6 as log1p values."""
    folder = tmp_path_factory.mktemp("real")
    given = {sample.sample: sample for sample in read_samples(shared_data / "her2st")}
    right, swapped, small, normalised = (
        replace(given[name], mpp=MPP) for name in ("C3", "C4", "C5", "C6")
    )

    positions = shared_data / "her2st" / "ST-spotfiles" / "C4_selection.tsv"
    table = pd.read_csv(positions, sep="\t")
    table[["pixel_x", "pixel_y"]] = table[["pixel_y", "pixel_x"]].to_numpy()
    table.to_csv(folder / "C4_selection.tsv", sep="\t", index=False)
    swapped = replace(swapped, spots=folder / "C4_selection.tsv")

    assert small.slide is not None
    with open_slide(small.slide, mpp=MPP) as slide:
        Image.fromarray(slide.thumbnail(1200)[0]).save(folder / "C5_small.png")
    small = replace(small, slide=folder / "C5_small.png")

    adata = read_sample(normalised)
    adata.X = log1p_cp10k(adata.layers.pop("counts"))
    adata.uns.clear()
    for column in ("sample", "patient", "section"):
        del adata.obs[column]
    adata.write_h5ad(folder / "C6.h5ad")
    normalised = replace(normalised, data=folder / "C6.h5ad", format="h5ad")

    check = check_samples([right, swapped, small, normalised], out=folder / "out")
    yield check, folder / "out"
    shutil.rmtree(folder)


def test_what_is_right_is_left_alone(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    row = check.rows[0]
    assert codes(check, "C3") == {}
    assert (row.sample, row.patient, row.platform, row.orientation) == ("C3", "C", "st", "identity")
    assert (row.spots, row.genes) == (180, 15_821)
    assert row.median_umi == pytest.approx(9549, abs=1)
    assert row.pitch_um == pytest.approx(200, rel=0.01)
    assert (row.mpp, row.mpp_source) == (MPP, "sheet")
    assert row.on_tissue == pytest.approx(1, abs=0.02)


def test_swapped_axes_are_named(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    assert codes(check, "C4") == {"swapped_axes": "fail"}
    assert check.rows[1].orientation == "swapped_axes"
    (verdict,) = (v for v in check.verdicts if v.code == "swapped_axes")
    assert "exchange" in verdict.fix


def test_a_small_copy_of_the_image_is_named(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    assert codes(check, "C5") == {"hires_image": "fail"}
    (verdict,) = (v for v in check.verdicts if v.code == "hires_image")
    assert "C5_small.png" in verdict.message
    assert "full-resolution" in verdict.fix


def test_normalised_values_are_named(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    assert codes(check, "C6") == {"normalised": "fail"}
    (verdict,) = (v for v in check.verdicts if v.code == "normalised")
    assert "C6.h5ad" in verdict.message
    assert "ln(1 + counts scaled to a total of 10,000" in verdict.message
    assert 'layers["counts"]' in verdict.fix
    assert check.rows[3].spots is None


def test_failures_come_first_and_nothing_else_fails(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    assert not check.ok
    levels = [verdict.level for verdict in check.verdicts]
    assert levels == sorted(levels)  # "fail" < "warn"
    failed = {code for code, level in codes(check).items() if level == "fail"}
    assert failed == {"swapped_axes", "hires_image", "normalised"}
    assert codes(check)["one_patient"] == "warn"


def test_the_contact_sheet_shows_them(real: tuple[DataCheck, Path]) -> None:
    _, out = real
    assert [path.name for path in out.iterdir()] == [CONTACT_SHEET]
    with Image.open(out / CONTACT_SHEET) as sheet:
        assert sheet.format == "PNG"
        assert 500 < sheet.width < 3000


def test_the_command_says_it_in_words(real: tuple[DataCheck, Path]) -> None:
    check, _ = real
    text = check.as_text()
    assert "swapped axes" in text.splitlines()[2]
    assert text.index("FAIL") < text.index("WARN")
    for verdict in check.verdicts:
        assert f"[{verdict.code}]" in text


# Made sections


def test_a_sound_cohort_passes(tiny_cohort: Any) -> None:
    check = check_samples(tiny_cohort.sheet)
    assert check.ok
    # 30 spots, 20 genes and 4 µm/px are little, and that is all there is to be said.
    little = {"few_spots", "few_common_genes", "coarse_image"}
    assert codes(check) == dict.fromkeys(little, "warn")
    assert [row.sample for row in check.rows] == ["A1", "A2", "B1", "B2"]
    assert {row.platform for row in check.rows} == {"st"}
    assert all(row.pitch_um == pytest.approx(200) for row in check.rows)
    assert check.genes.number == 20


def test_a_file_that_cannot_be_read_stops_no_other(samples: list[Sample], tmp_path: Path) -> None:
    broken = tmp_path / "broken.tsv"
    broken.write_text("\tERBB2\n10x5\tmany\n")
    check = check_samples([replace(samples[0], data=broken), *samples[1:]])
    assert codes(check, "A1") == {"unreadable": "fail"}
    (verdict,) = (v for v in check.verdicts if v.code == "unreadable")
    assert str(broken) in verdict.message
    assert verdict.fix
    assert [row.spots for row in check.rows] == [None, 30, 30, 30]
    assert check.genes.number == 20


def test_missing_data_are_named(samples: list[Sample], tmp_path: Path) -> None:
    check = check_samples([replace(samples[0], data=tmp_path / "gone.h5ad", format="unknown")])
    assert codes(check) == {"unreadable": "fail"}
    assert str(tmp_path / "gone.h5ad") in check.verdicts[0].message


@pytest.mark.parametrize("values", ["1.5", "0.69", "-1"])
def test_values_that_are_no_counts_are_called_normalised(
    samples: list[Sample], tmp_path: Path, values: str
) -> None:
    table = pd.read_csv(samples[0].data, sep="\t", index_col=0).astype(float) + float(values)
    table.to_csv(tmp_path / "A1.tsv", sep="\t")
    shutil.copy(
        samples[0].data.parent.parent / "ST-spotfiles" / "A1_selection.tsv",
        tmp_path / "A1_selection.tsv",
    )
    if values == "-1":
        table.iloc[0, 0] = -0.5
        table.to_csv(tmp_path / "A1.tsv", sep="\t")
    check = check_samples([replace(samples[0], data=tmp_path / "A1.tsv")])
    assert codes(check) == {"normalised": "fail"}


def test_a_missing_image_is_named_and_the_data_are_still_looked_at(
    samples: list[Sample], tmp_path: Path
) -> None:
    check = check_samples([replace(samples[0], slide=tmp_path / "gone.svs"), *samples[1:]])
    assert codes(check, "A1") == {"no_image": "fail", "few_spots": "warn"}
    assert (check.rows[0].spots, check.rows[0].platform) == (30, "st")
    assert check.rows[0].on_tissue is None


def test_a_damaged_image_is_named(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    check = check_samples([replace(samples[0], slide=tmp_path / "damaged.png")])
    assert codes(check)["unreadable_image"] == "fail"


def test_counts_alone_serve_the_gene_side(samples: list[Sample]) -> None:
    check = check_samples([replace(samples[0], slide=None), *samples[1:]])
    assert check.ok
    assert codes(check)["counts_only"] == "warn"
    row = check.rows[0]
    assert (row.spots, row.orientation, row.on_tissue) == (30, None, None)
    assert (row.mpp, row.mpp_source) == (4.0, "sheet")


def test_a_resolution_that_nobody_states_is_taken_from_the_pitch_and_fails(
    samples: list[Sample],
) -> None:
    silent = [replace(sample, mpp=None) for sample in samples]
    check = check_samples(silent)
    assert codes(check)["no_mpp"] == "fail"
    (fix,) = {v.fix for v in check.verdicts if v.code == "no_mpp"}
    assert "4 µm/px" in fix and "--mpp" in fix
    assert {row.mpp_source for row in check.rows} == {"pitch"}
    told = check_samples(silent, mpp=4.0)
    assert told.ok
    assert {row.mpp_source for row in told.rows} == {"--mpp"}


def test_a_resolution_that_cannot_be_is_a_failure(samples: list[Sample]) -> None:
    assert codes(check_samples([replace(samples[0], mpp=400.0)]))["implausible_mpp"] == "fail"


def test_without_any_word_on_the_resolution_there_is_none(
    samples: list[Sample], tmp_path: Path
) -> None:
    adata = read_sample(samples[0])
    bare = anndata.AnnData(adata.layers["counts"], obs=adata.obs[[]], var=adata.var[[]])
    bare.obsm["spatial"] = adata.obsm["spatial"]
    bare.write_h5ad(tmp_path / "A1.h5ad")
    sample = replace(samples[0], data=tmp_path / "A1.h5ad", format="h5ad", mpp=None)
    check = check_samples([sample])
    assert {"no_mpp", "no_layout"} <= set(codes(check))
    assert check.rows[0].mpp is None
    assert check.rows[0].platform == "grid"
    assert "–" in check.as_text().splitlines()[1]


def test_a_glass_without_tissue_is_named(samples: list[Sample], tmp_path: Path) -> None:
    Image.new("RGB", (400, 360), (243, 243, 243)).save(tmp_path / "glass.png")
    check = check_samples([replace(samples[0], slide=tmp_path / "glass.png")], out=tmp_path / "out")
    assert codes(check)["no_tissue"] == "fail"
    assert (tmp_path / "out" / CONTACT_SHEET).is_file()


def test_a_resolution_that_contradicts_the_pitch_is_told_once(samples: list[Sample]) -> None:
    check = check_samples([replace(samples[0], mpp=3.0)])
    about_it = [v.code for v in check.verdicts if "µm/px" in v.message]
    assert about_it == ["mpp_disagrees"]


def test_a_bug_is_one_samples_verdict(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(sample: Sample) -> anndata.AnnData:
        if sample.sample == "A2":
            raise ZeroDivisionError("by zero")
        return read_sample(sample)

    monkeypatch.setattr(section, "read_sample", break_down)
    check = check_samples(samples)
    assert codes(check, "A2") == {"unexpected": "fail"}
    assert [row.spots for row in check.rows] == [30, None, 30, 30]


def test_one_sample_is_in_memory_at_a_time(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive: list[weakref.ref[anndata.AnnData]] = []

    def remember(sample: Sample) -> anndata.AnnData:
        assert not [one for one in alive if one() is not None]
        adata = read_sample(sample)
        alive.append(weakref.ref(adata))
        return adata

    monkeypatch.setattr(section, "read_sample", remember)
    check = check_samples(samples, out=tmp_path)
    assert check.ok, check.as_text()
    assert len(alive) == 4


def test_json_says_what_the_object_holds(samples: list[Sample]) -> None:
    check = check_samples([*samples, replace(samples[0], sample="C1", slide=None)])
    told = json.loads(check.as_json())
    assert set(told) == {"ok", "samples", "verdicts", "genes", "versions"}
    assert told["samples"][0]["slide"] == str(samples[0].slide)
    assert told["samples"][4]["slide"] is None
    assert told["samples"][0]["layout"]["pitch_um"] == 200
    assert {v["code"] for v in told["verdicts"]} == set(codes(check))
    assert told["genes"]["in_common"] == 20
    assert {"hypergene", "anndata"} <= set(told["versions"])


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(sample: Sample) -> None:
        pytest.fail("data were read")

    monkeypatch.setattr(section, "read_sample", refuse)
    return lambda: None


@pytest.mark.usefixtures("nothing_read")
def test_a_contact_sheet_that_exists_is_not_replaced(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / CONTACT_SHEET).write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        check_samples(samples, out=tmp_path)
    assert (tmp_path / CONTACT_SHEET).read_text() == "mine"


def test_a_contact_sheet_is_replaced_when_asked(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / CONTACT_SHEET).write_text("mine")
    check_samples(samples[:1], out=tmp_path, overwrite=True)
    assert (tmp_path / CONTACT_SHEET).read_bytes().startswith(b"\x89PNG")


def test_without_out_nothing_is_written(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_samples(samples[:1])
    assert list(tmp_path.iterdir()) == []


def test_no_samples_are_an_error() -> None:
    with pytest.raises(DataError, match="no samples"):
        check_samples([])


def test_samples_that_share_a_name_are_all_in_the_table(samples: list[Sample]) -> None:
    check = check_samples([samples[0], replace(samples[1], sample="A1")])
    assert [row.spots for row in check.rows] == [30, 30]
    assert codes(check, "A1")["duplicate_sample"] == "fail"


LAYOUTS = {
    "spaceranger-v2-h5": (spaceranger, "visium 6.5 mm"),
    "visium-hd-8": (visium_hd, "visium-hd-8"),
    "tables-st-pipeline": (legacy, "st"),
    "h5ad-layer": (anndata_files, "visium 6.5 mm"),
    "hest-visium": (hest, "visium 6.5 mm"),
    "xenium-cells": (xenium, "xenium"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_passes_through(name: str, tmp_path: Path) -> None:
    layout, platform = LAYOUTS[name]
    check = check_samples([layout.WRITERS[name](tmp_path, made_section("A1"))])
    (row,) = check.rows
    assert check.ok, check.as_text()
    assert row.platform == platform
    assert row.spots == 30
    assert row.mpp == pytest.approx(4, rel=0.01)
    assert row.on_tissue is not None and row.on_tissue > 0.5


def test_a_sheet_is_taken_as_it_is_with_files_that_are_not_there(
    tiny_cohort: Any, tmp_path: Path
) -> None:
    good = f"{tiny_cohort.folder}/ST-imgs/A/A1/he.png"
    counts = tiny_cohort.counts("A1")
    (tmp_path / "sheet.csv").write_text(
        "sample,slide,data,format,mpp\n"
        f"A1,{good},{counts},her2st,4\n"
        f"A2,gone.svs,{counts},her2st,4\n"
        f"A3,{good},gone.h5ad,,4\n"
        f"A4,{good},{counts},her2st,4\n"
    )
    check = check_samples(tmp_path / "sheet.csv")
    assert [row.spots for row in check.rows] == [30, 30, None, 30]
    assert codes(check, "A2")["no_image"] == "fail"
    assert codes(check, "A3") == {"unreadable": "fail"}
    (verdict,) = (v for v in check.verdicts if v.code == "unreadable")
    assert str(tmp_path / "gone.h5ad") in verdict.message
    (twice,) = (v for v in check.verdicts if v.code == "duplicate_sample")
    assert twice.samples == ("A1", "A4")


def test_figures_are_those_of_the_data(samples: list[Sample]) -> None:
    row = check_samples(samples[:1]).rows[0]
    adata = read_sample(samples[0])
    assert row.median_umi == np.median(adata.obs["total_counts"])
    assert (row.spots, row.genes) == adata.shape


def test_one_tissue_under_two_names_is_found(samples: list[Sample], tmp_path: Path) -> None:
    table = pd.read_csv(samples[0].data, sep="\t", index_col=0) * 10
    table.to_csv(tmp_path / "A1.tsv", sep="\t")
    again = replace(samples[2], data=tmp_path / "A1.tsv", spots=find_spots(samples[0].data))
    deep = replace(samples[0], data=tmp_path / "A1.tsv", spots=find_spots(samples[0].data))
    check = check_samples([deep, again])
    (verdict,) = (v for v in check.verdicts if v.code == "same_data")
    assert (verdict.level, verdict.samples) == ("fail", ("A1", "B1"))


# The page about it


def test_every_verdict_is_on_the_page() -> None:
    code = Path(section.__file__).parent
    named = set()
    for file in code.glob("*.py"):
        text = file.read_text()
        named |= set(re.findall(r'Verdict\(\s*"(?:warn|fail)",\s*"(\w+)"', text))
        named |= set(re.findall(r'_verdict\(\s*"(?:warn|fail)",\s*"(\w+)"', text))
    named |= {symmetry.name for symmetry in SYMMETRIES} - {"identity"}
    page = (REPOSITORY / "docs" / "data-check.md").read_text()
    listed = {
        code
        for cell in re.findall(r"^\| (`.+?`) \| (?:fail|warn)", page, re.M)
        for code in re.findall(r"`(\w+)`", cell)
    }
    assert len(named) > 20
    assert named - listed == set()
    everything = "\n".join(file.read_text() for file in code.glob("*.py"))
    # What is put together from parts (same_data, hires_image ...) is found by its parts.
    unknown = {
        one
        for one in listed - named
        if f'"{one}"' not in everything and f'"{one.split("_")[0]}"' not in everything
    }
    assert unknown - {"same_data", "same_tissue"} == set()
