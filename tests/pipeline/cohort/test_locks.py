"""Locks that processes and machines share."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hypergene.errors import OutputError
from hypergene.pipeline.cohort.locks import Heart, LockFolder, Owner


def dead_owner() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pid = process.pid
    born = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    process.communicate(b"\n")
    return replace(Owner.this_process(), pid=pid, born=born)


def leave(folder: Path, owner: Owner, name: str = "a.1.lock") -> Path:
    path = folder / name
    path.write_text(json.dumps(asdict(owner)))
    return path


def elsewhere() -> Owner:
    return replace(Owner.this_process(), machine="another", host="node7")


def test_only_one_gets_it(tmp_path: Path) -> None:
    first = LockFolder(tmp_path).take("a")
    assert first is not None
    assert first.is_held()
    assert LockFolder(tmp_path).take("a") is None
    assert LockFolder(tmp_path).take("b") is not None
    first.release()
    assert LockFolder(tmp_path).take("a") is not None


def test_a_lock_says_whose_it_is(tmp_path: Path) -> None:
    locks = LockFolder(tmp_path)
    locks.take("a")
    owner = locks.owner("a")
    assert owner is not None
    assert owner.pid == os.getpid()
    assert f"process {os.getpid()} on {owner.host}" == str(owner)
    assert not owner.is_dead


def test_the_lock_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    old = leave(tmp_path, replace(dead_owner(), may_replace=True))
    lock = LockFolder(tmp_path).take("a")
    assert lock is not None
    assert lock.is_held()
    assert lock.owner.may_replace, "what the dead one was allowed is handed on"
    assert not old.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.2.lock"]


def test_a_later_process_of_the_same_number_does_not_keep_it(tmp_path: Path) -> None:
    leave(tmp_path, replace(Owner.this_process(), born="1"))
    assert LockFolder(tmp_path).take("a") is not None


def test_the_lock_of_another_machine_is_taken_over_when_it_was_silent_for_long(
    tmp_path: Path,
) -> None:
    leave(tmp_path, elsewhere())
    locks = LockFolder(tmp_path, silence_s=0.2)
    assert locks.take("a") is None
    assert not locks.is_alive("a")
    time.sleep(0.25)
    assert locks.take("a") is not None


def test_the_age_of_a_lock_is_not_read_off_its_clock(tmp_path: Path) -> None:
    path = leave(tmp_path, elsewhere())
    os.utime(path, (0, 0))  # a server that believes it is 1970
    assert LockFolder(tmp_path).take("a") is None


def test_a_sign_of_life_keeps_it(tmp_path: Path) -> None:
    path = leave(tmp_path, elsewhere())
    locks = LockFolder(tmp_path, silence_s=0.3)
    for beat in range(3):
        assert locks.take("a") is None
        assert locks.is_alive("a") == (beat > 0)
        time.sleep(0.2)
        os.utime(path)
    assert locks.take("a") is None


def test_a_heart_gives_signs_of_life_and_lets_go_in_the_end(tmp_path: Path) -> None:
    lock = LockFolder(tmp_path).take("a")
    assert lock is not None
    os.utime(lock.path, (0, 0))
    heart = Heart(beat_s=0.02)
    heart.add(lock)
    until = time.monotonic() + 5
    while lock.path.stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert lock.path.stat().st_mtime > 0
    heart.close()
    assert not lock.path.exists()


def test_a_lock_cut_short_by_a_kill_is_nobodys_until_silent_for_long(tmp_path: Path) -> None:
    (tmp_path / "a.1.lock").touch()
    locks = LockFolder(tmp_path, silence_s=0.1)
    assert locks.take("a") is None
    time.sleep(0.15)
    assert locks.take("a") is not None


def test_who_lost_a_lock_knows_it_and_leaves_the_new_one_alone(tmp_path: Path) -> None:
    lost = LockFolder(tmp_path).take("a")
    assert lost is not None
    lost.path.write_text(json.dumps(asdict(elsewhere())))
    locks = LockFolder(tmp_path, silence_s=0.0)
    assert locks.take("a") is None
    time.sleep(0.01)
    new = locks.take("a")
    assert new is not None
    assert not lost.is_held()
    lost.release()
    assert new.is_held()


def test_names_with_dots_and_numbers_do_not_meet(tmp_path: Path) -> None:
    locks = LockFolder(tmp_path)
    assert locks.take("a.1") is not None
    assert not locks.is_locked("a")
    assert locks.take("a") is not None


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        LockFolder(tmp_path / "file").take("a")


def _take_all(folder: Path, names: list[str], got: multiprocessing.Queue[str]) -> None:
    locks = LockFolder(folder)
    for name in names:
        if locks.take(name) is not None:
            got.put(name)


def test_of_several_that_find_the_same_dead_locks_each_goes_to_one(tmp_path: Path) -> None:
    dead = dead_owner()
    names = [f"slide-{number}" for number in range(40)]
    for name in names:
        leave(tmp_path, dead, f"{name}.1.lock")
    forking = multiprocessing.get_context("fork")
    got = forking.Queue()
    # Nobody leaves before all have tried: the locks of one that is gone are free again.
    all_tried = forking.Barrier(4)
    processes = [
        forking.Process(target=lambda: (_take_all(tmp_path, names, got), all_tried.wait(60)))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    taken = [got.get(timeout=20) for _ in names]
    for process in processes:
        process.join()
    assert sorted(taken) == sorted(names)
    assert got.empty()


def test_where_the_system_tells_little_a_dead_process_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = dead_owner()
    monkeypatch.setattr("hypergene.pipeline.cohort.locks._PROC", tmp_path / "none")
    leave(tmp_path, replace(dead, born="unknown"))
    assert LockFolder(tmp_path).take("a") is not None
    leave(tmp_path, replace(Owner.this_process(), pid=os.getppid()), "b.1.lock")
    assert LockFolder(tmp_path).take("b") is None
