"""Arrays that are expensive to make, kept on disk under a key that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from hypergene.errors import OutputError

_SAMPLES = 16
_SAMPLE_BYTES = 1 << 17


class ArrayCache:
    """A folder of arrays, each with its key and checksum beside it.

    The key is a plain mapping of everything the array depends on (slide, spots, widths, version
    ...): whatever changes, changes the file name, so a stale entry is never read. An entry that is
    damaged is made again. Two processes may share a folder: the second waits for the first.

    Parameters
    ----------
    folder
        Where entries lie; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of `key`, computed if it is not there; memory-mapped, read-only.

        Parameters
        ----------
        key
            Everything the array depends on, in JSON's types.
        compute
            Makes the array. What it raises passes through, and nothing is kept.

        Raises
        ------
        OutputError
            The folder cannot be used.
        """
        text = json.dumps(key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        path, note = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        lock = FileLock(self.folder / f"{name}.lock")
        with self._usable():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            with self._usable():
                whole = _is_whole(path, note)
            if not whole:
                array = compute()
                with self._usable():
                    _write(path, note, array, text)
            with self._usable():
                return np.load(path, mmap_mode="r", allow_pickle=False)
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
                hint="Free some space, or choose another --out.",
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
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(path: Path, note: Path, array: NDArray[Any], key: str) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.npy")
    try:
        np.save(temporary, array, allow_pickle=False)
        checksum = _sha256(temporary)
        # Killed in between, the note does not fit the array, which is then made again.
        note.write_text(json.dumps({"sha256": checksum, "key": json.loads(key)}, indent=1))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, note: Path) -> bool:
    if not path.is_file() or not note.is_file():
        return False
    try:
        return bool(json.loads(note.read_text())["sha256"] == _sha256(path))
    except (ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
