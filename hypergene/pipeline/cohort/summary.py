"""What is left to read after a run: ``summary.csv``, a line a slide, and ``run.json``."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypergene.errors import OutputError
from hypergene.output import atomic_path, remove_leftovers
from hypergene.pipeline.cohort.claims import Claims
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.locks import LockFolder
from hypergene.pipeline.cohort.records import FOLDER, read_record

TABLE = "summary.csv"
RUN = "run.json"

_COLUMNS = (
    *("name", "slide", "state", "output", "spots", "genes", "seconds"),
    *("host", "started", "ended", "warnings", "error", "hint"),
)


def write_summary(out: Path, jobs: Sequence[Job], claims: Claims, run: Mapping[str, Any]) -> None:
    """Write how it stands with every slide, whichever process did it.

    Parameters
    ----------
    out
        The output folder.
    jobs
        All slides.
    claims
        Where the states are.
    run
        What else ``run.json`` is to say, in plain values.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    rows = [_row(job, claims) for job in jobs]
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    states = Counter(str(row["state"]) for row in rows)
    about = {
        **run,
        "slides": len(rows),
        "states": {state: states[state] for state in ("done", "failed", "running", "queued")},
        "hosts": sorted({str(row["host"]) for row in rows if row["host"]}),
    }
    content = {TABLE: table.getvalue(), RUN: json.dumps(about, ensure_ascii=False, indent=1) + "\n"}
    # Others may write theirs at this moment; who holds the lock may remove what the dead left.
    lock = LockFolder(out / FOLDER).take(".summary")
    try:
        for name, text in content.items():
            if lock is not None:
                with suppress(OSError):
                    remove_leftovers(out / name, dead={os.getpid()})
            with atomic_path(out / name, overwrite=True) as draft:
                draft.write_text(text, encoding="utf-8")
    finally:
        if lock is not None:
            lock.release()


def try_to_write_summary(
    out: Path, jobs: Sequence[Job], claims: Claims, run: Mapping[str, Any]
) -> None:
    """Write the summary of a run that has failed, if that is possible."""
    with suppress(OutputError, OSError):
        if any(read_record(job) is not None for job in jobs):
            write_summary(out, jobs, claims, run)


def _row(job: Job, claims: Claims) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row |= {"name": job.name, "slide": str(job.slide), "state": claims.state(job)}
    record = read_record(job)
    if record is None:
        return row
    outcome = record.as_outcome(job)
    row |= {
        "output": outcome.output or "",
        "spots": outcome.spots if outcome.output else "",
        "genes": outcome.genes if outcome.output else "",
        "seconds": round(sum(outcome.seconds.values()), 3),
        "host": record.host,
        "started": record.started,
        "ended": record.ended,
        "warnings": " ".join(outcome.warnings),
        "error": outcome.error or "",
        "hint": outcome.hint or "",
    }
    return row
