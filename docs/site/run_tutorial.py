"""Run a tutorial word for word, as a reader does who pastes block after block.

    python docs/site/run_tutorial.py docs/tutorials/predict.md FOLDER

``sh`` blocks go to bash, each from the start to its first failure; ``python`` blocks share one
session. Both run in FOLDER, in the order of the page. Other blocks show what comes out and are
passed over. ``hypergene`` and the packages of its extra ``test`` must be installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```(?P<kind>sh|python)\n(?P<code>.+?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of a page that are to be run, as (kind, code)."""
    return [(b["kind"], b["code"]) for b in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def run(page: Path, folder: Path) -> None:
    """Run all blocks of a page; the first that fails raises."""
    import matplotlib

    matplotlib.use("Agg")
    os.chdir(folder)
    session: dict[str, Any] = {"__name__": "__main__"}
    for number, (kind, code) in enumerate(blocks(page), 1):
        began = time.monotonic()
        if kind == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
        else:
            exec(compile(code, f"{page.name}, block {number}", "exec"), session)
        print(f"block {number} ({kind}): {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
