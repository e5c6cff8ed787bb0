"""Who does which slide: looked at, claimed, settled. All that is known lies on the disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hypergene.errors import OutputError
from hypergene.output import remove_leftovers
from hypergene.output.atomic import unwritable
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.locks import Heart, Lock, LockFolder, now
from hypergene.pipeline.cohort.records import (
    FOLDER,
    Inputs,
    Record,
    differences,
    inputs_of,
    measure,
    read_record,
    record_path,
    write_record,
)
from hypergene.pipeline.outcome import Outcome

_log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True)
class Claim:
    """A slide that this process alone may do now.

    Attributes
    ----------
    job
        With leave to replace what stands at the output, where there is.
    lock
        Held until the claim is settled or dropped.
    inputs
        What the output will depend on.
    started
        ISO 8601, UTC.
    """

    job: Job
    lock: Lock
    inputs: Inputs
    started: str


@dataclass
class Claims:
    """Claims of one run.

    Parameters
    ----------
    model
        What tells the model from others.
    resume
        Whether what was done before this run counts.
    heart
        Keeps the locks alive.
    """

    model: str
    resume: bool
    heart: Heart
    started: str = field(default_factory=now)
    _folders: dict[Path, LockFolder] = field(default_factory=dict)

    def look(self, job: Job) -> Outcome | None:
        """Return the outcome of a slide that is done; None if it is to be done.

        Raises
        ------
        OutputError
            Something stands at the output that is not what is asked for now, and may not be
            replaced.
        """
        # In this order: others write the output, then the record, and let go of the lock last.
        stands = os.path.lexists(job.target)
        if self._locks(job).is_locked(job.name):
            return None
        record = read_record(job)
        if (done := self._done(job, record)) is not None:
            return done
        unknown = record is None or record.state == "failed" or not self._counts(record)
        if stands and unknown and not job.options.overwrite:
            how = "" if self.resume else " (--no-resume begins again)"
            raise OutputError(f"{job.target} exists already{how}.", hint=_ANEW)
        return None

    def claim(self, job: Job, ours: Collection[int]) -> Claim | Outcome | None:
        """Claim a slide.

        Parameters
        ----------
        job
            The slide.
        ours
            Process numbers of this run's workers.

        Returns
        -------
        Claim, Outcome or None
            The outcome if it is done already, None if it is another process's.

        Raises
        ------
        OutputError
            The folder of states cannot be written to.
        """
        locks = self._locks(job)
        try:
            locks.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(job.out, error) from error
        stands = any(map(os.path.lexists, job.outputs))
        lock = locks.take(job.name, may_replace=job.options.overwrite or not stands)
        if lock is None:
            return None
        self.heart.add(lock)
        try:
            record = read_record(job)
            try:
                done = self._done(job, record)
            except OutputError as error:  # by another process, since this run looked
                done = Outcome.failed(job.slide, error)
            if done is not None:
                self.heart.release(lock)
                return done
            dead = {os.getpid(), *ours}
            for output in job.outputs:
                remove_leftovers(output, dead=dead)
            remove_leftovers(record_path(job), dead=dead)
            replaces = lock.owner.may_replace or (record is not None and record.state == "done")
            if replaces and any(map(os.path.lexists, job.outputs)):
                job = replace(job, options=replace(job.options, overwrite=True))
        except BaseException:
            self.heart.release(lock)
            raise
        return Claim(job, lock, inputs_of(job, self.model), now())

    def settle(self, claim: Claim, outcome: Outcome) -> bool:
        """Write down what became of a slide and let go of it.

        Returns
        -------
        bool
            False if another process took the claim over meanwhile: then the outcome is its affair.

        Raises
        ------
        OutputError
            It cannot be written down. The lock is left as a sign that the output is ours.
        """
        if not claim.lock.is_held():
            _log.warning("%s: another process took it over meanwhile", claim.job.name)
            self.heart.release(claim.lock)
            return False
        # Of a process whose parent was killed, which may have lived on when the slide was claimed.
        for output in claim.job.outputs:
            remove_leftovers(output, dead=None)
        done = outcome.error is None
        files, size_bytes = measure(claim.job.target) if done else (0, 0)
        record = Record(
            state="done" if done else "failed",
            inputs=claim.inputs,
            outcome=outcome.as_dict(),
            files=files,
            size_bytes=size_bytes,
            host=claim.lock.owner.host,
            started=claim.started,
            ended=now(),
        )
        try:
            write_record(claim.job, record)
        except OutputError:
            self.heart.abandon(claim.lock)
            raise
        self.heart.release(claim.lock)
        return True

    def drop(self, claim: Claim) -> None:
        """Let go of a slide whose worker has been ended, and remove what it left."""
        if claim.lock.is_held():
            for output in claim.job.outputs:
                remove_leftovers(output, dead=None)
        self.heart.release(claim.lock)

    def state(self, job: Job) -> State:
        """Return how it stands with a slide."""
        if self._locks(job).is_locked(job.name):
            return "running"
        record = read_record(job)
        return "queued" if record is None else record.state

    def owner(self, job: Job) -> str:
        """Say who has a slide."""
        return str(self._locks(job).owner(job.name) or "an unknown process")

    def is_alive(self, job: Job) -> bool:
        """Whether the other process that has a slide has shown a sign of life."""
        return self._locks(job).is_alive(job.name)

    def _locks(self, job: Job) -> LockFolder:
        return self._folders.setdefault(job.out, LockFolder(job.out / FOLDER))

    def _done(self, job: Job, record: Record | None) -> Outcome | None:
        if record is None or not self._counts(record) or not record.is_whole(job.target):
            return None
        differing = differences(record.inputs, inputs_of(job, self.model))
        if not differing:
            return record.as_outcome(job)
        if job.options.overwrite:
            return None
        raise OutputError(
            f"{job.target} was made otherwise ({', '.join(differing[:3])}).", hint=_ANEW
        )

    def _counts(self, record: Record) -> bool:
        return record.state == "done" and (self.resume or record.ended >= self.started)


_ANEW = "Give --overwrite to make it again, or another --out."
