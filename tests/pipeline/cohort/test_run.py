"""Cohorts with real slides, a real model and workers in processes of their own."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from kill_cohort import contents, kill_and_resume, strays
from tiny.crew import PretendedCrew

from hypergene.cli import main
from hypergene.errors import OutputError, StorageError, UsageError
from hypergene.output import atomic
from hypergene.pipeline.cohort import CohortOptions, predict_cohort, run
from hypergene.pipeline.cohort.local import LocalCrew
from hypergene.pipeline.cohort.work import Event, work
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.painted import paint_slide
from hypergene.pipeline.predict import PredictOptions, predict_to_file


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three painted slides, 600 px at 1 µm/px."""
    folder = tmp_path_factory.mktemp("slides")
    for seed in range(3):
        paint_slide(folder / f"s{seed}.tiff", size_px=600, mpp=1.0, seed=seed)
    return folder


@pytest.fixture(scope="module")
def options(tiny_model: Path) -> PredictOptions:
    return PredictOptions(model=str(tiny_model), device="cpu", workers=0)


@dataclass
class Finished:
    out: Path
    outcomes: list[Outcome]
    deaths: list[str]


@pytest.fixture(scope="module")
def finished(
    slides: Path, options: PredictOptions, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A cohort done by one process, whose worker was killed over its first slide."""
    out = tmp_path_factory.mktemp("cohort") / "out"
    deaths = []

    class Killed(LocalCrew):
        def give(self, worker: int, job: Any) -> None:
            super().give(worker, job)
            if not deaths:
                (pid,) = self.processes()
                os.kill(pid, 9)

        def wait(self, seconds: float) -> list[Event]:
            events = super().wait(seconds)
            deaths.extend(event.reason for event in events if event.report is None)
            return events

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "LocalCrew", Killed)
        outcomes = predict_cohort([slides], out, options)
    return Finished(out, outcomes, deaths)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[PretendedCrew]:
    """Let workers work in this process; return those that were asked for."""
    crews: list[PretendedCrew] = []

    def crew(*_: Any) -> PretendedCrew:
        crews.append(PretendedCrew(work))
        return crews[-1]

    monkeypatch.setattr(run, "_crew", crew)
    return crews


def leave(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def flags(options: PredictOptions, out: Path) -> list[str | Path]:
    return ["--model", options.model, "--device", "cpu", "--workers", "0", "--out", out]


def test_a_killed_worker_costs_no_slide(finished: Finished) -> None:
    assert finished.deaths == ["signal SIGKILL"]
    assert sorted(outcome.slide.name for outcome in finished.outcomes) == [
        "s0.tiff",
        "s1.tiff",
        "s2.tiff",
    ]
    assert [outcome.error for outcome in finished.outcomes] == [None] * 3
    assert strays(finished.out) == []


def test_the_outputs_are_those_of_slides_done_one_by_one(
    finished: Finished, slides: Path, options: PredictOptions, tmp_path: Path
) -> None:
    for slide in sorted(slides.iterdir()):
        predict_to_file(slide, tmp_path, options)
    alone, together = contents(tmp_path), contents(finished.out)
    assert len(alone) == 3
    assert all(len(arrays) > 20 for arrays in alone.values())
    assert alone == together


def test_the_summary_says_how_it_stands_with_every_slide(finished: Finished) -> None:
    with (finished.out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["state"], row["genes"]) for row in rows] == [
        (f"s{number}", "done", "20") for number in range(3)
    ]
    assert all(int(row["spots"]) > 2 and float(row["seconds"]) > 0 for row in rows)
    about = json.loads((finished.out / "run.json").read_text())
    assert about["slides"] == 3
    assert about["states"] == {"done": 3, "failed": 0, "running": 0, "queued": 0}
    assert about["options"]["device"] == "cpu"
    assert about["started"] < about["ended"]


def test_going_on_does_nothing_twice_and_prints_all_results(
    finished: Finished,
    slides: Path,
    options: PredictOptions,
    here: list[PretendedCrew],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(finished.out)
    assert leave("predict", slides, *flags(options, finished.out)) == 0
    assert here == [], "no worker was needed"
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(finished.out / f"s{n}.zarr") for n in range(3)]
    assert "3 of 3 slides are done already" in said.err
    assert contents(finished.out) == before


def test_a_bad_slide_stops_no_other_and_is_tried_again(
    finished: Finished,
    slides: Path,
    options: PredictOptions,
    here: list[PretendedCrew],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    shutil.copytree(slides, folder)
    (folder / "s1.tiff").write_text("notes")
    command = ("predict", folder, *flags(options, out), "--json")
    assert leave(*command) == 3
    told = {Path(o["slide"]).name: o for o in map(json.loads, capsys.readouterr().out.splitlines())}
    assert "s1.tiff" in told["s1.tiff"]["error"]
    assert [told[name]["error"] for name in ("s0.tiff", "s2.tiff")] == [None, None]
    with (out / "summary.csv").open() as file:
        states = {row["name"]: (row["state"], row["error"]) for row in csv.DictReader(file)}
    assert states["s1"] == ("failed", told["s1.tiff"]["error"])
    assert states["s2"] == ("done", "")

    shutil.copy(slides / "s1.tiff", folder)
    assert leave(*command) == 0
    assert [name for _, name in here[-1].given] == ["s1"]
    assert contents(out) == contents(finished.out)


def test_other_options_are_refused_before_any_work(
    finished: Finished, slides: Path, options: PredictOptions, here: list[PretendedCrew]
) -> None:
    before = contents(finished.out)
    other = replace(options, genes=("ERBB2",))
    with pytest.raises(OutputError, match=r"made otherwise \(genes.* The same goes for 2 more"):
        predict_cohort([slides], finished.out, other)
    assert here == []
    assert contents(finished.out) == before


def test_a_slip_in_an_option_is_said_before_it_is_compared_with_what_was_made(
    options: PredictOptions,
) -> None:
    with pytest.raises(UsageError, match="no layout 'visum'"):
        replace(options, layout="visum")


def test_a_sheet_names_its_outputs(
    finished: Finished,
    slides: Path,
    options: PredictOptions,
    here: list[PretendedCrew],
    tmp_path: Path,
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,slide,mpp\nfirst,{slides / 's0.tiff'},\n2nd,{slides / 's0.tiff'},2\n")
    assert leave("predict", "--samples", sheet, *flags(options, tmp_path / "out")) == 0
    made = contents(tmp_path / "out")
    assert sorted(made) == ["2nd.zarr", "first.zarr"]
    expected = contents(finished.out)["s0.zarr"]
    assert made["first.zarr"]["X"] == expected["X"]
    assert made["2nd.zarr"]["X"] != expected["X"]


def test_a_run_that_fails_at_once_leaves_nothing(
    slides: Path, options: PredictOptions, here: list[PretendedCrew], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not know"):
        predict_cohort([slides], tmp_path / "x" / "out", replace(options, genes=("NOGENE",)))
    assert list(tmp_path.iterdir()) == []


def test_killed_and_gone_on_with_it_is_as_if_nothing_had_happened(
    finished: Finished, slides: Path, tiny_model: Path, tmp_path: Path
) -> None:
    hits = kill_and_resume(
        slides, tiny_model, contents(finished.out), tmp_path, kills=2, longest_s=4.0, seed=1
    )
    assert hits.total() == 2


@pytest.fixture
def small_disk(tmp_path: Path, finished: Finished) -> Iterator[Path]:
    """A disk with room for one output and a half."""
    sizes = [p.stat().st_size for p in (finished.out / "s0.zarr").rglob("*") if p.is_file()]
    blocks = sum(-(-size // 4096) for size in sizes)
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={int(blocks * 1.5) * 4}k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("format", ["zarr", "h5ad"])
def test_a_full_disk_is_one_sentence_and_keeps_what_is_done(
    small_disk: Path,
    slides: Path,
    options: PredictOptions,
    here: list[PretendedCrew],
    capsys: pytest.CaptureFixture[str],
    format: str,
) -> None:
    if format == "h5ad":  # smaller than a store of many files
        (small_disk / "ballast").write_bytes(bytes(_free(small_disk) - 2_000_000))
    out = small_disk / "out"
    command = ("predict", slides, *flags(options, out), "--format", format)
    assert leave(*command) == 1
    said = capsys.readouterr()
    assert said.err.count("Error: ") == 1
    assert "No space left on device" in said.err
    assert "Traceback" not in said.err
    done = [path.name for path in out.iterdir() if path.suffix == f".{format}"]
    assert 1 <= len(done) < 3
    assert set(said.out.splitlines()) <= {str(out / name) for name in done}

    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    assert leave(*command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len(list(out.glob(f"s?.{format}"))) == 3
    assert [name for name in strays(out) if not name.endswith(".h5ad")] == []


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def test_a_disk_that_is_read_only_is_one_sentence_and_keeps_what_is_done(
    small_disk: Path, slides: Path, options: PredictOptions, here: list[PretendedCrew]
) -> None:
    out = small_disk / "out"
    predict_cohort([slides / "s0.tiff"], out, options)
    done_by = len(here)
    before = contents(out)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        predict_cohort([slides], out, options)
    assert contents(out) == before
    assert [crew.given for crew in here[done_by:]] == [[]]


def test_a_disk_that_fills_up_is_said_where_none_can_be_mounted(
    slides: Path,
    options: PredictOptions,
    here: list[PretendedCrew],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move = atomic._move_into_place

    def fill(draft: Path, final: Path) -> None:
        if final.name == "s1.zarr":
            raise OSError(errno.ENOSPC, "No space left on device")
        move(draft, final)

    monkeypatch.setattr(atomic, "_move_into_place", fill)
    with pytest.raises(StorageError, match=r"s1.zarr cannot be written \(No space left"):
        predict_cohort([slides], tmp_path, options)
    assert sorted(contents(tmp_path)) == ["s0.zarr"]
    assert strays(tmp_path) == []


def test_slides_beside_which_results_go_have_no_summary(
    slides: Path, options: PredictOptions, here: list[PretendedCrew], tmp_path: Path
) -> None:
    copies = [Path(shutil.copy(slides / f"s{n}.tiff", tmp_path)) for n in range(2)]
    predict_cohort(copies, None, options)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".hypergene", "s0.tiff", "s0.zarr", "s1.tiff", "s1.zarr"]


@pytest.mark.parametrize(
    "given",
    [
        {"processes": 0},
        {"gpus_per_worker": 1.5, "engine": "ray"},
        {"gpus_per_worker": -1, "engine": "ray"},
        {"gpus_per_worker": 1},
        {"address": "auto"},
        {"engine": "dask"},
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CohortOptions(**given)
