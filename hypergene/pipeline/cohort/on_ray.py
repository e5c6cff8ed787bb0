"""Workers on a Ray cluster (extra ``ray``): actors that keep the model between slides."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from hypergene.errors import UsageError, first_line
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.work import Event, Report, work


class RayCrew:
    """Actors on a Ray cluster, one slide at a time each, so nothing piles up.

    Parameters
    ----------
    workers
        How many; None = as many as the cluster has room for.
    address
        Of a running cluster (``auto``, ``host:port``, ``ray://...``); None starts Ray on this
        machine, or uses the cluster that ``RAY_ADDRESS`` names.
    gpus
        A worker's share of a GPU, or number of GPUs; None = one where the cluster has any.
    cpus
        A worker's CPUs: as many as it has threads that read tiles, at least one.
    device
        As on the command line; ``cpu`` takes no GPU.

    Raises
    ------
    UsageError
        Ray is not installed, there is no such cluster, or it has no room for one worker.
    """

    def __init__(
        self,
        workers: int | None,
        *,
        address: str | None,
        gpus: float | None,
        cpus: int,
        device: str,
    ) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise UsageError(
                "--engine ray needs Ray, which is not installed.",
                hint="pip install 'hypergene[ray]', or take --engine local.",
            ) from None
        ray = self._ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
        total = ray.cluster_resources().get("GPU", 0)
        if gpus is None:
            gpus = 1.0 if total and device != "cpu" else 0.0
        self._needs = {"num_cpus": cpus, "num_gpus": gpus}
        room = _room(ray.nodes(), cpus, gpus)
        if workers is None and room == 0:
            self.close()
            raise UsageError(
                f"The Ray cluster has no node with {cpus} CPUs and {gpus:g} GPUs for a worker.",
                hint="Give fewer --workers or --gpus-per-worker.",
            )
        self._workers: list[Any] = [None] * (workers or room)
        self._pending: dict[Any, int] = {}

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self._workers)

    def start(self, worker: int) -> None:
        """Start an actor, or a new one in the place of one that died."""
        # A dead worker's slide is given to another by our own queue, which knows its lock.
        actor = self._ray.remote(max_restarts=0, max_task_retries=0, **self._needs)(_Worker)
        self._workers[worker] = actor.remote()

    def give(self, worker: int, job: Job) -> None:
        """Give a slide to an actor that has none."""
        level = logging.getLogger("hypergene").level
        self._pending[self._workers[worker].work.remote(_anywhere(job), level)] = worker

    def wait(self, seconds: float) -> list[Event]:
        """Wait until an actor has reported or died, at most so long."""
        if not self._pending:
            return []
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        events = []
        for reference in ready:
            worker = self._pending.pop(reference)
            try:
                report: Report = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                events.append(Event(worker, None, first_line(error)))
                self._workers[worker] = None
            else:
                events.append(Event(worker, report))
        return events

    def processes(self) -> set[int]:
        """Return nothing: which processes are on this machine is Ray's affair."""
        return set()

    def close(self) -> None:
        """End all actors, and Ray if it was started here."""
        for actor in getattr(self, "_workers", []):
            if actor is not None:
                self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()


class _Worker:
    """What an actor does; the model stays in its process between slides."""

    def work(self, job: Job, level: int) -> Report:
        return work(job, level)


def _connect(ray: Any, address: str) -> None:
    # Ray's own figures of use leave the machine unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = {"include_dashboard": False} if address == "local" else {}
    package = str(Path(__file__).resolve().parents[3])
    search = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    # Machines of a cluster have hypergene installed; those that share this one's disk need not.
    environment = {"env_vars": {"PYTHONPATH": search}}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=environment,
            **settings,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"There is no Ray at {address} ({first_line(error)}).",
            hint="Start a cluster with ray start --head, or leave --address out.",
        ) from error


def _room(nodes: Iterable[Mapping[str, Any]], cpus: int, gpus: float) -> int:
    """Return how many workers the machines of a cluster hold."""
    room = 0
    for node in nodes:
        if node["Alive"]:
            has = node["Resources"]
            by_gpu = [int(has.get("GPU", 0) / gpus)] if gpus else []
            room += min([int(has.get("CPU", 0) / cpus), *by_gpu])
    return room


def _anywhere(job: Job) -> Job:
    """Return a job with absolute paths: actors work in a folder of their own."""
    options = job.options
    coords = None if options.coords is None else options.coords.absolute()
    options = replace(options, coords=coords, model=_absolute(options.model))
    if options.tissue not in ("auto", "none"):
        options = replace(options, tissue=_absolute(options.tissue))
    return replace(job, slide=job.slide.absolute(), out=job.out.absolute(), options=options)


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name
