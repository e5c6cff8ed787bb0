"""From predictions on disk to pages, and what is said when that cannot be."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from tiny.reported import tiny_prediction

import hypergene
from hypergene.errors import DataError, HypergeneError, OutputError, UsageError
from hypergene.output import open_prediction
from hypergene.output.anndata_file import write_anndata
from hypergene.pipeline import page_content as content
from hypergene.pipeline import report as job
from hypergene.pipeline.page_content import shown_spots
from hypergene.pipeline.predict import PredictOptions, predict_to_file
from hypergene.pipeline.report import (
    ReportOptions,
    report_one,
    report_several,
    write_report,
)
from hypergene.pipeline.tile import tile
from hypergene.report.prediction_page import prediction_page


@pytest.fixture(scope="module")
def prediction(
    painted_slide: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    done = predict_to_file(painted_slide, folder, PredictOptions(model=str(tiny_model), qc=True))
    assert done.output is not None
    return done.output


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "made.zarr"
    write_anndata(tiny_prediction(), path)
    return path


@pytest.fixture
def made(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "made.zarr"))


def test_what_predict_wrote_becomes_a_page(prediction: Path, tmp_path: Path) -> None:
    page = write_report(prediction, tmp_path / "r.html")
    assert page == tmp_path / "r.html"
    text = page.read_text(encoding="utf-8")
    file = open_prediction(prediction)
    assert f"20 of {len(file.genes)} genes, best on held-out data first" in text
    best = file.var["heldout_pcc"].idxmax()
    assert text.index(f">{best}</button>") < text.index(">ERBB2</button>")
    assert "focus" in text
    assert "Nothing was held out when this model was trained." in text


def test_a_page_stands_beside_its_prediction_unless_told_otherwise(
    made: Path, tmp_path: Path
) -> None:
    assert hypergene.write_report(made) == made.with_suffix(".html")
    folder = tmp_path / "there"
    folder.mkdir()
    assert write_report(str(made), folder) == folder / "made.html"


def test_genes_are_those_asked_for_in_that_order(made: Path, tmp_path: Path) -> None:
    text = write_report(made, tmp_path / "a.html", genes=["COL1A1", "KRT8"]).read_text("utf-8")
    assert "2 of 6 genes, as asked for" in text
    assert text.index(">COL1A1</button>") < text.index(">KRT8</button>")
    text = write_report(made, tmp_path / "b.html", max_genes=2).read_text("utf-8")
    assert ">ERBB2</button>" in text and ">KRT8</button>" in text
    assert ">COL1A1</button>" not in text


def test_without_held_out_data_the_most_varying_genes_are_shown(tmp_path: Path) -> None:
    adata = tiny_prediction()
    adata.var = adata.var[["gene_ids"]]
    write_anndata(adata, tmp_path / "p.zarr")
    text = write_report(tmp_path / "p.zarr", max_genes=1).read_text("utf-8")
    assert "1 of 6 genes, most varying first" in text
    widest = adata.var_names[int(np.argmax(np.var(np.asarray(adata.X), axis=0)))]
    assert f">{widest}</button>" in text


def test_an_h5ad_has_a_page_too(tmp_path: Path) -> None:
    write_anndata(tiny_prediction(), tmp_path / "p.h5ad", format="h5ad")
    assert write_report(tmp_path / "p.h5ad").name == "p.html"


def test_several_have_an_index_and_one_that_fails_stops_no_other(
    made: Path, prediction: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.zarr"
    index, outcomes = report_several([made, missing, prediction], tmp_path / "pages")
    assert index == tmp_path / "pages" / "index.html"
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    names = {path.name for path in index.parent.iterdir()}
    assert names == {"index.html", "made.html", f"{prediction.stem}.html"}
    text = index.read_text(encoding="utf-8")
    assert 'href="made.html"' in text
    assert "missing: There is no file" in text


def test_several_stand_in_a_folder_beside_them(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zarr"
    write_anndata(tiny_prediction(seed=1), other)
    assert write_report([made, other]) == tmp_path / "report" / "index.html"


def test_nothing_is_replaced_without_being_told(made: Path, tmp_path: Path) -> None:
    page = write_report(made)
    before = page.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_report(made)
    assert page.read_bytes() == before
    assert write_report(made, overwrite=True, max_genes=1) == page
    assert page.read_bytes() != before
    folder = tmp_path / "pages"
    report_several([made, made.with_name("x.zarr")], folder)
    with pytest.raises(OutputError, match=r"index\.html exists already"):
        report_several([made, made.with_name("x.zarr")], folder)


def test_nothing_half_written_is_left(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise DataError("Half way.")

    monkeypatch.setattr(job, "prediction_page", fail)
    with pytest.raises(DataError, match="Half way"):
        write_report(made, tmp_path / "new" / "r.html")
    assert [path.name for path in tmp_path.iterdir()] == ["made.zarr"]


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("r.txt", {}, "no browser takes for a page"),
        ("r.html", {"genes": ["NOPE"]}, "no prediction of NOPE"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    made: Path, tmp_path: Path, out: str, options: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        write_report(made, tmp_path / out, **options)  # type: ignore[arg-type]
    assert error.value.hint
    assert not (tmp_path / out).exists()


def test_spots_without_expression_are_no_prediction(painted_slide: Path, tmp_path: Path) -> None:
    spots = tile(painted_slide, tmp_path, layout="st").output
    assert spots is not None
    with pytest.raises(DataError, match="without expression"):
        write_report(spots)


def test_what_is_no_prediction_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "y.h5ad").write_text("no")
    for name in ("x.zarr", "y.h5ad", "z.zarr"):
        with pytest.raises(HypergeneError) as error:
            write_report(tmp_path / name)
        assert name in error.value.message
        assert error.value.hint
    with pytest.raises(DataError, match="None of the predictions could be shown"):
        write_report([tmp_path / "x.zarr", tmp_path / "y.h5ad"])


def test_a_folder_means_the_predictions_in_it(
    made: Path, painted_slide: Path, tmp_path: Path
) -> None:
    write_anndata(tiny_prediction(), tmp_path / "b.h5ad", format="h5ad")
    tile(painted_slide, tmp_path, layout="st")
    index = write_report(tmp_path)
    assert index == tmp_path / "report" / "index.html"
    assert {path.name for path in index.parent.iterdir()} == {"index.html", "made.html", "b.html"}
    assert 'href="index.html"' in (index.parent / "made.html").read_text("utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no prediction in the folder .*empty"):
        write_report(tmp_path / "empty")
    with pytest.raises(UsageError, match="No prediction was given"):
        write_report([])


def test_a_gene_that_one_prediction_lacks_stops_no_other(made: Path, tmp_path: Path) -> None:
    poorer = tmp_path / "poorer.zarr"
    write_anndata(tiny_prediction()[:, ["ERBB2"]].copy(), poorer)
    _, outcomes = report_several([poorer, made], tmp_path / "pages", ReportOptions(genes=("KRT8",)))
    assert "no prediction of KRT8" in str(outcomes[0].error)
    assert outcomes[1].error is None


def _no_mpp(adata: AnnData) -> None:
    del adata.uns["hypergene"]["mpp"]


def _no_diameter(adata: AnnData) -> None:
    adata.uns["spatial"]["slide"]["scalefactors"] = {}


def _no_place(adata: AnnData) -> None:
    adata.obsm["spatial"][3, 0] = np.nan


@pytest.mark.parametrize("damage", [_no_mpp, _no_diameter, _no_place])
def test_a_prediction_that_does_not_say_where_its_spots_are_is_refused(
    tmp_path: Path, damage: Callable[[AnnData], None]
) -> None:
    adata = tiny_prediction()
    damage(adata)
    write_anndata(adata, tmp_path / "p.zarr")
    with pytest.raises(DataError, match=r"p\.zarr does not say where its spots lie") as error:
        write_report(tmp_path / "p.zarr")
    assert error.value.hint


def test_two_of_one_name_or_of_two_folders_need_a_word(made: Path, tmp_path: Path) -> None:
    twin = tmp_path / "b" / "made.zarr"
    with pytest.raises(UsageError, match="lie in 2 folders"):
        report_several([made, twin])
    with pytest.raises(UsageError, match="written to the same"):
        report_several([made, twin], tmp_path / "pages")
    with pytest.raises(UsageError, match="do not fit into the one file"):
        report_several([made, twin], tmp_path / "r.html")


def test_many_spots_leave_room_for_fewer_genes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MOST_VALUES", 80 * 3 + 7)
    outcome = report_one(made, tmp_path / "r.html")
    assert outcome.genes == 3
    assert "80 spots leave room for 3 genes" in outcome.warnings[0]
    assert report_one(made, tmp_path / "s.html", ReportOptions(max_genes=2)).warnings == []
    with pytest.raises(UsageError, match="more than a page holds") as error:
        write_report(made, tmp_path / "t.html", genes=["ERBB2", "KRT8", "KRT18", "COL1A1"])
    assert error.value.hint == "Give at most 3 with --genes."


@pytest.mark.parametrize("rows_at_once", [7, 1000])
def test_of_too_many_spots_a_regular_part_is_shown_and_the_page_says_so(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    seen: list[AnnData] = []

    def remember(adata: AnnData, **more: Any) -> str:
        seen.append(adata)
        return prediction_page(adata, **more)

    monkeypatch.setattr(content, "MOST_SPOTS", 79)
    monkeypatch.setattr(content, "_SPOTS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(job, "prediction_page", remember)
    outcome = report_one(made, tmp_path / "r.html")
    (shown,) = seen
    whole = tiny_prediction()
    kept = [name for name in whole.obs_names if name in set(shown.obs_names)]
    assert list(shown.obs_names) == kept
    assert outcome.spots == len(kept) == 20
    assert np.array_equal(shown.X, whole[kept, shown.var_names].X)
    assert np.array_equal(shown.layers["std"], whole[kept, shown.var_names].layers["std"])
    assert np.array_equal(shown.obsm["spatial"], whole[kept].obsm["spatial"])
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "20 of 80 spots" in text
    assert "20 of the 80 spots are shown, a regular part of them" in text
    assert outcome.warnings[-1] in text


@pytest.mark.parametrize("lattice", ["square", "hexagon", "none"])
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), most=st.integers(1, 300))
def test_a_regular_part_is_neither_empty_nor_too_large(
    lattice: str, rows: int, columns: int, most: int
) -> None:
    row, column = np.divmod(np.arange(rows * columns), columns)
    if lattice == "hexagon":
        column = 2 * column + row % 2
    if lattice == "none":
        row = column = np.full(rows * columns, -1)
    shown = shown_spots(pd.DataFrame({"array_row": row, "array_col": column}), most)
    step = math.ceil(math.sqrt(rows * columns / most))
    assert shown.all() == (rows * columns <= most)
    assert 1 <= shown.sum() <= math.ceil(rows / step) * math.ceil(columns / step) + step**2
    if lattice != "none":
        assert len(np.unique(row[shown])) == math.ceil(rows / step)
