"""How long ``hypergene --help`` takes: python tests/benchmarks/help_time.py (goal: under 0.3 s)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

GOAL_S = 0.3
RUNS = 10


def main() -> None:
    script = Path(sys.executable).with_name("hypergene")
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "hypergene"]
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    times = times[1:]  # the first fills the disk cache
    median = statistics.median(times)
    print(f"{' '.join(command)} --help: median {median:.3f} s, worst {max(times):.3f} s")
    sys.exit(median > GOAL_S)


if __name__ == "__main__":
    main()
