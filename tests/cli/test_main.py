"""What is said where, and with which exit code the process leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hypergene import __version__
from hypergene.cli import main
from hypergene.errors import SlideError, UsageError
from hypergene.pipeline import tile as tile_job
from hypergene.pipeline.outcome import Outcome

Job = Callable[..., Outcome]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[[Job], None]:
    def replace(stand_in: Job) -> None:
        monkeypatch.setattr(tile_job, "tile", stand_in)

    return replace


def succeeds_unless_bad(slide: Path, out: Path | None, options: object) -> Outcome:
    if slide.stem.startswith("bad"):
        raise SlideError(f"{slide} is damaged.", hint="Copy it again.")
    return Outcome(slide=slide, output=Path(f"{slide.stem}.spots.zarr"), spots=7)


@pytest.mark.parametrize(
    "command",
    [
        *("predict", "tile", "finetune", "pretrain", "evaluate", "report", "plot", "export"),
        *("models", "demo", "doctor"),
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert f"\n  {command} " in capsys.readouterr().out
    assert run(command, "--help") == 0
    assert f"Usage: hypergene {command}" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"hypergene {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("tile",),
        ("predict",),
        ("nonsense",),
        ("tile", "a.svs", "--nonsense"),
        ("tile", "a.svs", "--mpp", "half"),
        ("tile", "a.svs", "--workers", "-1"),
        ("predict", "a.svs", "--format", "csv"),
        ("predict", "a.svs", "--batch-size", "0"),
        ("predict", "a.svs", "--genes", "missing-list.txt"),
        ("finetune", "samples.csv"),
        ("finetune", "--out", "m"),
        ("evaluate", "samples.csv", "--model", "m"),
        ("evaluate", "samples.csv", "--out", "e"),
        ("evaluate", "samples.csv", "--out", "e", "--model", "m", "--predictions", "p.h5ad"),
        ("evaluate", "samples.csv", "--out", "e", "--model", "m", "--units", "counts"),
        ("evaluate", "samples.csv", "--truth", "t.csv", "--out", "e", "--predictions", "p.h5ad"),
        ("evaluate", "--out", "e", "--model", "m"),
        ("finetune", "--out", "m", "--slide", "a.svs"),
        ("finetune", "samples.csv", "--out", "m", "--slide", "a.svs", "--data", "d"),
        ("tile", "x/a.svs", "y/a.tiff", "-o", "z"),
    ],
    ids=" ".join,
)
def test_wrong_usage_leaves_with_2_and_one_sentence(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error" in said.err
    assert "Traceback" not in said.err


def test_results_go_to_stdout_and_the_rest_to_stderr(
    job: Callable[[Job], None], capsys: pytest.CaptureFixture[str]
) -> None:
    job(succeeds_unless_bad)
    assert run("tile", "a.svs", "b.svs") == 0
    said = capsys.readouterr()
    assert said.out == "a.spots.zarr\nb.spots.zarr\n"
    assert "a.svs: 7 spots" in said.err


def test_json_is_one_object_a_slide(
    job: Callable[[Job], None], capsys: pytest.CaptureFixture[str]
) -> None:
    job(succeeds_unless_bad)
    assert run("tile", "a.svs", "bad.svs", "c.svs", "--json") == 3
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["output"] == "a.spots.zarr"
    assert first["error"] is None
    assert second["output"] is None
    assert second["error"] == "bad.svs is damaged."
    assert second["hint"] == "Copy it again."
    assert third["spots"] == 7


def test_one_slide_that_fails_leaves_with_1(
    job: Callable[[Job], None], capsys: pytest.CaptureFixture[str]
) -> None:
    job(succeeds_unless_bad)
    assert run("tile", "bad.svs") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Error: bad.svs is damaged.\nCopy it again.\n"


def test_an_impossible_option_is_said_once_and_leaves_with_2(
    job: Callable[[Job], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(slide: Path, out: Path | None, options: object) -> Outcome:
        raise UsageError("There is no layout 'x'.")

    job(refuse)
    assert run("tile", "a.svs", "b.svs") == 2
    assert capsys.readouterr().err.count("no layout 'x'") == 1


def test_a_bug_asks_for_a_report_and_shows_its_trace_only_when_asked(
    job: Callable[[Job], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down(slide: Path, out: Path | None, options: object) -> Outcome:
        raise ZeroDivisionError("by zero")

    job(break_down)
    monkeypatch.setenv("HYPERGENE_DEBUG", "0")
    assert run("tile", "a.svs") == 1
    quiet = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in quiet
    assert "report" in quiet
    assert "Traceback" not in quiet
    assert run("tile", "a.svs", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_leaves_with_130(job: Callable[[Job], None]) -> None:
    def interrupt(slide: Path, out: Path | None, options: object) -> Outcome:
        raise KeyboardInterrupt

    job(interrupt)
    assert run("tile", "a.svs") == 130
