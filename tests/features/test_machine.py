"""Threads are as many as this process may keep busy, not as the machine has processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from hypergene.features import machine
from hypergene.features.machine import available_cpus, fit_threads


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("said", "cpus"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8),
     ("max 100000", 8), ("nonsense", 8), ("", 8)],
)  # fmt: skip
def test_a_quota_of_control_groups_bounds_the_processors(tmp_path: Path, said: str, cpus: int):
    (tmp_path / "cpu.max").write_text(said)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("300000", 3), ("-1", 8)])
def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path, quota: str, cpus: int):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == cpus


def test_without_control_groups_the_affinity_counts(tmp_path: Path):
    assert available_cpus(tmp_path) == 8


@pytest.mark.parametrize(("threads", "left"), [(64, 3), (2, 2)])
def test_threads_are_taken_down_and_never_up(
    monkeypatch: pytest.MonkeyPatch, threads: int, left: int
):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    chosen = [threads]
    monkeypatch.setattr(machine, "available_cpus", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: chosen[-1])
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    fit_threads()
    assert chosen[-1] == left


def test_a_number_of_threads_that_someone_chose_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("changed"))
    fit_threads()
