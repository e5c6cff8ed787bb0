"""Workers that are none, for tests of what is made of their work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.work import Event, Report
from hypergene.pipeline.outcome import Outcome


@dataclass
class PretendedCrew:
    """Workers that run in this process, one slide a call of ``wait``."""

    do: Callable[[Job], Report | None]
    size: int = 1
    given: list[tuple[int, str]] = field(default_factory=list)
    closed: bool = False
    _jobs: dict[int, Job] = field(default_factory=dict)
    _alive: set[int] = field(default_factory=set)

    def start(self, worker: int) -> None:
        self._alive.add(worker)

    def give(self, worker: int, job: Job) -> None:
        assert worker in self._alive
        assert worker not in self._jobs
        self.given.append((worker, job.name))
        self._jobs[worker] = job

    def wait(self, seconds: float) -> list[Event]:
        worker, job = next(iter(self._jobs.items()))
        del self._jobs[worker]
        report = self.do(job)
        if report is None:
            self._alive.remove(worker)
        return [Event(worker, report, "signal SIGKILL")]

    def processes(self) -> set[int]:
        return set()

    def close(self) -> None:
        self.closed = True


def write_output(job: Job, content: str = "x" * 100) -> Report:
    """Do a slide as a worker would, without predicting anything."""
    shutil.rmtree(job.target, ignore_errors=True)
    job.target.mkdir()
    (job.target / "zarr.json").write_text(content)
    return Report(Outcome(job.slide, job.target, spots=3, genes=2, seconds={"read": 1.0}))
