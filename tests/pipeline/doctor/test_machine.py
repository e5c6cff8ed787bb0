"""Memory, processors and threads, as several machines would tell them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypergene.features import machine as processors
from hypergene.pipeline.doctor.machine import Memory, check_machine, judge_memory, memory

TABLE = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:   12000000 kB\n"


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(TABLE)
    return path


def test_memory_without_a_container_is_that_of_the_machine(meminfo: Path, tmp_path: Path) -> None:
    assert memory(meminfo, tmp_path) == pytest.approx((16.384, 12.288, None))


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_a_containers_limit_is_what_counts(
    meminfo: Path, tmp_path: Path, limit: str, used: str
) -> None:
    for name, value in ((limit, "4000000000\n"), (used, "1500000000\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(value)
    assert memory(meminfo, tmp_path) == pytest.approx((16.384, 2.5, 4.0))


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n"])
def test_a_container_without_a_limit_has_none(meminfo: Path, tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert memory(meminfo, tmp_path).limit_gb is None


def test_a_system_that_tells_nothing_is_no_failure(tmp_path: Path) -> None:
    found = memory(tmp_path / "missing", tmp_path)
    assert found.free_gb is None
    assert judge_memory(found).level == "pass"


@pytest.mark.parametrize(("free_gb", "level"), [(8.0, "pass"), (2.0, "warn"), (1.0, "fail")])
def test_little_memory_is_a_warning_and_none_a_failure(free_gb: float, level: str) -> None:
    found = judge_memory(Memory(16.0, free_gb, None))
    assert found.level == level
    assert f"{free_gb:.1f} GB of memory are free of 16.0 GB" in found.message
    assert found.facts["free_gb"] == free_gb


def test_the_limit_of_the_container_is_said() -> None:
    assert "container may use 6.0 GB" in judge_memory(Memory(16.0, 5.0, 6.0)).message


def threads(monkeypatch: pytest.MonkeyPatch, may: int, **asked: str) -> str:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processors, "available_cpus", lambda: may)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (found,) = [each for each in check_machine() if each.code == "threads"]
    return f"{found.level} {found.message} {found.fix}"


def test_more_threads_than_processors_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threads(monkeypatch, 4, OMP_NUM_THREADS="16", MKL_NUM_THREADS="2")
    assert told.startswith("warn OMP_NUM_THREADS=16 asks for more threads than the 4 processors")
    assert "Unset OMP_NUM_THREADS, or set to 4." in told


@pytest.mark.parametrize("asked", [{}, {"OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "odd"}])
def test_threads_that_fit_are_none(monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]) -> None:
    assert threads(monkeypatch, 4, **asked).startswith("pass")


def test_a_quota_below_the_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "available_cpus", lambda: 3)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    (found,) = [each for each in check_machine() if each.code == "processors"]
    assert found.message == "3 of 64 processors may be used."
    assert found.facts == {"processors": 64, "available": 3}
