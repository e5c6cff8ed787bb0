"""Every ``hypergene`` command in README and docs/ is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hypergene.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's blocks, up to a pipe or the next command."""
    for block in re.findall(
        r"^ *```(?:sh|text)\n(.+?)^ *```", page.read_text("utf-8"), re.M | re.S
    ):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"^ *(?:srun |[A-Z_]+=\S+ |.*&& )*hypergene (?=[a-z-])(.+)", line)
            if found:
                words = shlex.split(re.split(r" [|>&]+ |\s#", found[1] + " ")[0])
                yield words


def refused(words: list[str]) -> str | None:
    """What the program has against a command, by its names alone; None if it takes it."""
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        name, *words = words
        if name.startswith("-"):
            return None if any(name in p.opts for p in command.params) else f"no option {name}"
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return f"no option {sorted(given - known)}" if given - known else None


@pytest.mark.parametrize("text", PAGES, ids=lambda path: path.name)
def test_a_command_that_is_written_is_one_that_exists(text: Path) -> None:
    assert {" ".join(words): refused(words) for words in commands(text) if refused(words)} == {}


def test_the_commands_are_found_and_wrong_ones_too() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 75
    assert refused(["data", "check", "x.csv", "--out", "look"]) is None
    assert refused(["predikt"]) == "no command predikt"
    assert refused(["predict", "--modle", "x"]) == "no option ['--modle']"
