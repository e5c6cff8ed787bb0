"""One slide's work, done in a process of its own, and what that process says of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hypergene.errors import HypergeneError, ModelError, StorageError, UsageError
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.predict import predict_to_file

_log = logging.getLogger("hypergene")


@dataclass
class Report:
    """What a worker says when it is through with a slide.

    Attributes
    ----------
    outcome
        What became of the slide.
    fatal
        An error that is no fault of the slide and would meet every other slide too.
    messages
        Level and text of what was logged meanwhile.
    """

    outcome: Outcome
    fatal: HypergeneError | None = None
    messages: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """Something that a worker did: a report, or None if it died without one, with the reason."""

    worker: int
    report: Report | None
    reason: str = ""


class Crew(Protocol):
    """Workers in processes of their own; each has one slide at a time."""

    @property
    def size(self) -> int:
        """Number of workers."""

    def start(self, worker: int) -> None:
        """Start a worker, or a new one in the place of one that died."""

    def give(self, worker: int, job: Job) -> None:
        """Give a slide to a worker that has none."""

    def wait(self, seconds: float) -> list[Event]:
        """Wait until something happens, at most so long."""

    def processes(self) -> set[int]:
        """Return the workers' process numbers, as far as they are on this machine."""

    def close(self) -> None:
        """End all workers at once, whatever they are doing; none writes anything after this."""


def work(job: Job, level: int = logging.INFO) -> Report:
    """Predict one slide; whatever goes wrong is said in the report.

    Parameters
    ----------
    job
        The slide, and how.
    level
        Of the log: what is below is not reported.
    """
    with _gathered(level) as messages:
        fatal: HypergeneError | None = None
        try:
            outcome = predict_to_file(job.slide, job.out, job.options, name=job.name)
        except Exception as error:
            _log.debug("%s", job.slide, exc_info=True)
            outcome = Outcome.failed(job.slide, error)
            if isinstance(error, UsageError | ModelError | StorageError):
                fatal = error
    return Report(outcome, fatal, messages)


class _Gatherer(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, self.format(record)))


@contextmanager
def _gathered(level: int) -> Iterator[list[tuple[int, str]]]:
    gatherer = _Gatherer()
    before = _log.level
    _log.addHandler(gatherer)
    _log.setLevel(level)
    try:
        yield gatherer.messages
    finally:
        _log.removeHandler(gatherer)
        _log.setLevel(before)
