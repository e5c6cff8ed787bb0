"""What is said where: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hypergene.pipeline.outcome import Outcome

log = logging.getLogger("hypergene")

SOME_FAILED = 3


class _ToStderr(logging.Handler):
    """Write each record as a sentence; warnings and worse say what they are."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.title()}: {text}"
        typer.echo(text, err=True)


def log_to_stderr() -> None:
    """Send hypergene's log to stderr; tracebacks are shown after :func:`show_tracebacks` only."""
    if not any(isinstance(handler, _ToStderr) for handler in log.handlers):
        log.addHandler(_ToStderr())
    log.setLevel(logging.INFO if is_speaker() else logging.WARNING)


def is_speaker() -> bool:
    """Whether this process prints what all of them do: of those torchrun started, the first."""
    return os.environ.get("RANK", "0") == "0"


def show_tracebacks() -> None:
    """Show where errors happened, which is logged at level DEBUG."""
    log.setLevel(logging.DEBUG)


def say_error(message: str, hint: str | None) -> None:
    """Print one error sentence and what to do about it, on stderr."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = "\033[31mError:\033[0m" if coloured else "Error:"
    typer.echo(f"{label} {message}" + (f"\n{hint}" if hint else ""), err=True)


def columns(rows: Sequence[Sequence[str]], *, to_the_right: Sequence[int] = ()) -> str:
    """Lay out rows of text in columns, two spaces apart.

    Parameters
    ----------
    rows
        As many cells each.
    to_the_right
        Numbers of the columns whose cells stand to the right, as numbers do.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number in to_the_right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


class Reporter:
    """Print one slide's outcome: the result on stdout, how it went on stderr.

    Parameters
    ----------
    as_json
        One JSON object a line instead of the output's path.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def __call__(self, outcome: Outcome) -> None:
        """Print one outcome."""
        self.result(outcome)
        for warning in outcome.warnings:
            log.warning("%s: %s", outcome.slide.name, warning)
        if outcome.error is not None:
            say_error(outcome.error, outcome.hint)
            return
        genes = "" if outcome.genes is None else f" × {outcome.genes:,} genes"
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in outcome.seconds.items())
        total = sum(outcome.seconds.values())
        waited = (
            "" if isnan(outcome.wait_share) else f"; the encoder waited {outcome.wait_share:.0%}"
        )
        log.info(
            "%s: %s spots%s in %.1f s (%s%s)",
            outcome.slide.name,
            f"{outcome.spots:,}",
            genes,
            total,
            stages,
            waited,
        )

    def result(self, outcome: Outcome) -> None:
        """Print the result alone, as for a slide that was done before."""
        if self.as_json:
            typer.echo(outcome.as_json())
        elif outcome.output is not None:
            typer.echo(str(outcome.output))


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all is well, 1 if the only slide failed, 3 if some of several did."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    if failed == 0:
        return 0
    return 1 if len(outcomes) == 1 else SOME_FAILED
