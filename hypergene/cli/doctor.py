"""``hypergene doctor``."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from hypergene import __version__
from hypergene.cli import options as shared
from hypergene.cli.options import option

if TYPE_CHECKING:
    from hypergene.pipeline.doctor import Finding

_WIDTH, _INDENT = 100, 16
_COLOURS = {"pass": "32", "warn": "33", "fail": "31"}


def doctor(
    json: Annotated[bool, option("--json", help="Print one JSON object.")] = False,
    offline: Annotated[bool, option("--offline", help="Do not ask the hub.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Say what works on this machine, and what to do about what does not.

    Looks at Python, torch and its devices, OpenSlide and codecs, packages, memory, threads, disks,
    the Hugging Face hub, and predicts with the bundled model. Leaves with 1 if anything fails, and
    with 0 if there are warnings at most.
    """
    start = time.perf_counter()

    from dataclasses import asdict

    from hypergene.pipeline.doctor import examine

    found = examine(offline=offline, tell=None if json else _tell)
    seconds = time.perf_counter() - start
    number = {level: sum(finding.level == level for finding in found) for level in _COLOURS}
    if json:
        about = {"ok": not number["fail"], "hypergene": __version__, "seconds": round(seconds, 1)}
        typer.echo(dumps(about | {"findings": [asdict(finding) for finding in found]}))
    else:
        told = [f"{number['pass']} passed"]
        told += [
            f"{number[level]} {noun}{'s' * (number[level] != 1)}"
            for level, noun in (("warn", "warning"), ("fail", "failure"))
        ]
        typer.echo(f"\n{', '.join(told)}, in {seconds:.1f} s.")
    if number["fail"]:
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    """Print a finding as soon as it is there, and its fix below it."""
    word = finding.level.upper()
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        word = f"\033[{_COLOURS[finding.level]}m{word}\033[0m"
    told = f"{finding.group:<8}  {finding.message}"
    lines = _folded(told, len("PASS  "), " " * _INDENT)
    typer.echo(f"{word}  {lines}")
    if finding.fix:
        typer.echo(" " * _INDENT + _folded(f"-> {finding.fix}", _INDENT, " " * (_INDENT + 3)))


def _folded(text: str, stands_at: int, indent: str) -> str:
    """Break a line at spaces; a path stays whole, however long, to be copied."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=" " * stands_at,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).lstrip()
