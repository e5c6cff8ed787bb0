"""One job over several slides: a slide that fails does not stop the others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from hypergene.errors import ModelError, UsageError
from hypergene.pipeline.outcome import Outcome

_log = logging.getLogger(__name__)


def for_each_slide(
    slides: Sequence[Path],
    job: Callable[[Path], Outcome],
    *,
    report: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run `job` on every slide in order and return one outcome a slide.

    Whatever goes wrong with one slide, a bug included, is its outcome and does not stop the others.

    Parameters
    ----------
    slides
        Slide files.
    job
        What to do with one slide.
    report
        Called with each outcome as soon as it is known.

    Raises
    ------
    UsageError, ModelError
        From the job: they are no fault of the slide and would meet every other slide too.
    """
    outcomes = []
    for slide in slides:
        try:
            outcome = job(slide)
        except (UsageError, ModelError):
            raise
        except Exception as error:
            _log.debug("%s", slide, exc_info=True)
            outcome = Outcome.failed(slide, error)
        if report is not None:
            report(outcome)
        outcomes.append(outcome)
    return outcomes


def refuse_clashes(slides: Sequence[Path], out: Path | None) -> None:
    """Refuse slides whose results would be written over one another.

    Outputs are named after the slide's file name without its suffix, so two slides of one stem
    cannot share a folder.

    Raises
    ------
    UsageError
        If two of the slides have the same stem and the same output folder.
    """
    claims: dict[Path, list[Path]] = defaultdict(list)
    for slide in slides:
        folder = slide.parent if out is None else out
        claims[folder.resolve() / slide.stem].append(slide)
    for target, claimants in claims.items():
        if len(claimants) > 1:
            names = ", ".join(map(str, claimants))
            raise UsageError(
                f"{len(claimants)} slides would be written to the same {target.name}.*: {names}.",
                hint="Run them one by one, each with its own -o.",
            )
