"""Predict many slides: what is done is passed over, what fails stops no other."""

from __future__ import annotations

import hashlib
import logging
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from tqdm import tqdm

from hypergene import __version__
from hypergene.errors import OutputError, UsageError
from hypergene.pipeline.cohort.claims import Claims
from hypergene.pipeline.cohort.dispatch import Dispatcher
from hypergene.pipeline.cohort.jobs import Job, list_jobs
from hypergene.pipeline.cohort.local import LocalCrew
from hypergene.pipeline.cohort.locks import Heart, now
from hypergene.pipeline.cohort.on_ray import RayCrew
from hypergene.pipeline.cohort.records import FOLDER
from hypergene.pipeline.cohort.summary import try_to_write_summary, write_summary
from hypergene.pipeline.cohort.work import Crew
from hypergene.pipeline.keywords import CohortKeywords
from hypergene.pipeline.options import with_overrides
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.predict import PredictOptions
from hypergene.zoo import find_model, weights_sha256

_log = logging.getLogger("hypergene")

Tell = Callable[[Outcome], None]


@dataclass(frozen=True)
class CohortOptions:
    """Options of :func:`predict_cohort`, named as on the command line.

    Attributes
    ----------
    resume
        Pass over slides that are done.
    engine
        ``"local"``: processes of this machine; ``"ray"``: actors on a Ray cluster.
    processes
        Workers, each with one slide at a time; None = one a GPU, or one, or with Ray as many as
        the cluster holds.
    address
        Of a running Ray cluster; None = Ray on this machine.
    gpus_per_worker
        With Ray, a worker's share of a GPU or number of GPUs; None = one where there are any.
    """

    resume: bool = True
    engine: Literal["local", "ray"] = "local"
    processes: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises
        ------
        UsageError
            A number is none that can be, or an option belongs to the other engine.
        """
        if self.engine not in ("local", "ray"):
            raise UsageError(f"There is no engine {self.engine!r}.", hint="Known: local, ray.")
        if self.processes is not None and self.processes < 1:
            raise UsageError("Nobody works with less than one process.", hint="Give --processes 1.")
        given = self.gpus_per_worker
        if given is not None and not (0 <= given < float("inf") and (given <= 1 or given % 1 == 0)):
            raise UsageError(
                f"A worker cannot have {given:g} GPUs.",
                hint="Give --gpus-per-worker a share such as 0.5, or a whole number.",
            )
        if self.engine == "local" and (self.address is not None or given is not None):
            raise UsageError(
                "--address and --gpus-per-worker are for Ray.", hint="Add --engine ray."
            )


def predict_cohort(
    slides: Sequence[str | Path] = (),
    out: str | Path | None = None,
    options: PredictOptions | None = None,
    cohort: CohortOptions | None = None,
    *,
    sheet: str | Path | None = None,
    tell: Tell = lambda outcome: None,
    tell_again: Tell = lambda outcome: None,
    **overrides: Unpack[CohortKeywords],
) -> list[Outcome]:
    """Predict slides; several processes and machines may do so in one output folder at once.

    Beside the outputs a folder ``.hypergene`` holds a record of every slide and the locks of those
    under way. With `out`, ``summary.csv`` and ``run.json`` are written at the end.

    Parameters
    ----------
    slides, sheet, out, options
        See :func:`hypergene.pipeline.cohort.jobs.list_jobs`. With ``overwrite``, what stands at an
        output and is not what is asked for is made anew.
    cohort
        See :class:`CohortOptions`.
    tell
        Called with each outcome as soon as it is known.
    tell_again
        Called with the outcome of each slide that was done before.
    **overrides
        Single options of both by name, over `options` and `cohort`.

    Returns
    -------
    list of Outcome
        Of all slides but those that other processes are doing; failed ones say why.

    Raises
    ------
    UsageError, DataError
        As `list_jobs`; Ray is asked for and not there.
    ModelError
        There is no such model.
    OutputError
        Something stands at an output that was not made as asked for now and may not be replaced
        (nothing has been done then), or the output cannot be written.

    Examples
    --------
    >>> import hypergene
    >>> outcomes = hypergene.predict_cohort(["slide.svs", "other.svs"], "results", genes="ERBB2")
    >>> [(outcome.output.name, outcome.error) for outcome in outcomes]
    [('slide.zarr', None), ('other.zarr', None)]
    """
    running = {field.name for field in fields(CohortOptions)}
    how, what = (
        {k: v for k, v in overrides.items() if (k in running) is own} for own in (True, False)
    )
    cohort = with_overrides(cohort or CohortOptions(), how)
    options = with_overrides(options or PredictOptions(), what)
    files, out = [Path(slide) for slide in slides], None if out is None else Path(out)
    jobs = list_jobs(files, None if sheet is None else Path(sheet), out, options)
    run = _about(options, cohort)
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        stack.enter_context(_no_trace_of_nothing(jobs))
        stack.enter_context(_ended_like_an_interrupt())
        heart = Heart()
        stack.callback(heart.close)
        claims = Claims(_model(options.model), cohort.resume, heart)
        done, to_do = _look_over(jobs, claims)
        if done:
            _log.info("%s of %s slides are done already.", f"{len(done):,}", f"{len(jobs):,}")
        for outcome in done:
            tell_again(outcome)
        bar = stack.enter_context(
            tqdm(total=len(jobs), initial=len(done), unit="slide", disable=None)
        )

        def told(outcome: Outcome) -> None:
            outcomes.append(outcome)
            tell(outcome)
            bar.update()

        left: list[Job] = []
        if to_do:
            try:
                left = Dispatcher(claims, _crew(cohort, options, len(to_do)), told).run(to_do)
            except BaseException:
                if out is not None:
                    try_to_write_summary(out, jobs, claims, run | {"ended": now()})
                raise
        for job in left:
            _log.info("%s: left to %s", job.name, claims.owner(job))
        if out is not None:
            write_summary(out, jobs, claims, run | {"ended": now()})
    return [*done, *outcomes]


def _about(options: PredictOptions, cohort: CohortOptions) -> dict[str, Any]:
    chosen = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(options).items()}
    return {
        "version": __version__,
        "host": platform.node(),
        "started": now(),
        "options": {**chosen, **asdict(cohort)},
    }


def _model(name: str) -> str:
    """Return what tells a model from others: the sha256 of weights and configuration."""
    folder = find_model(name)
    weights = weights_sha256(folder)
    config = folder / "config.json"
    content = config.read_bytes() if config.is_file() else b""
    return f"{weights} {hashlib.sha256(content).hexdigest()}"


def _look_over(jobs: Sequence[Job], claims: Claims) -> tuple[list[Outcome], list[Job]]:
    """Sort slides into those that are done and those to do; refuse before any work."""
    done, to_do, refused = [], [], []
    for job in jobs:
        try:
            outcome = claims.look(job)
        except OutputError as error:
            refused.append(error)
            continue
        if outcome is None:
            to_do.append(job)
        else:
            done.append(outcome)
    if refused:
        first, more = refused[0], len(refused) - 1
        also = f" The same goes for {more} more." if more else ""
        raise OutputError(first.message + also, hint=first.hint)
    return done, to_do


def _crew(cohort: CohortOptions, options: PredictOptions, slides: int) -> Crew:
    if cohort.engine == "ray":
        return RayCrew(
            cohort.processes,
            address=cohort.address,
            gpus=cohort.gpus_per_worker,
            cpus=_threads(options.workers),
            device=options.device,
        )
    gpus = torch.cuda.device_count() if options.device in ("auto", "cuda") else 0
    devices = [f"cuda:{number}" for number in range(gpus)]
    return LocalCrew(min(cohort.processes or max(1, gpus), slides), devices)


def _threads(workers: int | str) -> int:
    """Return the CPUs of a worker on Ray: its threads that read tiles, or 2 if it may choose."""
    return max(1, workers) if isinstance(workers, int) else 2


@contextmanager
def _ended_like_an_interrupt() -> Iterator[None]:
    """Let SIGTERM (a scheduler that wants its machine back) end the run as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_trace_of_nothing(jobs: Sequence[Job]) -> Iterator[None]:
    """If a run fails before anything was done, remove the folders that were made for it."""
    folders = dict.fromkeys(job.out for job in jobs)
    made = [
        path for out in folders for path in (out / FOLDER, out, *out.parents) if not path.exists()
    ]
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # there is something in it, or it was not made after all
                path.rmdir()
        raise
