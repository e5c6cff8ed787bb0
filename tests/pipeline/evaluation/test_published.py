"""Published protocols and gene lists, from the flag to the report: labelled wherever they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hypergene.errors import DataError, UsageError
from hypergene.evaluation.protocols import NEIGHBOURS_MEAN
from hypergene.pipeline.evaluate import evaluate
from hypergene.pipeline.evaluation import run as run_module

FAST: dict[str, Any] = {"replicates": 10, "device": "cpu", "workers": 0, "train": "A1,A2"}
NOT_OURS = "published protocol, not comparable with hypergene's"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def hest(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("hest") / "scores"
    evaluate(
        tiny_cohort.sheet, out, model=str(tiny_model), only="B1", cache=cache,
        protocol="hest-bench", genes="ERBB2", **FAST,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def triplex(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("triplex") / "scores"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "evaluation_page", lambda *_: "")
        evaluate(
            tiny_cohort.sheet, out, model=str(tiny_model), only="B1", cache=cache,
            protocol="triplex", **FAST,
        )  # fmt: skip
    return out


def read(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def pearson(out: Path) -> dict[str, float]:
    rows = [row for row in read(out)["summary"] if row["metric"] == "pearson"]
    return {row["method"]: row["value"] for row in rows if "best" not in row["gene_set"]}


def test_every_row_of_every_table_says_which_protocol_it_is_of(hest: Path, triplex: Path) -> None:
    for out, name in ((hest, "HEST-Bench"), (triplex, "TRIPLEX")):
        tables = [pd.read_csv(path) for path in out.glob("*.csv")]
        assert len(tables) >= 6
        for table in tables:
            assert table["optimistic"].str.contains(f"{name}: {NOT_OURS}, OPTIMISTIC").all()
        assert NOT_OURS in read(out)["protocol"]["label"]


def test_every_figure_of_the_report_says_it_too(hest: Path) -> None:
    page = (hest / "report.html").read_text()
    figures = re.findall(r'(?:aria-label|alt)="([^"]+)"', page)
    assert len(figures) >= 4
    assert all(NOT_OURS in figure for figure in figures)
    assert "not normalised by library size" in page.split("<table")[0]
    assert "never smoothed" not in page


def test_hest_bench_has_its_probe_and_its_genes(hest: Path) -> None:
    found = pearson(hest)
    assert any(name.startswith("HEST-Bench probe (PCA-") for name in found)
    (rule,) = read(hest)["gene_sets"]["genes"]
    assert re.fullmatch(r"HEST-Bench rule \(\d+ genes\)", rule)
    assert read(hest)["gene_sets"]["picked_on"] == "test"
    table = pd.read_csv(hest / "summary.csv")
    assert table["optimistic"].str.contains("test-picked genes").all()


def test_a_prediction_in_other_units_than_the_truth_gets_no_errors(hest: Path) -> None:
    rows = pd.read_csv(hest / "summary.csv").query("metric == 'mse'").set_index("method")["value"]
    assert np.isnan(rows["tiny"])
    assert np.isfinite(rows[[name for name in rows.index if "probe" in name]]).all()


def test_smoothing_flatters_the_neighbours_mean_above_all(triplex: Path) -> None:
    found = pearson(triplex)
    assert found[NEIGHBOURS_MEAN] > 0.7
    assert found[NEIGHBOURS_MEAN] > max(v for name, v in found.items() if name != NEIGHBOURS_MEAN)
    assert read(triplex)["gene_sets"]["picked_on"] == "training"


def test_a_list_of_genes_is_scored_alone_and_labelled(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    listed = tmp_path / "published.txt"
    listed.write_text("# theirs\nERBB2\nkrt8\nNOBODY\n")
    evaluate(
        tiny_cohort.sheet, tmp_path / "out", model=str(tiny_model), only="B1", cache=cache,
        genes_list=str(listed), **FAST,
    )  # fmt: skip
    slides = pd.read_csv(tmp_path / "out" / "slides.csv").query("method == 'tiny'")
    assert slides["gene_set"].tolist() == ["published (list, 3 genes)"]
    assert slides["genes_missing"].tolist() == [1]
    assert slides["optimistic"].str.contains("listed genes").all()


def test_the_rule_of_her2st_is_named_by_its_real_length(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    out = tmp_path / "out"
    evaluate(
        tiny_cohort.sheet, out, model=str(tiny_model), only="B1", cache=cache,
        genes_list="her2st-rule", **FAST,
    )  # fmt: skip
    ((name, size),) = read(out)["gene_sets"]["genes"].items()
    assert name == f"HER2ST rule ({size} genes)" and 0 < size <= 20
    assert any("this is not their list" in note for note in read(out)["notes"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocol": "theirs"}, "no published protocol 'theirs'"),
        ({"protocol": "triplex", "gene_sets": Path("s.gmt")}, "no use for --gene-sets"),
        ({"protocol": "triplex", "labels": Path("l.csv")}, "no use for --labels"),
        ({"genes_list": "her2st-785"}, "no gene list her2st-785"),
    ],
)
def test_what_no_protocol_has_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        evaluate("nowhere.csv", tmp_path / "out", model="m", **options)
    assert refused.value.hint
    assert not (tmp_path / "out").exists()


def test_an_empty_list_is_refused(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="names no gene"):
        evaluate(
            tiny_cohort.sheet, tmp_path / "out", model=str(tiny_model), only="B1", cache=cache,
            genes_list=str(tmp_path / "none.txt"), **FAST,
        )  # fmt: skip
