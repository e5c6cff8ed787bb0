"""A recipe is trained without each patient, and scored on what it never saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from hypergene.errors import OutputError, UsageError
from hypergene.pipeline import finetune as finetune_module
from hypergene.pipeline.evaluate import evaluate
from hypergene.pipeline.evaluation import cross_validate as cv_module
from hypergene.pipeline.evaluation import run as run_module
from hypergene.pipeline.evaluation.own import OwnModel
from hypergene.zoo import read_config

FAST: dict[str, Any] = {
    "replicates": 10, "device": "cpu", "workers": 0, "seeds": 2, "set": "train.epochs=2",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(
    tiny_cohort: Any, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Both patients held out in turn, two seeds."""
    out = tmp_path_factory.mktemp("cv") / "scores"
    with pytest.MonkeyPatch.context() as patch:
        # Pictures take seconds, and are looked at elsewhere.
        patch.setattr(run_module, "evaluation_page", lambda *_: "")
        patch.setattr(finetune_module, "draw_hierarchy", lambda *_: None)
        evaluate(tiny_cohort.sheet, out, cv="patient", recipe=tiny_recipe, **FAST)
    return out, json.loads((out / "summary.json").read_text())


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that would have been trained."""
    trained: list[Path] = []

    def refuse(samples: object, folder: Path, **_: Any) -> None:
        trained.append(folder)
        raise UsageError("no training")

    monkeypatch.setattr(cv_module, "finetune", refuse)
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    return trained


def test_every_fold_keeps_a_model_that_never_saw_its_patient(done: Any) -> None:
    out, _ = done
    folders = {path.name for path in (out / "folds").iterdir()}
    assert folders == {"A-seed0", "A-seed1", "B-seed0", "B-seed1"}
    for name in folders:
        seen = read_config(out / "folds" / name / "model").provenance.trained_on
        assert seen and not any(sample.startswith(name[0]) for sample in seen)


def test_every_sample_is_scored_once_by_models_of_all_seeds(done: Any) -> None:
    out, summary = done
    assert [(s["sample"], s["held_out"]) for s in summary["samples"]] == [
        (name, "patient") for name in ("A1", "A2", "B1", "B2")
    ]
    slides = pd.read_csv(out / "slides.csv")
    own = slides[(slides["method"] == "tiny") & (slides["gene_set"] == "expressed")]
    assert sorted(own["sample"]) == ["A1", "A2", "B1", "B2"]
    seeds = pd.read_csv(out / "seeds.csv")
    row = seeds[(seeds["gene_set"] == "expressed") & (seeds["metric"] == "pearson")]
    row = row.set_index("method")
    assert row.loc["tiny", "seeds"] == 2 and row.loc["tiny", "sd"] > 0
    assert row.loc["training mean", "sd"] == 0
    assert row.loc["ridge, slide-centred", "difference_sd"] > 0
    assert {"ridge, slide-centred", "training mean"} <= {
        r["method"] for r in summary["differences"]
    }


def test_what_chose_inside_a_fold_is_said(done: Any) -> None:
    _, summary = done
    assert any("no second patient is known to be left" in text for text in summary["warnings"])
    assert [fold["validation"] for fold in summary["scored"]["folds"]] == [["B2"], ["A2"]]
    assert summary["gene_sets"]["picked_on"] == "training"


def test_expression_of_the_held_out_changes_no_weight_and_no_prediction_of_its_fold(
    done: Any, tiny_cohort: Any, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "evaluation_page", lambda *_: "")
    monkeypatch.setattr(finetune_module, "draw_hierarchy", lambda *_: None)
    shutil.copytree(tiny_cohort.folder, tmp_path / "changed")
    changed = tmp_path / "changed" / tiny_cohort.sheet.name
    for number, name in enumerate(("B1", "B2")):
        path = tmp_path / "changed" / "ST-cnts" / f"{name}.tsv"
        table = pd.read_csv(path, sep="\t", index_col=0)
        values = np.random.default_rng(number).permutation(table.to_numpy().ravel()) * 3 + 1
        pd.DataFrame(values.reshape(table.shape), table.index, table.columns).to_csv(path, sep="\t")
    options = FAST | {"seeds": 1, "only": ("B1", "B2")}
    evaluate(changed, tmp_path / "scores", cv="patient", recipe=tiny_recipe, **options)
    folds = [out / "folds" / "B-seed0" / "model" for out in (done[0], tmp_path / "scores")]
    before, after = (load_file(folder / "model.safetensors") for folder in folds)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name].tobytes() != after[name].tobytes()] == []

    said: list[bytes] = []
    predict = OwnModel.predict

    def record(*arguments: Any, **options: Any) -> Any:
        found = predict(*arguments, **options)
        said.extend(np.asarray(one.mean).tobytes() for one in found.values())
        return found

    monkeypatch.setattr(OwnModel, "predict", record)
    scored = []
    for number, sheet in enumerate((tiny_cohort.sheet, changed)):
        out = tmp_path / f"model{number}"
        evaluate(
            sheet, out, model=str(folds[0]), only="B1", train="A1,A2", replicates=10, device="cpu",
            workers=0, cache=tmp_path / "cache",
        )  # fmt: skip
        scored.append(pd.read_csv(out / "genes.csv")["pearson"])
    assert len(said) == 4 and said[:2] == said[2:]
    assert not scored[0].equals(scored[1]), "the scores are those of the new truth"


def test_embeddings_of_two_models_are_never_joined(done: Any) -> None:
    out, _ = done
    mixing = pd.read_csv(out / "mixing.csv")
    assert set(mixing["fold"]) == {f"{p}, seed {k}" for p in "AB" for k in (0, 1)}
    assert "module" not in set(pd.read_csv(out / "scales.csv")["kind"])


def test_a_finished_fold_is_not_trained_again(
    done: Any, tiny_cohort: Any, tiny_recipe: Path, no_training: list[Path]
) -> None:
    out, _summary = done
    before = (out / "summary.csv").read_bytes()
    evaluate(tiny_cohort.sheet, out, cv="patient", recipe=tiny_recipe, overwrite=True, **FAST)
    assert no_training == []
    assert (out / "summary.csv").read_bytes() == before


def test_a_fold_of_another_recipe_is_not_taken_for_this_one(
    done: Any, tiny_cohort: Any, tiny_recipe: Path, no_training: list[Path]
) -> None:
    out, _ = done
    (out / "summary.json").rename(out / "kept.json")
    options = FAST | {"set": "train.epochs=3"}
    try:
        with pytest.raises(OutputError, match="was trained otherwise"):
            evaluate(tiny_cohort.sheet, out, cv="patient", recipe=tiny_recipe, **options)
    finally:
        (out / "kept.json").rename(out / "summary.json")
    assert no_training == []


def test_a_broken_fold_is_trained_on_from_where_it_stood(
    tiny_cohort: Any, tiny_recipe: Path, no_training: list[Path], tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="no training"):
            evaluate(tiny_cohort.sheet, tmp_path, cv="section", recipe=tiny_recipe, **FAST)
        kept = tmp_path / "folds" / "A1-seed0" / "checkpoints"
        kept.mkdir(exist_ok=True)
    assert kept.exists()
    assert [folder.name for folder in no_training] == ["A1-seed0"] * 2


def test_without_patients_it_refuses_unless_sections_are_asked_for(
    tiny_cohort: Any, tiny_recipe: Path, no_training: list[Path], tmp_path: Path
) -> None:
    sheet = tiny_cohort.folder / "nobody.csv"
    lines = tiny_cohort.sheet.read_text().splitlines()
    nameless = [",".join([row.split(",")[0], "", *row.split(",")[2:]]) for row in lines[1:]]
    sheet.write_text("\n".join([lines[0], *nameless]) + "\n")
    with pytest.raises(UsageError, match="The patient of A1 is not known") as refusal:
        evaluate(sheet, tmp_path / "scores", cv="patient", recipe=tiny_recipe, **FAST)
    assert "--cv section" in (refusal.value.hint or "")
    with pytest.raises(UsageError, match="no training"):
        evaluate(sheet, tmp_path / "scores", cv="section", recipe=tiny_recipe, **FAST)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "hypergene"}, "nothing says what to hold out"),
        ({"cv": "patient", "model": "m"}, "no use for --model"),
        ({"cv": "patient", "train": "A1"}, "no use for --train"),
        ({"cv": "patient", "labels": "l.csv"}, "no use for --labels"),
        ({"cv": "patient", "preset": "none"}, "There is no preset"),
        ({"cv": "section", "seeds": 0}, "at least one seed"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], match: str, tiny_cohort: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=match):
        evaluate(tiny_cohort.sheet, tmp_path / "scores", **options)
    assert not (tmp_path / "scores").exists()
