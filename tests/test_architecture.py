"""The rules of the house, held by their own tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def check(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_rooms_import_downwards_only() -> None:
    check(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


def test_ruff_finds_nothing() -> None:
    check(sys.executable, "-m", "ruff", "check", "--no-cache", "hypergene", "tests")


def test_the_code_is_formatted() -> None:
    check(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", "hypergene", "tests")


def test_mypy_finds_nothing() -> None:
    check(sys.executable, "-m", "mypy")
