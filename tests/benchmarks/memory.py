"""Peak memory of this process, for the benchmarks beside this file."""

from __future__ import annotations

from pathlib import Path


def peak_gb() -> float:
    """Peak resident memory in GB (Linux).

    Not ``ru_maxrss``, which a process inherits from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e9
