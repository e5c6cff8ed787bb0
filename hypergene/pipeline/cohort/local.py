"""Workers on this machine: processes that are spoken to through a pipe.

A worker that dies (out of memory, a decoder that crashes) takes only its slide with it, and none
outlives the process that started it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.work import Event, Report

_PACKAGE = Path(__file__).resolve().parents[3]
_WORKER = "hypergene.pipeline.cohort.worker"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalCrew:
    """Processes of this machine.

    Parameters
    ----------
    processes
        How many.
    devices
        Torch devices to share out: worker i uses the i-th, counted round. Empty leaves the device
        to the options.
    """

    def __init__(self, processes: int, devices: list[str]) -> None:
        self._devices = devices
        self._workers: list[tuple[subprocess.Popen[bytes], Connection] | None] = [None] * processes

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self._workers)

    def start(self, worker: int) -> None:
        """Start a worker, or a new one in the place of one that died."""
        ours, theirs = Pipe()
        environment = dict(os.environ)
        search = [str(_PACKAGE), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(search)
        if self.size > 1:
            share = max(1, (os.cpu_count() or 1) // self.size)
            for variable in _THREADS:
                environment.setdefault(variable, str(share))
        command = [sys.executable, "-m", _WORKER, str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            # An interrupt of the terminal is for the process that started it, which ends them all.
            start_new_session=True,
        )
        theirs.close()
        self._workers[worker] = process, ours

    def give(self, worker: int, job: Job) -> None:
        """Give a slide to a worker that has none."""
        if self._devices and job.options.device in ("auto", "cuda"):
            device = self._devices[worker % len(self._devices)]
            job = replace(job, options=replace(job.options, device=device))
        with suppress(OSError):  # it died before; the next wait says so
            self._connection(worker).send((job, logging.getLogger("hypergene").level))

    def wait(self, seconds: float) -> list[Event]:
        """Wait until a worker has reported or died, at most so long."""
        by_connection = {
            entry[1]: number for number, entry in enumerate(self._workers) if entry is not None
        }
        events = []
        for connection in wait(list(by_connection), timeout=seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                report: Report = self._connection(worker).recv()
            except (EOFError, OSError):
                events.append(Event(worker, None, self._bury(worker)))
            else:
                events.append(Event(worker, report))
        return events

    def processes(self) -> set[int]:
        """Return the workers' process numbers."""
        return {entry[0].pid for entry in self._workers if entry is not None}

    def close(self) -> None:
        """Kill all workers: they hold nothing that is not written again."""
        for number, entry in enumerate(self._workers):
            if entry is not None:
                entry[0].kill()
                self._bury(number)

    def _connection(self, worker: int) -> Connection:
        entry = self._workers[worker]
        assert entry is not None
        return entry[1]

    def _bury(self, worker: int) -> str:
        entry = self._workers[worker]
        assert entry is not None
        process, connection = entry
        connection.close()
        process.kill()
        code = process.wait()
        self._workers[worker] = None
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
