"""What is done is known, what is not is done again, and nothing is replaced in silence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tiny.crew import write_output

from hypergene.errors import OutputError
from hypergene.pipeline.cohort.claims import Claim, Claims
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.records import record_path
from hypergene.pipeline.outcome import Outcome

MakeClaims = Callable[..., Claims]


@pytest.fixture
def job(jobs: list[Job]) -> Job:
    return jobs[0]


def with_options(job: Job, **options: Any) -> Job:
    return replace(job, options=replace(job.options, **options))


def do(claims: Claims, job: Job) -> Claim:
    claim = claims.claim(job, ())
    assert isinstance(claim, Claim)
    assert claims.settle(claim, write_output(claim.job).outcome)
    return claim


def begin_and_die(claims: Claims, job: Job) -> Claim:
    """Leave what a process leaves that is killed while it has a slide."""
    claim = claims.claim(job, ())
    assert isinstance(claim, Claim)
    claim.lock.path.write_text(json.dumps(asdict(replace(claim.lock.owner, born="1"))))
    return claim


def test_a_slide_that_is_done_is_passed_over_with_its_outcome(
    job: Job, make_claims: MakeClaims
) -> None:
    assert make_claims().look(job) is None
    do(make_claims(), job)
    outcome = make_claims().look(job)
    assert outcome == Outcome(job.slide, job.target, spots=3, genes=2, seconds={"read": 1.0})
    assert make_claims().claim(job, ()) == outcome
    assert make_claims().state(job) == "done"
    assert os.listdir(job.out / ".hypergene") == ["a.json"]


def test_what_cannot_change_the_answer_does_not_matter(job: Job, make_claims: MakeClaims) -> None:
    do(make_claims(), job)
    os.utime(job.slide, (1, 1))
    assert make_claims().look(with_options(job, device="cpu", batch_size=3, workers=1)) is not None


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        ({"min_tissue": 0.5}, "m", r"min_tissue 0.25 instead of 0.5"),
        ({"genes": ("A",)}, "m", "genes"),
        ({"layout": "visium"}, "m", "layout the default instead of visium"),
        ({}, "n", "another model"),
    ],
)
def test_what_was_made_otherwise_is_refused_unless_it_may_be_replaced(
    job: Job, make_claims: MakeClaims, options: dict[str, Any], model: str, said: str
) -> None:
    do(make_claims(), job)
    other = with_options(job, **options)
    with pytest.raises(OutputError, match=rf"a.zarr was made otherwise \(.*{said}.*--overwrite"):
        make_claims(model).look(other)
    assert make_claims(model).look(with_options(other, overwrite=True)) is None
    # ... and what is as it should be is not made again even then
    assert make_claims().look(with_options(job, overwrite=True)) is not None


def test_a_slide_whose_content_changed_is_not_the_same(job: Job, make_claims: MakeClaims) -> None:
    do(make_claims(), job)
    job.slide.write_text("other pixels")
    with pytest.raises(OutputError, match="another slide"):
        make_claims().look(job)


def test_the_content_of_coordinates_counts_not_their_name(
    job: Job, make_claims: MakeClaims, tmp_path: Path
) -> None:
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    do(make_claims(), with_options(job, coords=tmp_path / "c.csv"))
    (tmp_path / "c.csv").write_text("x,y\n1,3\n")
    with pytest.raises(OutputError, match="another coords"):
        make_claims().look(with_options(job, coords=tmp_path / "c.csv"))


def test_an_output_of_nobody_knows_where_is_refused(job: Job, make_claims: MakeClaims) -> None:
    job.out.mkdir()
    write_output(job)
    with pytest.raises(OutputError, match="exists already"):
        make_claims().look(job)
    assert make_claims().look(with_options(job, overwrite=True)) is None


@pytest.mark.parametrize("damage", ["gone", "cut", "lost a file"])
def test_an_output_that_is_not_whole_is_made_again(
    job: Job, make_claims: MakeClaims, damage: str
) -> None:
    do(make_claims(), job)
    if damage == "gone":
        shutil.rmtree(job.target)
    elif damage == "cut":
        (job.target / "zarr.json").write_text("x")
    else:
        (job.target / "zarr.json").unlink()
    assert make_claims().look(job) is None
    do(make_claims(), job)
    assert make_claims().look(job) is not None


def test_a_record_cut_short_by_a_power_failure_is_no_record(
    job: Job, make_claims: MakeClaims
) -> None:
    do(make_claims(), job)
    record_path(job).write_text('{"state": "do')
    assert make_claims().look(job) is None
    do(make_claims(), job)
    assert make_claims().look(job) is not None


def test_what_an_orphan_was_writing_does_not_outlive_the_slide(
    job: Job, make_claims: MakeClaims
) -> None:
    claims = make_claims()
    claim = claims.claim(job, ())
    assert isinstance(claim, Claim)
    draft = job.target.with_name(f".{job.target.name}.{os.getppid()}-0123abcd.tmp")
    draft.mkdir(parents=True)  # by a process that is alive
    assert claims.settle(claim, Outcome(job.slide, error="It is damaged."))
    assert not draft.exists()


def test_a_slide_that_failed_is_done_again(job: Job, make_claims: MakeClaims) -> None:
    claims = make_claims()
    claim = claims.claim(job, ())
    assert isinstance(claim, Claim)
    claims.settle(claim, Outcome(job.slide, error="It is damaged."))
    assert claims.state(job) == "failed"
    assert make_claims().look(job) is None
    do(make_claims(), job)


def test_without_resume_all_is_done_again_but_only_with_leave(
    job: Job, make_claims: MakeClaims
) -> None:
    do(make_claims(), job)
    again = make_claims(resume=False)
    with pytest.raises(OutputError, match=r"exists already \(--no-resume begins again\)"):
        again.look(job)
    job = with_options(job, overwrite=True)
    assert again.look(job) is None
    do(again, job)
    assert isinstance(again.claim(job, ()), Outcome), "what this run did is not done twice"


def test_a_slide_that_another_process_has_is_left_to_it(job: Job, make_claims: MakeClaims) -> None:
    claims = make_claims()
    claim = claims.claim(job, ())
    assert isinstance(claim, Claim)
    assert claims.state(job) == "running"
    assert make_claims().claim(job, ()) is None
    assert make_claims().look(job) is None
    assert f"process {os.getpid()} on " in claims.owner(job)


def test_after_a_kill_what_was_left_goes_and_the_slide_is_done(
    job: Job, make_claims: MakeClaims
) -> None:
    begin_and_die(make_claims(), job)
    for name in (".a.zarr.999999999-0123abcd.tmp", f".a.zarr.{os.getpid()}-0123abcd.tmp"):
        (job.out / name).mkdir()
    (job.out / ".hypergene" / ".a.json.999999999-0123abcd.tmp").touch()
    (job.out / ".b.zarr.999999999-0123abcd.tmp").mkdir()
    do(make_claims(), job)
    assert sorted(os.listdir(job.out)) == [
        ".b.zarr.999999999-0123abcd.tmp",
        ".hypergene",
        "a.zarr",
    ], "what belongs to another slide is for whoever has that slide"
    assert os.listdir(job.out / ".hypergene") == ["a.json"]


def test_killed_between_output_and_record_the_slide_is_done_again(
    job: Job, make_claims: MakeClaims
) -> None:
    write_output(begin_and_die(make_claims(), job).job)
    assert make_claims().look(job) is None
    claim = do(make_claims(), job)
    assert claim.job.options.overwrite
    assert make_claims().look(job) is not None


def test_killed_while_a_foreign_output_stood_there_it_stays(
    job: Job, make_claims: MakeClaims
) -> None:
    job.out.mkdir()
    write_output(job)
    begin_and_die(make_claims(), job)
    claim = make_claims().claim(job, ())
    assert isinstance(claim, Claim)
    assert not claim.job.options.overwrite


def test_an_earlier_output_that_was_being_replaced_is_put_back(
    job: Job, make_claims: MakeClaims
) -> None:
    do(make_claims(), job)
    begin_and_die(make_claims(), with_options(job, overwrite=True, min_tissue=0.5))
    job.target.rename(job.out / ".a.zarr.999999999-0123abcd.old")
    claim = make_claims().claim(with_options(job, min_tissue=0.5, overwrite=True), ())
    assert isinstance(claim, Claim)
    assert job.target.exists()


def test_who_lost_a_slide_to_another_process_writes_nothing_down(
    job: Job, make_claims: MakeClaims
) -> None:
    claims = make_claims()
    claim = begin_and_die(claims, job)
    taken_over = make_claims().claim(job, ())
    assert isinstance(taken_over, Claim)
    assert not claims.settle(claim, write_output(claim.job).outcome)
    assert not record_path(job).exists()
    assert taken_over.lock.is_held()
