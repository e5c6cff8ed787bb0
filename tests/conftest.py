"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

# Before the tests import numpy or torch: they share their machine, and threads change nothing.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

REPOSITORY = Path(__file__).resolve().parent.parent

# A user's own settings must not decide whether a test passes.
for variable in [name for name in os.environ if name.startswith("HYPERGENE_")]:
    if variable != "HYPERGENE_TEST_DATA":
        del os.environ[variable]

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides and sections; the test is skipped where there is none."""
    named = os.environ.get("HYPERGENE_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder} (HYPERGENE_TEST_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def painted_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted H&E-like pyramidal TIFF, 1,200 × 1,200 px at 1 µm/px, two levels."""
    from hypergene.pipeline.painted import paint_slide

    return paint_slide(tmp_path_factory.mktemp("painted") / "painted.tiff", size_px=1200, mpp=1.0)


@pytest.fixture(scope="session")
def run_cli() -> RunCli:
    """Run ``hypergene ARGS...`` as its own process: the installed script, or the module."""
    script = Path(sys.executable).with_name("hypergene")
    installed = script.is_file()
    command = [str(script)] if installed else [sys.executable, "-m", "hypergene"]
    search = {} if installed else {"PYTHONPATH": str(REPOSITORY)}

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            timeout=timeout,
            env={**os.environ, **search, "COLUMNS": "100", **(env or {})},
            check=False,
        )

    return run
