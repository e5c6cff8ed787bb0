"""What ``hypergene evaluate`` hands to the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypergene.cli import main
from hypergene.pipeline import evaluate as evaluate_job
from hypergene.pipeline.evaluation.options import EvaluateOptions


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {}

    def remember(samples: object, out: Path, options: EvaluateOptions) -> Path:
        caught.update(samples=samples, out=out, options=options)
        return out / "report.html"

    monkeypatch.setattr(evaluate_job, "evaluate", remember)
    return caught


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_without_flags_the_options_are_the_pipelines_defaults(
    seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "samples.csv", "--model", "m", "--out", "e") == 0
    assert seen["samples"] == Path("samples.csv")
    assert seen["options"] == EvaluateOptions(model="m")
    assert capsys.readouterr().out == f"{Path('e') / 'report.html'}\n"


def test_another_tool_is_given_with_its_truth(seen: dict[str, Any]) -> None:
    arguments = ("--predictions", "t.h5ad", "--truth", "s.csv", "--units", "counts")
    assert run("evaluate", *arguments, "--layer", "mean", "-o", "e") == 0
    options = seen["options"]
    assert seen["samples"] == Path("s.csv")
    assert (options.predictions, options.units, options.layer) == (Path("t.h5ad"), "counts", "mean")


def test_names_are_given_with_commas_or_one_by_one(seen: dict[str, Any]) -> None:
    lists = ("--only", "B4, C3", "--only", "C4", "--genes", "ERBB2,KRT8", "--train", "C5,C6")
    assert run("evaluate", "s.csv", "--model", "m", "-o", "e", *lists) == 0
    options = seen["options"]
    assert options.only == ("B4", "C3", "C4")
    assert options.genes == ("ERBB2", "KRT8")
    assert options.train == "C5,C6"


def test_a_recipe_is_cross_validated(seen: dict[str, Any]) -> None:
    recipe = ("--recipe", "r.toml", "--set", "train.lr=1e-4", "--set", "head.modules=8")
    assert run("evaluate", "s.csv", "--cv", "section", *recipe, "--seeds", "5", "-o", "e") == 0
    options = seen["options"]
    assert (options.cv, options.recipe, options.seeds) == ("section", Path("r.toml"), 5)
    assert options.set == ("train.lr=1e-4", "head.modules=8")
    assert (options.model, options.preset) == (None, None)
