"""What ``hypergene data check`` hands to the pipeline, prints, and leaves with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hypergene.cli import main
from hypergene.pipeline import data_check as data_check_job
from hypergene.pipeline.checks.genes import GenesInCommon
from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.verdict import Level, Verdict
from hypergene.pipeline.data_check import DataCheck, DataCheckOptions


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def found(*levels: Level) -> DataCheck:
    row = SampleRow("A1", None, "h5ad", Path("a.svs"), Path("a.h5ad"))
    verdicts = tuple(Verdict(level, "a_code", ("A1",), "A1: it is.", "Do it.") for level in levels)
    return DataCheck((row,), verdicts, GenesInCommon(None, (), []))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {"found": found()}

    def remember(samples: object, options: DataCheckOptions) -> DataCheck:
        caught.update(samples=samples, options=options)
        return caught["found"]

    monkeypatch.setattr(data_check_job, "check_samples", remember)
    return caught


def test_without_flags_the_options_are_the_pipelines_defaults(
    seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "check", "samples.csv") == 0
    assert seen["samples"] == Path("samples.csv")
    assert seen["options"] == DataCheckOptions()
    said = capsys.readouterr()
    assert said.out.startswith("sample  patient")
    assert "0 failures, 0 warnings." in said.out
    assert said.err == ""


def test_flags_are_passed_on(seen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "check", "s", "--mpp", "0.5", "-o", "out", "--overwrite") == 0
    assert seen["options"] == DataCheckOptions(mpp=0.5, out=Path("out"), overwrite=True)
    assert "contact-sheet.png" in capsys.readouterr().err


@pytest.mark.parametrize(("levels", "code"), [((), 0), (("warn",), 0), (("fail", "warn"), 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_only_a_failure_leaves_with_1(
    seen: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    levels: tuple[Level, ...],
    code: int,
    as_json: bool,
) -> None:
    seen["found"] = found(*levels)
    assert run("data", "check", "s.csv", *["--json"] * as_json) == code
    said = capsys.readouterr().out
    if as_json:
        assert [verdict["level"] for verdict in json.loads(said)["verdicts"]] == list(levels)
        assert said.count("\n") == 1
    else:
        assert said.count("[a_code]") == len(levels)
        assert ("FAIL  A1: it is." in said) == ("fail" in levels)


def test_a_single_pair_becomes_a_list_of_one_sample(seen: dict[str, Any], tmp_path: Path) -> None:
    slide, data = tmp_path / "a.svs", tmp_path / "a.h5ad"
    slide.touch()
    data.touch()
    assert run("data", "check", "--slide", slide, "--data", data, "--patient", "P1") == 0
    (sample,) = seen["samples"]
    assert (sample.slide, sample.data, sample.patient) == (slide, data, "P1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "check"),
        ("data", "check", "--slide", "a.svs"),
        ("data", "check", "s.csv", "--slide", "a.svs", "--data", "d"),
        ("data", "check", "s.csv", "--mpp", "half"),
        ("data", "nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_leaves_with_2(
    seen: dict[str, Any], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error" in said.err
    assert "samples" not in seen


def test_a_sheet_that_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sheet.csv").write_text("sample,patient\nA1,A\n")
    assert run("data", "check", tmp_path / "sheet.csv") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "no column slide, data" in said.err


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "--help") == 0
    assert "\n  check " in capsys.readouterr().out
    assert run("data", "check", "--help") == 0
    assert "Usage: hypergene data check" in capsys.readouterr().out


def test_the_whole_command_on_made_sections(
    tiny_cohort: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "check", tiny_cohort.sheet, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    rows = said.out.splitlines()[:5]
    assert [row.split()[0] for row in rows] == ["sample", "A1", "A2", "B1", "B2"]
    assert "WARN" in said.out and "FAIL" not in said.out
    assert (tmp_path / "out" / "contact-sheet.png").is_file()
    assert "Warning" not in said.err


def test_an_example_is_written_where_it_is_wanted_and_its_sheet_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from hypergene.pipeline import painted_visium

    monkeypatch.setattr(painted_visium, "write_painted_visium", lambda folder: folder / "s.csv")
    assert run("data", "example", "--out", tmp_path / "mine") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mine' / 's.csv'}\n"
