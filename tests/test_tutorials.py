"""The tutorials run word for word, block after block, in an empty folder without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TUTORIALS = REPOSITORY / "docs" / "tutorials"
RUNNER = REPOSITORY / "docs" / "site" / "run_tutorial.py"

# What a reader has at the end; the pages name it.
LEFT = {
    "predict.md": ("predictions/painted-slide.zarr", "report.html", "figure.png", "spots.geojson"),
    "finetune.md": ("look/contact-sheet.png", "my-model/model/model.safetensors", "new.png"),
    "evaluate.md": ("honest/report.html", "honest/summary.json", "methods.png"),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """PATH with ``hypergene``, a home of its own, and no way out."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    here = Path(sys.executable).parent
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(scripts), str(here), os.environ["PATH"]]),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **{f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")},
    }
    if not (here / "hypergene").is_file():  # not installed: the checkout under its command's name
        script = scripts / "hypergene"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hypergene "$@"\n')
        script.chmod(0o755)
        variables["PYTHONPATH"] = str(REPOSITORY)
    return variables


def test_every_tutorial_is_run() -> None:
    assert {page.name for page in TUTORIALS.glob("*.md")} == set(LEFT)


@pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="the blocks are for bash"
)
@pytest.mark.parametrize("tutorial", sorted(LEFT))
def test_a_tutorial_runs_word_for_word(
    tutorial: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("squidpy")
    folder = tmp_path / "reader"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, RUNNER, TUTORIALS / tutorial, folder],
        env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stderr.count("): ") >= 4, "blocks that ran"
    assert [name for name in LEFT[tutorial] if not (folder / name).exists()] == []
