"""What ``hypergene finetune`` hands to the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypergene.cli import main
from hypergene.pipeline import finetune as finetune_job
from hypergene.pipeline.finetune import FinetuneOptions


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {}

    def remember(samples: object, out: Path, options: FinetuneOptions) -> Path:
        caught.update(samples=samples, out=out, options=options)
        return out / "model"

    monkeypatch.setattr(finetune_job, "finetune", remember)
    return caught


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_without_flags_the_options_are_the_pipelines_defaults(
    seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("finetune", "samples.csv", "--out", "m") == 0
    assert seen["samples"] == Path("samples.csv")
    assert seen["options"] == FinetuneOptions()
    assert capsys.readouterr().out == f"{Path('m') / 'model'}\n"


def test_samples_are_named_with_commas_or_one_by_one(seen: dict[str, Any]) -> None:
    assert run("finetune", "s.csv", "-o", "m", "--test", "B4, C3", "--test", "C4,B4") == 0
    assert seen["options"].test == ("B4", "C3", "C4")


def test_values_of_the_recipe_are_passed_on_as_they_are(seen: dict[str, Any]) -> None:
    values = ("optimisation.epochs=3", "niche.edges=[0, 1.25]")
    assert run("finetune", "s.csv", "-o", "m", "--set", values[0], "--set", values[1]) == 0
    assert seen["options"].set == values


def test_a_run_may_start_anew(seen: dict[str, Any]) -> None:
    assert run("finetune", "s.csv", "-o", "m", "--no-resume", "--epochs", "2", "--seed", "7") == 0
    options = seen["options"]
    assert (options.resume, options.epochs, options.seed) == (False, 2, 7)


def test_a_single_pair_becomes_a_list_of_one_sample(seen: dict[str, Any], tmp_path: Path) -> None:
    slide, data = tmp_path / "a.svs", tmp_path / "a.h5ad"
    slide.touch()
    data.touch()
    pair = ("--slide", slide, "--data", data, "--patient", "P1", "--mpp", "0.5")
    assert run("finetune", "-o", "m", *pair) == 0
    (sample,) = seen["samples"]
    assert (sample.slide, sample.data, sample.patient) == (slide, data, "P1")
    assert (sample.format, sample.mpp) == ("h5ad", 0.5)


def test_a_pair_that_is_not_there_is_an_error(
    seen: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--slide", tmp_path / "no.svs", "--data", tmp_path / "no.h5ad")
    assert run("finetune", "-o", "m", *pair) == 1
    assert "no.svs" in capsys.readouterr().err
    assert not seen
