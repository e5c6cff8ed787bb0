"""An evaluation from its samples to its report, for a model and for another tool's output."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from layouts.made import IDS

from hypergene.errors import DataError, HypergeneError, OutputError, UsageError
from hypergene.pipeline.evaluate import evaluate
from hypergene.pipeline.evaluation import run as run_module
from hypergene.pipeline.predict import predict
from hypergene.st import read_sample, read_samples

FAST: dict[str, Any] = {"replicates": 20, "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def truth(tiny_cohort: Any) -> dict[str, AnnData]:
    return {s.sample: read_sample(s) for s in read_samples(tiny_cohort.sheet)}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: Any) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rows = [f"{name},{c}x{r},{'top' if r < 2 else 'low'}" for name in tiny_cohort.samples
            for r in range(5) for c in range(6)]  # fmt: skip
    path.write_text("sample,spot,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def own(
    tiny_cohort: Any,
    tiny_model: Path,
    cache: Path,
    labels: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny model on B1 and B2, beside controls fitted on A1 and A2."""
    folder = tmp_path_factory.mktemp("own")
    sets = folder / "sets.gmt"
    sets.write_text("EPITHELIUM\tna\tKRT8\tKRT18\tEPCAM\nSTROMA\tna\tCOL1A1\tDCN\tLUM\n")
    out = folder / "scores"
    evaluate(
        tiny_cohort.sheet, out, model=str(tiny_model), train="A1,A2", cache=cache,
        gene_sets=sets, labels=labels, genes="ERBB2", **FAST,
    )  # fmt: skip
    return out


def predicted(truth: AnnData, noise: float = 0.5, seed: int = 0) -> AnnData:
    """Another tool's output: the truth with noise on it."""
    rng = np.random.default_rng(seed)
    mean = truth.X.toarray() + rng.normal(0, noise, truth.shape)
    return AnnData(
        mean.astype(np.float32),
        obs=pd.DataFrame(index=truth.obs_names),
        var=pd.DataFrame(index=truth.var_names),
        obsm={"spatial": truth.obsm["spatial"]},
    )


@pytest.fixture
def score(
    tiny_cohort: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], Path]]:
    """Score predictions; the report, whose figures take seconds, is looked at elsewhere."""
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")

    def run(predictions: Path, **options: Any) -> tuple[dict[str, Any], Path]:
        out = tmp_path / "scores"
        evaluate(
            tiny_cohort.sheet, out, predictions=predictions, cache=cache, **{**FAST, **options}
        )
        return json.loads((out / "summary.json").read_text()), out

    return run


def table(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / f"{name}.csv", keep_default_na=True)


def pearson(summary: dict[str, Any], gene_set: str = "expressed") -> dict[str, float]:
    return {
        row["method"]: row["value"]
        for row in summary["summary"]
        if row["metric"] == "pearson" and row["gene_set"].startswith(gene_set)
    }


# A model


def test_a_model_is_scored_beside_every_control(own: Path) -> None:
    summary = json.loads((own / "summary.json").read_text())
    assert set(pearson(summary)) == {
        *("tiny", "tiny, neighbours permuted", "training mean", "library size (oracle)", "ridge"),
        *("ridge, slide-centred", "ridge, slide-centred, smoothed after"),
        *("ridge + rings, slide-centred", "hand-made features, ridge, slide-centred"),
    }
    differences = {row["method"] for row in summary["differences"]}
    assert differences == set(pearson(summary)) - {"tiny"}


def test_counts_follow_the_picture_so_ridge_learns_and_random_weights_do_not(own: Path) -> None:
    found = pearson(json.loads((own / "summary.json").read_text()))
    assert found["hand-made features, ridge, slide-centred"] > 0.15
    assert abs(found["tiny"]) < 0.3
    assert found["training mean"] == 0


def test_all_tables_are_there_twice_and_agree(own: Path) -> None:
    names = {
        *("genes", "gene_slides", "slides", "patients", "summary", "differences", "curves"),
        *("scales", "retrieval", "mixing", "flags"),
    }
    assert {path.stem for path in own.glob("*.csv")} == names
    for name in names:
        parquet = pd.read_parquet(own / f"{name}.parquet")
        csv = table(own, name)
        assert list(parquet.columns) == list(csv.columns)
        assert len(parquet) == len(csv) > 0


