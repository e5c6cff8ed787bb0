"""Python itself, and where hypergene stands in it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import hypergene
from hypergene.pipeline.doctor.finding import Finding

OLDEST = (3, 11)


def check_python() -> Iterator[Finding]:
    """Say which Python, which hypergene, and from where."""
    version = platform.python_version()
    facts = {"version": version, "executable": sys.executable, "platform": platform.platform()}
    told = f"Python {version} on {platform.system()} {platform.machine()} ({sys.executable})."
    if sys.version_info[:2] < OLDEST:
        needed = ".".join(map(str, OLDEST))
        yield Finding(
            *("python", "version", "fail", told),
            fix=f"hypergene needs Python {needed} or later: install it in a newer one.",
            facts=facts,
        )
    else:
        yield Finding("python", "version", "pass", told, facts=facts)
    place = Path(hypergene.__file__).resolve().parent
    yield Finding(
        *("python", "hypergene", "pass", f"hypergene {hypergene.__version__} in {place}."),
        facts={"version": hypergene.__version__, "folder": str(place)},
    )
