"""What is expensive is made once, kept whole, and made again when anything about it changed."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hypergene.errors import OutputError, SlideError
from hypergene.features.cache import ArrayCache, array_fingerprint, file_fingerprint

KEY = {"slide": {"name": "a.svs", "size": 3}, "tile_um": [112.0, 300.0], "version": 1}


class Counted:
    """An array, and how often it was computed."""

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        self.array = np.arange(2000.0).reshape(50, 40) if array is None else array
        self.times = 0

    def __call__(self) -> dict[str, NDArray[Any]]:
        self.times += 1
        return {"values": self.array}


def get(cache: ArrayCache, key: Any, compute: Any) -> NDArray[Any]:
    """The array of a key, as it is mapped from the file."""
    return cache.get(key, compute).mapped("values")


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "run" / "cache")


def entry(cache: ArrayCache) -> Path:
    (path,) = cache.folder.glob("*.h5")
    return path


def test_the_second_time_nothing_is_computed(cache: ArrayCache):
    compute = Counted()
    first, second = get(cache, KEY, compute), get(cache, KEY, compute)
    other = get(ArrayCache(cache.folder), dict(reversed(KEY.items())), compute)
    assert compute.times == 1
    for array in (first, second, other):
        assert np.array_equal(array, compute.array) and array.dtype == compute.array.dtype
        assert not array.flags.writeable


@pytest.mark.parametrize("array", [np.zeros((0, 5), np.uint8), np.float32(3), np.ones(3, bool)])
def test_arrays_of_any_shape_and_type_are_kept(cache: ArrayCache, array: Any):
    compute = Counted(np.asarray(array))
    for _ in range(2):
        kept = get(cache, KEY, compute)
        assert kept.shape == compute.array.shape and kept.dtype == compute.array.dtype
        assert np.array_equal(kept, compute.array)
    assert compute.times == 1


@pytest.mark.parametrize(
    "changed",
    [
        KEY | {"version": 2},
        KEY | {"slide": {"name": "a.svs", "size": 4}},
        KEY | {"tile_um": [300.0, 112.0]},
        KEY | {"more": None},
    ],
)
def test_a_changed_key_is_computed_anew_beside_the_old(cache: ArrayCache, changed: dict):
    old, new = Counted(), Counted(np.ones(3))
    cache.get(KEY, old)
    assert np.array_equal(get(cache, changed, new), np.ones(3))
    cache.get(KEY, old)
    assert (old.times, new.times) == (1, 1)


def test_a_key_that_is_not_plain_is_a_mistake_of_the_program(cache: ArrayCache):
    """The text of an array is abbreviated, so two arrays could share it."""
    with pytest.raises(TypeError):
        cache.get({"spots": np.arange(5000)}, Counted())


def flip_a_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def remove_the_checksum(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["values"].attrs["sha256"]


DAMAGES = {
    "a flipped byte of an array": lambda path: flip_a_byte(path, -100),
    "a flipped byte of the header": lambda path: flip_a_byte(path, 3),
    "a truncated file": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "an empty file": lambda path: path.write_bytes(b""),
    "no file": lambda path: path.unlink(),
    "a file of another kind": lambda path: path.write_text("[1]"),
    "no checksum": remove_the_checksum,
    "no array": lambda path: h5py.File(path, "w").close(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(cache: ArrayCache, damage: str):
    compute = Counted()
    cache.get(KEY, compute)
    DAMAGES[damage](entry(cache))
    assert np.array_equal(get(cache, KEY, compute), compute.array)
    assert compute.times == 2
    cache.get(KEY, compute)
    assert compute.times == 2


def test_an_entry_holds_several_arrays_in_memory_or_mapped(cache: ArrayCache):
    arrays = {"indices": np.arange(5, dtype=np.int32), "values": np.linspace(0, 1, 7)}
    kept = cache.get(KEY, lambda: arrays)
    for name, array in arrays.items():
        assert np.array_equal(kept.load(name), array)
        assert np.array_equal(kept.mapped(name), array)
        assert kept.load(name).flags.writeable


def test_an_entry_that_was_deleted_meanwhile_is_an_output_error(cache: ArrayCache):
    kept = cache.get(KEY, Counted())
    entry(cache).unlink()
    with pytest.raises(OutputError, match="cannot be read any more"):
        kept.load("values")


def test_what_a_killed_process_left_is_cleared_away(cache: ArrayCache):
    cache.get(KEY, Counted())
    path = entry(cache)
    left = path.with_name(f".{path.stem}.123-abc.h5")
    left.write_bytes(b"half")
    path.unlink()
    cache.get(KEY, Counted())
    assert not left.exists()


def test_what_compute_raises_passes_through_and_nothing_is_kept(cache: ArrayCache):
    for error in (SlideError("damaged"), FileNotFoundError("a.svs"), KeyboardInterrupt()):

        def fail(error: BaseException = error) -> NDArray[Any]:
            raise error

        with pytest.raises(type(error)) as caught:
            cache.get(KEY, fail)
        assert caught.value is error
    assert not list(cache.folder.glob("*.h5"))
    compute = Counted()
    cache.get(KEY, compute)  # the lock is free again
    assert compute.times == 1


def test_objects_are_not_kept_because_they_would_be_pickles(cache: ArrayCache):
    with pytest.raises(TypeError, match="Object dtype"):
        cache.get(KEY, Counted(np.array([{}, "text"], dtype=object)))
    assert not [path for path in cache.folder.iterdir() if path.suffix != ".lock"]


def test_two_threads_compute_once(cache: ArrayCache):
    together, compute = threading.Barrier(4), Counted()

    def slow() -> dict[str, NDArray[Any]]:
        time.sleep(0.1)
        return compute()

    def wait_and_get(_: int) -> NDArray[Any]:
        together.wait()
        return get(cache, KEY, slow)

    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(wait_and_get, range(4)))
    assert compute.times == 1
    assert all(np.array_equal(array, compute.array) for array in arrays)


def test_two_processes_compute_once(tmp_path: Path):
    code = """