def test_a_patient_that_nothing_was_learnt_of_is_held_out(own: Path) -> None:
    summary = json.loads((own / "summary.json").read_text())
    assert [(s["sample"], s["held_out"]) for s in summary["samples"]] == [
        ("B1", "patient"),
        ("B2", "patient"),
    ]
    assert summary["gene_sets"]["picked_on"] == "training"
    honest = table(own, "slides").query("method == 'tiny'")["optimistic"]
    assert honest.isna().all()


def test_the_embedding_is_judged_by_slide_and_by_annotation(own: Path) -> None:
    measures = table(own, "mixing").set_index("measure")["value"]
    assert any(name.startswith("silhouette by annotation (60") for name in measures.index)
    assert np.isfinite(measures["silhouette by slide"])
    retrieval = table(own, "retrieval")
    assert set(retrieval["scope"]) == {"within slide", "over slides"}
    assert (retrieval["chance"] > 0).all()


def test_gene_sets_and_modules_are_scored_at_every_scale(own: Path) -> None:
    scales = table(own, "scales")
    sets = scales[scales["kind"] == "gene set"]
    assert set(sets["unit"]) == {"EPITHELIUM", "STROMA"}
    assert set(sets["scale"]) == {"spot", "1 ring", "2 rings"}
    assert {"gene", "module"} <= set(scales["kind"])


