"""Arrays that are expensive to make, kept on disk under a key that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from hypergene.errors import OutputError

_SAMPLES = 16
_SAMPLE_BYTES = 1 << 17

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Place:
    """Where an array lies in its file."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """Named arrays of one key, on disk; an array is read when asked for.

    Attributes
    ----------
    path
        The HDF5 file.
    """

    path: Path
    _places: Mapping[str, _Place]

    def load(self, name: str) -> NDArray[Any]:
        """Read one array into memory.

        Raises
        ------
        OutputError
            The file is gone.
        """
        return np.array(self.mapped(name))

    def mapped(self, name: str) -> NDArray[Any]:
        """Map one array from the file, read-only: for tables of which a step needs a few rows.

        Raises
        ------
        OutputError
            The file is gone.
        """
        place = self._places[name]
        if 0 in place.shape:
            return np.empty(place.shape, place.dtype)
        try:
            return np.memmap(self.path, place.dtype, "r", place.offset, place.shape)
        except OSError as error:
            raise OutputError(
                f"The cache file {self.path} cannot be read any more: {error.strerror or error}.",
                hint="Leave the cache folder alone during a run, and run again.",
            ) from error


class ArrayCache:
    """A folder of HDF5 files, one a key, each array with its checksum.

    The key is a plain mapping of everything the arrays depend on (slide, spots, widths, version
    ...): whatever changes, changes the file name, so a stale entry is never read. An entry that is
    damaged is made again. Two processes may share a folder: the second waits for the first.

    Parameters
    ----------
    folder
        Where entries lie; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Entry:
        """Return the arrays of `key`, computed if they are not there.

        Parameters
        ----------
        key
            Everything the arrays depend on, in JSON's types.
        compute
            Makes the arrays. What it raises passes through, and nothing is kept.

        Raises
        ------
        OutputError
            The folder cannot be used.
        """
        text = json.dumps(key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        path = self.folder / f"{name}.h5"
        lock = FileLock(self.folder / f"{name}.lock")
        with self._usable():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            with self._usable():
                entry = _whole_entry(path)
            if entry is None:
                arrays = compute()
                with self._usable():
                    _write(path, arrays, text)
                    entry = _open_entry(path)
            return entry
        finally:
            lock.release()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, NotImplementedError) as error:  # the latter: a disk without locks
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"The cache folder {self.folder} cannot be used: {reason}.",
                hint="Free some space, or choose another --out or --cache.",
            ) from error


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Return name, size and the sha256 of samples of a file: enough to notice another slide.

    Slides of several GB are not read whole. Samples are spread over the file, for an uncompressed
    slide has the same header and the same white border as its neighbours.
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES, dtype=np.int64):
            file.seek(int(start))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"name": path.name, "size": size, "sha256_of_samples": digest.hexdigest()}


def array_fingerprint(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _write(path: Path, arrays: Arrays, key: str) -> None:
    for left in path.parent.glob(f".{path.stem}.*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.h5")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["key"] = key
            for name, array in arrays.items():
                # Neither chunks nor compression: the bytes lie in the file as in memory.
                dataset = file.create_dataset(name, data=array)
                dataset.attrs["sha256"] = array_fingerprint(array)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_entry(path: Path) -> Entry:
    with h5py.File(path, "r") as file:
        places = {
            name: _Place(dataset.id.get_offset() or 0, dataset.dtype, dataset.shape)
            for name, dataset in file.items()
        }
    return Entry(path, places)


def _whole_entry(path: Path) -> Entry | None:
    """Open an entry if it is there and every array has its checksum."""
    if not path.is_file():
        return None
    try:
        entry = _open_entry(path)
        with h5py.File(path, "r") as file:
            expected = {name: str(dataset.attrs["sha256"]) for name, dataset in file.items()}
        whole = bool(expected) and all(
            array_fingerprint(entry.mapped(name)) == checksum for name, checksum in expected.items()
        )
    except Exception:  # a damaged file can fail anywhere in h5py, or lie about where its arrays are
        return None
    return entry if whole else None
