"""Slides are given out one at a time, and whatever happens to a worker, each is done once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny.crew import PretendedCrew, write_output

from hypergene.errors import HypergeneError, OutputError, StorageError, UsageError
from hypergene.pipeline.cohort import dispatch
from hypergene.pipeline.cohort.claims import Claim, Claims
from hypergene.pipeline.cohort.dispatch import Dispatcher
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.records import record_path
from hypergene.pipeline.cohort.work import Report
from hypergene.pipeline.outcome import Outcome

MakeClaims = Callable[..., Claims]


def run(claims: Claims, crew: Any, jobs: list[Job]) -> tuple[list[Outcome], list[Job]]:
    told: list[Outcome] = []
    left = Dispatcher(claims, crew, told.append).run(jobs)
    assert crew.closed
    return told, left


def locks_in(job: Job) -> list[str]:
    return [name for name in os.listdir(job.out / ".hypergene") if name.endswith(".lock")]


def test_every_slide_is_done_once_and_told(jobs: list[Job], make_claims: MakeClaims) -> None:
    crew = PretendedCrew(write_output, size=2)
    told, left = run(make_claims(), crew, jobs)
    assert [outcome.slide.name for outcome in told] == ["a.svs", "b.svs", "c.svs"]
    assert left == []
    assert {worker for worker, _ in crew.given} == {0, 1}
    assert sorted(name for _, name in crew.given) == ["a", "b", "c"]
    assert locks_in(jobs[0]) == []


def test_no_worker_has_more_than_one_slide(jobs: list[Job], make_claims: MakeClaims) -> None:
    seen = []

    def do(job: Job) -> Report:
        seen.append(len(locks_in(job)))
        return write_output(job)

    run(make_claims(), PretendedCrew(do, size=2), jobs)
    assert max(seen) == 2, "the third slide is claimed when a worker is free"


def test_the_slide_of_a_dead_worker_is_done_by_another(
    jobs: list[Job], make_claims: MakeClaims, caplog: pytest.LogCaptureFixture
) -> None:
    deaths = iter([True])

    def do(job: Job) -> Report | None:
        if job.name == "a" and next(deaths, False):
            (job.out / ".a.zarr.999999999-0123abcd.tmp").mkdir()
            return None
        return write_output(job)

    crew = PretendedCrew(do)
    told, _ = run(make_claims(), crew, jobs)
    assert [name for _, name in crew.given] == ["a", "b", "c", "a"], "the others go first"
    assert all(outcome.error is None for outcome in told)
    assert "a: its worker died (signal SIGKILL)" in caplog.text
    assert sorted(os.listdir(jobs[0].out)) == [".hypergene", "a.zarr", "b.zarr", "c.zarr"]


def test_a_slide_that_kills_every_worker_fails_and_the_others_are_done(
    jobs: list[Job], make_claims: MakeClaims
) -> None:
    crew = PretendedCrew(lambda job: None if job.name == "b" else write_output(job))
    told, _ = run(make_claims(), crew, jobs)
    assert {outcome.slide.stem: outcome.error is None for outcome in told} == {
        "a": True,
        "b": False,
        "c": True,
    }
    assert "3 workers died over it (signal SIGKILL)" in str(told[-1].error)
    assert [name for _, name in crew.given].count("b") == dispatch.TRIES


def test_when_every_worker_dies_it_is_not_the_slides(
    jobs: list[Job], make_claims: MakeClaims
) -> None:
    with pytest.raises(HypergeneError, match="6 workers in a row died"):
        run(make_claims(), PretendedCrew(lambda job: None), jobs)
    assert locks_in(jobs[0]) == []


@pytest.mark.parametrize("kind", [UsageError, StorageError])
def test_what_would_meet_every_slide_ends_the_run_and_keeps_what_is_done(
    jobs: list[Job], make_claims: MakeClaims, kind: type[HypergeneError]
) -> None:
    def do(job: Job) -> Report:
        if job.name == "b":
            (job.out / ".b.zarr.999999999-0123abcd.tmp").mkdir()
            return Report(Outcome(job.slide), fatal=kind("No."))
        return write_output(job)

    claims = make_claims()
    with pytest.raises(kind):
        run(claims, PretendedCrew(do), jobs)
    assert [claims.state(job) for job in jobs] == ["done", "queued", "queued"]
    assert sorted(os.listdir(jobs[0].out)) == [".hypergene", "a.zarr"]


def test_an_interrupt_lets_go_of_all(jobs: list[Job], make_claims: MakeClaims) -> None:
    def do(job: Job) -> Report:
        raise KeyboardInterrupt

    claims = make_claims()
    crew = PretendedCrew(do, size=2)
    with pytest.raises(KeyboardInterrupt):
        Dispatcher(claims, crew, lambda outcome: None).run(jobs)
    assert crew.closed
    assert [claims.state(job) for job in jobs] == ["queued"] * 3


def test_what_cannot_be_written_down_ends_the_run(
    jobs: list[Job], make_claims: MakeClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def do(job: Job) -> Report:
        report = write_output(job)
        record_path(job).mkdir()  # stands for any reason
        (record_path(job) / "x").touch()
        return report

    claims = make_claims()
    with pytest.raises(OutputError):
        run(claims, PretendedCrew(do), jobs)
    assert locks_in(jobs[0]) == ["a.1.lock"], "else nobody would know whose output this is"
    shutil.rmtree(record_path(jobs[0]))
    told, _ = run(make_claims(), PretendedCrew(write_output), jobs)
    assert [outcome.error for outcome in told] == [None] * 3


def test_two_runs_share_the_slides(jobs: list[Job], make_claims: MakeClaims) -> None:
    """The second works while the first has its first slide."""
    second_crew = PretendedCrew(write_output)
    second: list[Outcome] = []

    def do(job: Job) -> Report:
        if not second:
            claims = make_claims()
            claims.is_alive = lambda job: True  # type: ignore[method-assign]
            told, left = run(claims, second_crew, jobs)
            assert [job.name for job in left] == ["a"]
            second.extend(told)
        return write_output(job)

    first_crew = PretendedCrew(do)
    told, left = run(make_claims(), first_crew, jobs)
    assert [name for _, name in first_crew.given] == ["a"]
    assert [name for _, name in second_crew.given] == ["b", "c"]
    assert [outcome.slide.stem for outcome in told] == ["a", "b", "c"]
    assert left == []


def test_a_slide_that_its_owner_lets_go_of_is_done_after_all(
    jobs: list[Job], make_claims: MakeClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_claims()
    claim = other.claim(jobs[0], ())
    assert isinstance(claim, Claim)
    monkeypatch.setattr(dispatch.time, "sleep", lambda seconds: other.drop(claim))
    told, left = run(make_claims(), PretendedCrew(write_output), jobs)
    assert [outcome.slide.stem for outcome in told] == ["b", "c", "a"]
    assert left == []


def test_outcomes_speak_of_the_slide_as_it_was_given(
    jobs: list[Job], make_claims: MakeClaims
) -> None:
    def do(job: Job) -> Report:
        report = write_output(job)
        report.outcome.slide = Path("/elsewhere") / job.slide.name
        return report

    told, _ = run(make_claims(), PretendedCrew(do), jobs[:1])
    assert told[0].slide == jobs[0].slide