def test_the_report_needs_no_network_and_holds_its_figures(own: Path) -> None:
    page = (own / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" not in page
    assert page.count("<svg") >= 3
    assert page.count("<img ") == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0


def test_the_same_seed_gives_the_same_figures(
    own: Path,
    tiny_cohort: Any,
    tiny_model: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    out = tmp_path / "again"
    evaluate(tiny_cohort.sheet, out, model=str(tiny_model), train="A1,A2", cache=cache, **FAST)
    for name in ("summary", "differences", "slides", "genes"):
        assert (out / f"{name}.csv").read_bytes() == (own / f"{name}.csv").read_bytes()


def test_samples_the_model_was_trained_on_are_labelled(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path: Path
) -> None:
    model = tmp_path / "mine"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    config["provenance"]["trained_on"] = ["A1", "B1"]
    (model / "config.json").write_text(json.dumps(config))
    out = tmp_path / "scores"
    evaluate(
        tiny_cohort.sheet, out, model=str(model), only=("A1", "A2"), genes="ERBB2", cache=cache,
        **FAST,
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert [s["held_out"] for s in summary["samples"]] == ["trained on", "unknown"]
    assert "A1 was trained on." in summary["warnings"]
    slides = table(out, "slides").query("method == 'tiny'").set_index("sample")["optimistic"]
    assert slides["A1"].str.contains("OPTIMISTIC: trained on").all()
    assert not slides["A2"].str.contains("OPTIMISTIC: trained on").any()
    assert slides["A2"].str.contains("test-picked").all()
    assert "OPTIMISTIC: trained on" in (out / "report.html").read_text()


def test_a_control_is_as_honest_as_its_encoder(
    tiny_cohort: Any, tiny_model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    config = json.loads((tiny_model / "config.json").read_text())
    config["provenance"]["trained_on"] = ["B1"]
    model = tmp_path / "mine"
    shutil.copytree(tiny_model, model)
    (model / "config.json").write_text(json.dumps(config))
    out = tmp_path / "scores"
    evaluate(
        tiny_cohort.sheet, out, model=str(model), only="B1", train="A1,A2", cache=cache, **FAST
    )
    said = table(out, "slides").fillna("").groupby("method")["optimistic"].first()
    assert said["ridge, slide-centred"] == said["tiny"] == "OPTIMISTIC: trained on"
    assert said["hand-made features, ridge, slide-centred"] == said["training mean"] == ""


# Another tool


def test_our_own_output_scores_the_same_as_a_file_and_as_a_model(
    own: Path, tiny_cohort: Any, tiny_model: Path, score: Any, tmp_path: Path
) -> None:
    from hypergene.output import write_anndata

    for name in ("B1", "B2"):
        spots = tiny_cohort.folder / "ST-spotfiles" / f"{name}_selection.tsv"
        (image,) = (tiny_cohort.folder / "ST-imgs" / name[0] / name).iterdir()
        made = predict(image, model=str(tiny_model), coords=spots, mpp=4.0, device="cpu")
        folder = tmp_path / "predicted"
        folder.mkdir(exist_ok=True)
        write_anndata(made, folder / f"{name}.zarr")
    summary, out = score(tmp_path / "predicted", train="A1,A2")
    assert summary["scored"]["units"] == "log1p CP10k"
    columns = ["sample", "gene_set", "pearson", "mse", "coverage_80"]
    ours = table(own, "slides").query("method == 'tiny'")[columns].reset_index(drop=True)
    theirs = table(out, "slides").query("method == 'predicted'")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-4)


def test_another_tool_is_scored_by_name_or_place(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    table = predicted(truth["B1"])[::-1].copy()
    table.obs_names = [f"q{number}" for number in range(table.n_obs)]
    table.obsm["spatial"] = table.obsm["spatial"] + 3
    table.write_h5ad(tmp_path / "tool.h5ad")
    summary, _ = score(tmp_path / "tool.h5ad", only="B1", units="log1p-cp10k")
    assert pearson(summary)["tool"] > 0.35
    assert any("matched by the nearest centre" in note for note in summary["notes"])
    mse = [r["value"] for r in summary["summary"] if r["metric"] == "mse" and r["method"] == "tool"]
    assert mse[0] == pytest.approx(0.25, abs=0.05)


def test_without_units_only_correlations_are_reported(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    predicted(truth["B1"]).write_h5ad(tmp_path / "tool.h5ad")
    summary, out = score(tmp_path / "tool.h5ad", only="B1")
    own = table(out, "slides").query("method == 'tool'")
    assert own["pearson"].notna().all()
    assert own[["mse", "mae", "r2", "coverage_80"]].isna().all().all()
    assert any("only correlations are reported" in note for note in summary["notes"])


def test_counts_are_brought_to_the_units_of_the_truth(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    counts = AnnData(
        truth["B1"].layers["counts"].toarray().astype(np.float32),
        obs=pd.DataFrame(index=truth["B1"].obs_names),
        var=pd.DataFrame(index=truth["B1"].var_names),
    )
    counts.write_zarr(tmp_path / "tool.zarr")
    summary, out = score(tmp_path / "tool.zarr", only="B1", units="counts")
    own = table(out, "slides").query("method == 'tool'")
    np.testing.assert_allclose(own["pearson"], 1)
    np.testing.assert_allclose(own["mse"], 0, atol=1e-9)
    assert any("has very likely seen these counts" in text for text in summary["warnings"])


def test_a_table_of_several_samples_names_them(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    frames = []
    for name in ("A1", "B1"):
        frame = predicted(truth[name]).to_df()
        frame.insert(0, "sample", name)
        frames.append(frame)
    with gzip.open(tmp_path / "tool.csv.gz", "wt") as file:
        pd.concat(frames).to_csv(file)
    summary, _ = score(tmp_path / "tool.csv.gz", only=("A1", "B1"))
    assert pearson(summary)["tool"] > 0.35
    assert len(summary["samples"]) == 2


def test_a_folder_holds_a_file_a_sample_and_genes_go_by_identifier(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "tool"
    folder.mkdir()
    for name in ("A1", "B1"):
        mine = predicted(truth[name])
        mine.var["gene_ids"] = list(IDS)
        mine.write_h5ad(folder / f"{name}.h5ad")
    summary, _ = score(folder, only=("A1", "B1"))
    assert pearson(summary)["tool"] > 0.35


def test_spots_without_a_prediction_are_said(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    predicted(truth["B1"])[4:].copy().write_h5ad(tmp_path / "tool.h5ad")
    summary, out = score(tmp_path / "tool.h5ad", only="B1", train="A1,A2")
    assert any("4 of 30 measured spots have no prediction" in text for text in summary["warnings"])
    assert (table(out, "slides")["spots"] == 26).all()
    assert "hand-made features, ridge, slide-centred" in pearson(summary)


def test_genes_of_the_training_sets_that_a_tool_leaves_out_are_counted(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    predicted(truth["B1"])[:, :5].copy().write_h5ad(tmp_path / "tool.h5ad")
    _, out = score(tmp_path / "tool.h5ad", only="B1", train="A1,A2")
    own = table(out, "slides").query("method == 'tool' and gene_set == 'expressed'")
    assert own["genes"].item() == 20
    assert own["genes_missing"].item() == 15


def test_the_mean_of_the_true_neighbours_does_not_pass_for_skill(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    """The trap of smoothed targets: it is the unsmoothed truth that is scored."""
    smooth = predicted(truth["B1"])
    smooth.X = np.tile(truth["B1"].X.toarray().mean(axis=0), (30, 1)).astype(np.float32)
    smooth.write_h5ad(tmp_path / "tool.h5ad")
    summary, _ = score(tmp_path / "tool.h5ad", only="B1")
    assert pearson(summary)["tool"] == 0


# What is refused


def transposed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.T


def foreign_genes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis([f"x{n}" for n in range(frame.shape[1])], axis=1)


def with_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(ERBB2="high")


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[3] = np.nan
    return frame


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis([f"q{n}" for n in range(len(frame))], axis=0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (transposed, "genes in its rows"),
        (foreign_genes, "none of the 20 genes"),
        (with_text, "'ERBB2' that holds no numbers"),
        (with_gaps, "not numbers in 1 spots"),
        (renamed, "gives no places"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(
    spoil: Any, said: str, truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    spoil(predicted(truth["B1"]).to_df()).to_csv(tmp_path / "tool.csv")
    with pytest.raises(DataError, match=said) as refused:
        score(tmp_path / "tool.csv", only="B1")
    assert refused.value.hint
    assert not (tmp_path / "scores" / "summary.json").exists()


def test_one_table_for_several_samples_must_say_whose_spots_are_whose(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    predicted(truth["B1"]).write_h5ad(tmp_path / "tool.h5ad")
    with pytest.raises(DataError, match="does not say which spot is of which"):
        score(tmp_path / "tool.h5ad")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({}, UsageError, "Neither a model nor predictions"),
        ({"model": "m", "predictions": "p"}, UsageError, "Both a model and predictions"),
        ({"model": "m", "units": "counts"}, UsageError, "--units and --layer"),
        ({"predictions": "p.h5ad", "labels": "l.csv"}, UsageError, "--labels need a model"),
        ({"predictions": "missing.h5ad"}, DataError, "no file missing.h5ad"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    options: dict[str, Any], kind: type[HypergeneError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said):
        evaluate("nowhere.csv", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_finished_evaluation_is_not_replaced_unasked(own: Path, tiny_cohort: Any) -> None:
    with pytest.raises(OutputError, match="holds an evaluation already"):
        evaluate(tiny_cohort.sheet, own, model="her2st-small")


def no_places(adata: AnnData) -> None:
    adata.obsm["spatial"] = np.zeros((adata.n_obs, 0))


def places_unknown(adata: AnnData) -> None:
    adata.obsm["spatial"] = np.full((adata.n_obs, 2), np.nan)


def negative_spread(adata: AnnData) -> None:
    adata.layers["std"] = -np.ones(adata.shape, np.float32)


def of_another_sample(adata: AnnData) -> None:
    adata.obs["sample"] = "Z"


def nothing_in_x(adata: AnnData) -> None:
    adata.X = None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_places, "holds no x and y"),
        (places_unknown, "places that are not numbers"),
        (negative_spread, "values below 0"),
        (of_another_sample, "no spot of B1"),
        (nothing_in_x, "has no X"),
    ],
)
def test_a_bad_anndata_is_refused_in_one_sentence(
    spoil: Any, said: str, truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    adata = predicted(truth["B1"])
    spoil(adata)
    adata.write_h5ad(tmp_path / "tool.h5ad")
    with pytest.raises(DataError, match=said) as refused:
        score(tmp_path / "tool.h5ad", only="B1")
    assert refused.value.hint


def test_a_library_that_all_spots_share_says_nothing_of_the_sample(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    adata = predicted(truth["B1"])
    adata.obs["library_id"] = "slide7"
    adata.write_h5ad(tmp_path / "tool.h5ad")
    assert pearson(score(tmp_path / "tool.h5ad", only="B1")[0])["tool"] > 0.35


def test_genes_of_one_symbol_are_numbered_as_in_the_data(
    truth: dict[str, AnnData], score: Any, tmp_path: Path
) -> None:
    frame = predicted(truth["B1"]).to_df()
    doubled = pd.concat([frame, frame[["ERBB2"]]], axis=1)
    doubled.to_csv(tmp_path / "tool.csv")
    summary, _ = score(tmp_path / "tool.csv", only="B1")
    assert summary["scored"]["genes"] == 21
    assert any("1 of the 21 predicted genes were not measured" in n for n in summary["notes"])
