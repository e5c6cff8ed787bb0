"""A table of features in a file behaves like an array, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hypergene.features.table import FeatureTable, feature_file


def test_a_file_and_an_array_hold_the_same(tmp_path: Path):
    rng = np.random.default_rng(0)
    array = np.zeros((50, 6), np.float32)
    with feature_file(tmp_path, 50, 6) as file:
        tables: list[FeatureTable] = [array, file]
        for _ in range(20):
            rows, columns = rng.permutation(50)[:7], slice(*sorted(rng.integers(0, 7, 2)))
            values = rng.random((7, columns.stop - columns.start), np.float32)
            for table in tables:
                table[rows, columns] = values
        assert array.any()
        assert file.shape == array.shape
        assert np.array_equal(file[slice(None)], array)
        picked = rng.integers(0, 50, 9)
        assert np.array_equal(file[picked], array[picked])


def test_what_is_read_is_a_copy(tmp_path: Path):
    with feature_file(tmp_path, 3, 2) as file:
        file[slice(None)][:] = 7
        assert not file[slice(None)].any()


def test_the_file_has_no_name_and_gives_its_room_back(tmp_path: Path):
    with feature_file(tmp_path, 10, 3) as file:
        file[np.arange(10), slice(0, 3)] = np.ones((10, 3))
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        file[np.arange(1)]


def test_a_killed_process_leaves_nothing(tmp_path: Path):
    script = f"""
import os, signal
import numpy as np
from pathlib import Path
from hypergene.features.table import feature_file
table_rows = np.arange(3)
with feature_file(Path({str(tmp_path)!r}), 1000, 8) as table:
    table[table_rows, slice(0, 8)] = [[1.0] * 8] * 3
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -9, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"), feature_file(tmp_path, 3, 2):
        pytest.fail("no room")


def test_where_room_cannot_be_taken_at_once_the_file_is_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with feature_file(tmp_path, 3, 2) as file:
        assert file[slice(None)].shape == (3, 2)
