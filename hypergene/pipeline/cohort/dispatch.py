"""Slides given to workers one at a time, until none is left."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from hypergene.errors import HypergeneError
from hypergene.output import remove_leftovers
from hypergene.pipeline.cohort.claims import Claim, Claims
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.work import Crew, Event
from hypergene.pipeline.outcome import Outcome

_log = logging.getLogger("hypergene")

TRIES = 3
"""Workers that may die over one slide before it counts as failed."""

_DEATHS_IN_A_ROW = 2 * TRIES
"""Of workers, with no slide finished in between: then it is not the slides."""

_TICK_S = 1.0
_LOOK_S = 5.0


class Dispatcher:
    """Works off slides with a crew.

    Parameters
    ----------
    claims
        Who does which slide.
    crew
        The workers; started when the first slide is given to them.
    tell
        Called with each outcome as soon as it is known.
    """

    def __init__(self, claims: Claims, crew: Crew, tell: Callable[[Outcome], None]) -> None:
        self._claims = claims
        self._crew = crew
        self._tell = tell
        self._queue: deque[Job | Claim] = deque()
        self._held: list[Job] = []
        self._idle = list(range(crew.size))[::-1]
        self._started: set[int] = set()
        self._busy: dict[int, Claim] = {}
        self._deaths: dict[str, int] = {}
        self._in_a_row = 0

    def run(self, jobs: Sequence[Job]) -> list[Job]:
        """Do these slides; return those that are left to other processes, which have them.

        Raises
        ------
        HypergeneError
            What would meet every slide: wrong options, a model that cannot be loaded, a full disk,
            workers that all die. Slides under way are dropped, what is done stays done.
        """
        self._queue.extend(jobs)
        try:
            while True:
                self._hand_out()
                if self._busy:
                    for event in self._crew.wait(_TICK_S):
                        self._take_in(event)
                elif not self._queue and not self._await_others():
                    return self._held
        finally:
            self._crew.close()
            for claim in [*self._busy.values(), *self._queue]:
                if isinstance(claim, Claim):
                    self._claims.drop(claim)

    def _hand_out(self) -> None:
        while self._idle and self._queue:
            next_one = self._queue.popleft()
            if isinstance(next_one, Job):
                claimed = self._claims.claim(next_one, self._crew.processes())
                if claimed is None:
                    self._held.append(next_one)
                    continue
                if isinstance(claimed, Outcome):
                    self._tell(claimed)
                    continue
                next_one = claimed
            worker = self._idle.pop()
            self._busy[worker] = next_one
            if worker not in self._started:
                self._crew.start(worker)
                self._started.add(worker)
            self._crew.give(worker, next_one.job)

    def _take_in(self, event: Event) -> None:
        claim = self._busy.pop(event.worker)
        self._idle.append(event.worker)
        if event.report is None:
            self._started.discard(event.worker)
            self._mourn(claim, event.reason)
            return
        self._in_a_row = 0
        for level, text in event.report.messages:
            _log.log(level, "%s", text)
        if event.report.fatal is not None:
            self._claims.drop(claim)
            raise event.report.fatal
        outcome = event.report.outcome
        # Workers may see the slide under another path than the one that was given.
        outcome.slide = claim.job.slide
        outcome.output = None if outcome.error is not None else claim.job.target
        self._settle(claim, outcome)

    def _mourn(self, claim: Claim, reason: str) -> None:
        name = claim.job.name
        self._deaths[name] = self._deaths.get(name, 0) + 1
        self._in_a_row += 1
        if self._in_a_row >= _DEATHS_IN_A_ROW:
            self._claims.drop(claim)
            raise HypergeneError(
                f"{self._in_a_row} workers in a row died without finishing a slide ({reason}).",
                hint="Perhaps memory runs out: give fewer --processes or a smaller --batch-size.",
            )
        for output in claim.job.outputs:
            remove_leftovers(output, dead=None)
        if self._deaths[name] < TRIES:
            _log.warning("%s: its worker died (%s); it is done again", name, reason)
            self._queue.append(claim)
            return
        outcome = Outcome(
            claim.job.slide,
            error=f"{claim.job.slide}: {TRIES} workers died over it ({reason}).",
            hint="Perhaps memory runs out, or the slide is damaged: try it alone.",
        )
        self._settle(claim, outcome)

    def _settle(self, claim: Claim, outcome: Outcome) -> None:
        if self._claims.settle(claim, outcome):
            self._tell(outcome)
        else:
            self._held.append(claim.job)

    def _await_others(self) -> bool:
        """Look after slides that other processes have; return whether there is reason to wait."""
        silent = [job for job in self._held if not self._claims.is_alive(job)]
        if not silent:
            return False
        self._held = [job for job in self._held if job not in silent]
        self._queue.extend(silent)
        before = len(self._held)
        self._hand_out()
        if not self._busy and len(self._held) > before:
            with suppress(InterruptedError):
                time.sleep(_LOOK_S)
        return True
