"""What ``hypergene predict`` hands to the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypergene.cli import main
from hypergene.pipeline import cohort as cohorts
from hypergene.pipeline import predict as predict_job
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.predict import PredictOptions


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {}

    def remember(slide: Path, out: Path | None, options: PredictOptions) -> Outcome:
        caught.update(slide=slide, out=out, options=options)
        return Outcome(slide=slide, output=slide.with_suffix(".zarr"), spots=2, genes=3)

    monkeypatch.setattr(predict_job, "predict_to_file", remember)
    return caught


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_without_flags_the_options_are_the_pipelines_defaults(seen: dict[str, Any]) -> None:
    assert run("predict", "a.svs") == 0
    assert seen["options"] == PredictOptions()
    assert seen["out"] is None


def test_every_flag_reaches_its_option(seen: dict[str, Any]) -> None:
    flags = (
        "-o out --model m --layout st --diameter 90 --pitch 180 --orientation 7.5 "
        "--offset=-20,30.5 --coords c.csv --mpp 0.5 "
        "--tissue none --min-tissue 0.5 --genes ERBB2,KRT5 --dtype float16 --format h5ad "
        "--device cpu --compile --batch-size 8 --workers 0 --seed 3 --overwrite"
    )
    assert run("predict", "a.svs", *flags.split()) == 0
    assert seen["out"] == Path("out")
    assert seen["options"] == PredictOptions(
        model="m",
        layout="st",
        diameter_um=90.0,
        pitch_um=180.0,
        orientation_deg=7.5,
        offset_um=(-20.0, 30.5),
        coords=Path("c.csv"),
        mpp=0.5,
        tissue="none",
        min_tissue=0.5,
        genes=("ERBB2", "KRT5"),
        dtype="float16",
        format="h5ad",
        device="cpu",
        compile=True,
        batch_size=8,
        workers=0,
        seed=3,
        overwrite=True,
    )


@pytest.fixture
def cohort(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {}

    def remember(*given: Any, **more: Any) -> list[Outcome]:
        caught.update(zip(("slides", "out", "options", "cohort"), given, strict=True), **more)
        return [Outcome(Path("a.svs"), Path("a.zarr")), Outcome(Path("b.svs"), error="No.")]

    monkeypatch.setattr(cohorts, "predict_cohort", remember)
    return caught


@pytest.mark.parametrize(
    "arguments",
    ["a.svs b.svs", "{folder}", "--samples s.csv", "a.svs --processes 1", "a.svs --engine ray", ""],
)
def test_more_than_one_slide_file_is_a_cohort(
    cohort: dict[str, Any], tmp_path: Path, arguments: str
) -> None:
    assert run("predict", *arguments.format(folder=tmp_path).split(), "-o", "out") == 3
    assert cohort["out"] == Path("out")
    assert cohort["options"] == PredictOptions()
    assert cohort["cohort"].resume


def test_every_flag_of_a_cohort_reaches_its_option(cohort: dict[str, Any]) -> None:
    flags = (
        "-o out --samples s.csv --no-resume --processes 3 --engine ray --address auto "
        "--gpus-per-worker 0.5 --genes ERBB2"
    )
    assert run("predict", *flags.split()) == 3
    assert cohort["sheet"] == Path("s.csv")
    assert cohort["slides"] == []
    assert cohort["options"].genes == ("ERBB2",)
    assert cohort["cohort"] == cohorts.CohortOptions(
        resume=False, engine="ray", processes=3, address="auto", gpus_per_worker=0.5
    )


def test_it_says_how_much_was_predicted(
    seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", "a.svs") == 0
    said = capsys.readouterr()
    assert said.out == "a.zarr\n"
    assert "2 spots × 3 genes" in said.err


@pytest.mark.parametrize(
    "flags",
    ["--batch-size 0", "--batch-size many", "--workers -1", "--workers 1.5", "--dtype int8"],
)
def test_what_is_no_number_is_wrong_usage(seen: dict[str, Any], flags: str) -> None:
    assert run("predict", "a.svs", *flags.split()) == 2
    assert not seen


def test_it_says_how_long_the_encoder_waited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def done(slide: Path, *_: object) -> Outcome:
        seconds = {"open": 1.0, "read": 1.0, "encode": 3.0}
        return Outcome(slide=slide, output=slide, spots=2, genes=3, seconds=seconds)

    monkeypatch.setattr(predict_job, "predict_to_file", done)
    assert run("predict", "a.svs") == 0
    said = capsys.readouterr().err
    assert "in 5.0 s (open 1.0, read 1.0, encode 3.0; the encoder waited 25%)" in said
