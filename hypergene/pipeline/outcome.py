"""What became of one slide, and how long each stage of the work took."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypergene.errors import HypergeneError


@dataclass
class Outcome:
    """The result of one slide's job, as ``--json`` prints it.

    Attributes
    ----------
    slide
        The slide file as it was given.
    output
        The main file written; None if the job failed.
    spots
        Number of spots written.
    genes
        Number of genes written; None where the job has none (tiling).
    seconds
        Wall time by stage, in seconds.
    warnings
        Sentences that a careful user wants to read.
    error
        One sentence saying why the job failed; None if it did not.
    hint
        What the user can do about the error, if anything is known to help.
    """

    slide: Path
    output: Path | None = None
    spots: int = 0
    genes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    hint: str | None = None

    @classmethod
    def failed(cls, slide: Path, error: Exception) -> Outcome:
        """Return the outcome of a job that raised `error`: a known fault, or a bug."""
        if isinstance(error, HypergeneError):
            return cls(slide=slide, error=error.message, hint=error.hint)
        return cls(slide=slide, error=f"{slide}: {unexpected(error)}", hint=REPORT_IT)

    @property
    def wait_share(self) -> float:
        """Share of its time (0..1) that the encoder waited for tiles; NaN = it never ran."""
        return wait_share(self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: paths as text, seconds rounded to milliseconds."""
        return {
            "slide": str(self.slide),
            "output": None if self.output is None else str(self.output),
            "spots": self.spots,
            "genes": self.genes,
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "warnings": list(self.warnings),
            "error": self.error,
            "hint": self.hint,
        }

    def as_json(self) -> str:
        """Return :meth:`as_dict` as one line of JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False)


REPORT_IT = "Please report this with the command you ran; --debug shows where it happened."


def unexpected(error: Exception) -> str:
    """Return the sentence for an error that is nobody's input's fault."""
    what = " ".join(str(error).split()) or "no further word"
    return f"hypergene met something it did not expect ({type(error).__name__}: {what})."


def wait_share(seconds: Mapping[str, float]) -> float:
    """Return which share of its time (0..1) the encoder waited for tiles; NaN = it never ran.

    Parameters
    ----------
    seconds
        Wall time by stage: ``read`` (waiting) and ``encode`` (computing).
    """
    waiting, computing = seconds.get("read", 0.0), seconds.get("encode", 0.0)
    whole = waiting + computing
    return waiting / whole if whole > 0 else math.nan


class Stopwatch:
    """Wall time by named stage; a stage entered twice adds up.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> with watch("tissue"):
    ...     pass
    >>> list(watch.seconds)
    ['tissue']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a ``with`` statement under the name `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    @property
    def total(self) -> float:
        """Sum of all stages, in seconds."""
        return sum(self.seconds.values())
