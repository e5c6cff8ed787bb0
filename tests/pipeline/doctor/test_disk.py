"""Full disks, folders without rights and locks that do not hold."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from hypergene.pipeline.cohort import locks as lock_files
from hypergene.pipeline.doctor import disk
from hypergene.pipeline.doctor.disk import check_disk, file_system, locks, place

Usage = namedtuple("Usage", "total used free")


def look(folder: Path, **changes: Any):
    return place("working_folder", "The folder", folder, fix="Go.", unwritable="warn", **changes)


@pytest.mark.parametrize(("free_gb", "level"), [(50, "pass"), (3, "warn"), (0.1, "fail")])
def test_a_full_disk_is_a_failure_and_a_fuller_one_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free_gb * 1e9))
    found = look(tmp_path)
    assert (found.level, found.facts["free_gb"]) == (level, free_gb)
    assert found.fix == ("" if level == "pass" else "Free some space. Go.")


@pytest.mark.parametrize("level", ["warn", "fail"])
def test_a_folder_without_rights_is_as_bad_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Any
) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuse)
    found = place("cache", "The cache", tmp_path, fix="Go.", unwritable=level)
    assert (found.level, found.fix) == (level, "Go.")
    assert found.message == f"The cache, {tmp_path}, cannot be written to (Permission denied)."


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    found = look(tmp_path / "a" / "b")
    assert found.facts["free_gb"] > 0
    assert list(tmp_path.iterdir()) == []


def test_all_three_folders_are_looked_at_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = [finding.code for finding in check_disk()]
    assert codes == ["working_folder", "temporary_folder", "locks", "cache"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("exists", "level"), [(True, "pass"), (False, "warn")])
def test_a_temporary_folder_that_is_not_the_one_named_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, level: str
) -> None:
    monkeypatch.setattr(disk.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path if exists else tmp_path / "missing"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 50e9))
    (found,) = [each for each in check_disk() if each.code == "temporary_folder"]
    assert found.level == level
    assert str(tmp_path) in found.message


def test_locks_hold_on_a_common_disk(tmp_path: Path) -> None:
    found = locks(tmp_path)
    assert found.level == "pass" and "Locks hold" in found.message
    assert list(tmp_path.iterdir()) == []


def test_a_disk_whose_locks_do_not_hold_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_files, "_highest", lambda *_: None)
    monkeypatch.setattr(lock_files.LockFolder, "_is_stale", lambda *_: True)

    class Open(lock_files.LockFolder):
        number = 0

        def take(self, name: str, **_: Any) -> Any:
            Open.number += 1
            path = tmp_path / f"{name}.{Open.number}"
            path.touch()
            return lock_files.Lock(path, lock_files.Owner.this_process())

    monkeypatch.setattr(lock_files, "LockFolder", Open)
    found = locks(tmp_path)
    assert found.level == "fail" and "does not keep a second one out" in found.message


def test_a_folder_where_locks_cannot_be_tried_is_a_warning(tmp_path: Path) -> None:
    found = locks(tmp_path / "missing")
    assert found.level == "warn" and "cannot be tried" in found.message


def test_clocks_that_disagree_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = disk.time.time()
    monkeypatch.setattr(disk.time, "time", lambda: now + 3600)
    found = locks(tmp_path)
    assert found.level == "warn" and "s off this machine's" in found.message


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / {folder} rw shared:2 - nfs4 server:/share rw
31 22 0:41 / {folder}/with\\040space rw - tmpfs tmpfs rw
nonsense
"""


def test_the_file_system_is_that_of_the_innermost_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "share"
    mounts.write_text(MOUNTS.format(folder=share))
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(share / "deeper", mounts) == "nfs4"
    assert file_system(share / "with space" / "x", mounts) == "tmpfs"
    assert file_system(tmp_path, tmp_path / "missing") is None
    monkeypatch.setattr(disk, "file_system", lambda _: "nfs4")
    assert "a network file system (nfs4)" in locks(tmp_path).message
