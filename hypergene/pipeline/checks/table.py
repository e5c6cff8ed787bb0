"""Rows and verdicts as plain text, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.verdict import Verdict

_MISSING = "–"
_GAP = "  "
_WIDTH = 100
_INDENT = " " * 6
_LONGEST_SOURCE = 20

# Heading, cell, and whether it is a number, which stands to the right.
_COLUMNS: tuple[tuple[str, Callable[[SampleRow], str | None], bool], ...] = (
    ("sample", lambda row: row.sample, False),
    ("patient", lambda row: row.patient, False),
    ("format", lambda row: row.format, False),
    ("platform", lambda row: row.platform, False),
    ("spots", lambda row: _whole(row.spots), True),
    ("genes", lambda row: _whole(row.genes), True),
    ("UMI", lambda row: _whole(row.median_umi), True),
    ("µm/px", lambda row: _short(row.mpp), True),
    ("from", lambda row: _cut(row.mpp_source), False),
    ("pitch px", lambda row: _short(row.pitch_px), True),
    ("pitch µm", lambda row: _short(row.pitch_um), True),
    ("on tissue", lambda row: None if row.on_tissue is None else f"{row.on_tissue:.0%}", True),
    ("orientation", lambda row: in_words(row.orientation), False),
)


def table_text(rows: Sequence[SampleRow]) -> str:
    """Return one line a sample under a heading, columns aligned.

    ``UMI`` is the median count of a spot, ``from`` says who states the resolution; ``–`` stands
    for what could not be found out.
    """
    headings = [heading for heading, _, _ in _COLUMNS]
    lines = [headings, *([cell(row) or _MISSING for _, cell, _ in _COLUMNS] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, (_, _, is_number) in zip(line, widths, _COLUMNS, strict=True)
        ).rstrip()
        for line in lines
    )


def platforms_text(rows: Sequence[SampleRow]) -> str:
    """Say what each platform was guessed from, one line a guess; empty if there are none."""
    guesses: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.platform is not None:
            guess = (row.platform, row.platform_reason or "")
            guesses[guess] = guesses.get(guess, 0) + 1
    return "\n".join(
        f"{platform}: {reason} ({number} sample{'' if number == 1 else 's'})"
        for (platform, reason), number in guesses.items()
    )


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """Return each verdict as a sentence, failures first, and below it its fix.

    The same thing in several samples stands together, and its fix once.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.level, verdict.code, verdict.fix), []).append(verdict.message)
    lines = []
    for level in ("fail", "warn"):
        for (its_level, code, fix), messages in groups.items():
            if its_level == level:
                lines += [_folded(f"{level.upper()}  {message} [{code}]") for message in messages]
                lines.append(_folded(f"{_INDENT}-> {fix}"))
    return "\n".join(lines)


def in_words(symmetry: str | None) -> str | None:
    """Return the name of a symmetry as people say it; ``identity`` is ``as given``."""
    if symmetry is None:
        return None
    return "as given" if symmetry == "identity" else symmetry.replace("_", " ")


def _folded(text: str) -> str:
    """Break a line at spaces; a path stays whole, however long, to be copied."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=_INDENT if not text.startswith(_INDENT) else _INDENT + "   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST_SOURCE else f"{text[:_LONGEST_SOURCE]}…"


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