import sys, time
from pathlib import Path
import numpy as np
from hypergene.features.cache import ArrayCache

folder = Path(sys.argv[1])
def compute():
    with (folder / "computed").open("a") as file:
        file.write("x")
    time.sleep(0.5)
    return {"values": np.arange(9)}
(folder / f"ready{sys.argv[2]}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.01)
assert ArrayCache(folder / "cache").get({"a": 1}, compute).load("values").sum() == 36
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), n]) for n in "01"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "computed").read_text() == "x"


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    compute = Counted()
    with pytest.raises(OutputError, match="cannot be used") as caught:
        ArrayCache(tmp_path / "file" / "cache").get(KEY, compute)
    assert str(tmp_path / "file" / "cache") in caught.value.message
    assert caught.value.hint and compute.times == 0


def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    cache: ArrayCache, monkeypatch: pytest.MonkeyPatch
):
    def fails(file: h5py.File, *_: object, **__: object) -> None:
        file.attrs["half"] = "written"
        raise OSError(errno.ENOSPC, "No space left on device")

    def full(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=1_000_000)

    for owner, name, broken in ((h5py.File, "create_dataset", fails), (shutil, "disk_usage", full)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            with pytest.raises(OutputError, match="No space left"):
                cache.get(KEY, Counted())
    assert not [path for path in cache.folder.iterdir() if path.suffix != ".lock"]
    assert np.array_equal(get(cache, KEY, Counted()), Counted().array)


def test_a_disk_without_locks_is_an_output_error(
    cache: ArrayCache, monkeypatch: pytest.MonkeyPatch
):
    from hypergene.features import cache as module

    def no_locks(_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(module.FileLock, "acquire", no_locks)
    with pytest.raises(OutputError, match="flock"):
        cache.get(KEY, Counted())


def test_a_file_is_known_by_name_size_and_content(tmp_path: Path):
    content = bytearray(np.random.default_rng(0).bytes(6_000_000))
    paths = [tmp_path / folder / "slide.tif" for folder in "abc"]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(content)
    # Same header, same end, same size: another picture in between.
    content[2_000_000:4_000_000] = bytes(2_000_000)
    paths[1].write_bytes(content)
    one, other, copy = (file_fingerprint(path) for path in paths)
    assert one == copy and one != other and one["size"] == other["size"] == 6_000_000
    paths[2].rename(tmp_path / "other.tif")
    assert file_fingerprint(tmp_path / "other.tif") != one


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_small_files_have_fingerprints(tmp_path: Path, size: int):
    (tmp_path / "a").write_bytes(b"x" * size)
    found = file_fingerprint(tmp_path / "a")
    assert found["size"] == size
    if size:
        (tmp_path / "a").write_bytes(b"x" * (size - 1) + b"y")
        assert file_fingerprint(tmp_path / "a") != found


def test_an_array_is_known_by_type_shape_and_values():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    different = [array.T, array.ravel(), array.astype(np.uint32), array + 1]
    prints = {array_fingerprint(one) for one in (array, *different)}
    assert len(prints) == 5
    assert array_fingerprint(np.asfortranarray(array)) == array_fingerprint(array)
