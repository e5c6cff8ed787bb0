"""Memory, processors, and whether threads fit them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hypergene.pipeline.doctor.finding import Finding

LITTLE_GB: Final = 4.0
NOTHING_GB: Final = 1.5
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_UNLIMITED_GB = 1e6
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Memory(NamedTuple):
    """Memory in GB (1e9 bytes); None = the system does not tell, or there is no limit."""

    total_gb: float | None
    free_gb: float | None
    limit_gb: float | None


def check_machine() -> Iterator[Finding]:
    """Look at memory, processors and threads."""
    yield judge_memory(memory())
    yield _processors()
    yield _threads()


def judge_memory(found: Memory) -> Finding:
    """Say whether there is memory for a prediction; free is what may be used within the limit."""
    facts = {
        key: None if value is None else round(value, 2) for key, value in found._asdict().items()
    }
    if found.free_gb is None:
        return Finding("machine", "memory", "pass", "The system does not tell its free memory.",
                       facts=facts)  # fmt: skip
    told = f"{found.free_gb:,.1f} GB of memory are free"
    told += "" if found.total_gb is None else f" of {found.total_gb:,.1f} GB"
    told += "." if found.limit_gb is None else f"; the container may use {found.limit_gb:,.1f} GB."
    if found.free_gb >= LITTLE_GB:
        return Finding("machine", "memory", "pass", told, facts=facts)
    return Finding(
        *("machine", "memory", "fail" if found.free_gb < NOTHING_GB else "warn", told),
        fix="Close other programs or raise the container's limit; on a small machine give "
        "predict --genes, --batch-size 32 and --processes 1.",
        facts=facts,
    )


def memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> Memory:
    """Return total and free memory of the machine, and what its control group allows.

    Parameters
    ----------
    meminfo
        The kernel's table.
    cgroup
        Where control groups are mounted.
    """
    total, free = _of_table(meminfo)
    if total is None:
        total = _of_sysconf()
    limit = _limit(cgroup)
    if limit is not None:
        used = _first_number(cgroup, ("memory.current", "memory/memory.usage_in_bytes")) or 0.0
        free = limit - used if free is None else min(free, limit - used)
    return Memory(total, free, limit)


def _of_table(meminfo: Path) -> tuple[float | None, float | None]:
    try:
        table = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.M))
        return float(table["MemTotal"]) * 1024 / 1e9, float(table["MemAvailable"]) * 1024 / 1e9
    except (OSError, KeyError, ValueError):
        return None, None


def _of_sysconf() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, OSError, ValueError):
        return None


def _limit(cgroup: Path) -> float | None:
    limit = _first_number(cgroup, ("memory.max", "memory/memory.limit_in_bytes"))
    return None if limit is None or limit > _UNLIMITED_GB else limit


def _first_number(folder: Path, names: tuple[str, ...]) -> float | None:
    for name in names:
        try:
            return float((folder / name).read_text()) / 1e9
        except (OSError, ValueError):  # no such file; "max"
            continue
    return None


def _processors() -> Finding:
    from hypergene.features.machine import available_cpus

    has, may = os.cpu_count() or 1, available_cpus()
    facts = {"processors": has, "available": may}
    told = f"{may} of {has} processors may be used." if may < has else f"{has} processors."
    return Finding("machine", "processors", "pass", told, facts=facts)


def _threads() -> Finding:
    """Compare what the environment asks of threads with the processors there are."""
    import torch

    from hypergene.features.machine import available_cpus

    may, used = available_cpus(), torch.get_num_threads()
    asked = {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}
    facts = {"torch_threads": used, "available": may, "asked": asked}
    too_many = [name for name, value in asked.items() if value.isdecimal() and int(value) > may]
    if too_many:
        return Finding(
            *("machine", "threads", "warn"),
            f"{', '.join(f'{name}={asked[name]}' for name in too_many)} asks for more threads than "
            f"the {may} processors that may be used: they will wait for one another.",
            fix=f"Unset {' and '.join(too_many)}, or set to {may}.",
            facts=facts,
        )
    if asked:
        told = f"torch uses {used} threads, as the environment asks ({', '.join(asked)})."
    else:
        told = f"torch would use {used} threads, and hypergene at most {may}."
    return Finding("machine", "threads", "pass", told, facts=facts)
