"""How many processors this process may use, and torch's threads fitted to them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Return how many processors this process may keep busy, at least 1.

    The least of what the machine has, what the process is bound to, and the quota of its control
    group (a container, a Slurm job), which neither torch nor ``os.cpu_count`` asks for.

    Parameters
    ----------
    cgroup
        Where control groups are mounted.
    """
    bound = getattr(os, "sched_getaffinity", None)
    cpus = len(bound(0)) if bound is not None else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def fit_threads() -> None:
    """Take torch's threads down to the processors there are; never up.

    With more threads than processors they wait for one another. Nothing is changed where
    ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` is set: then someone has chosen.
    """
    if any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        return
    cpus = available_cpus()
    if torch.get_num_threads() > cpus:
        torch.set_num_threads(cpus)


def _quota(cgroup: Path) -> float | None:
    """Processors that the control group allows; None = no limit, or no control groups."""
    try:
        version_2 = cgroup / "cpu.max"
        if version_2.is_file():
            quota, period = version_2.read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # no such file; "max"
        return None
