"""Arrays that are expensive to make, kept on disk under a key that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from hypergene.errors import OutputError


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

    def get(
        self, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """Return the array of `key`, computed if it is not there; memory-mapped, read-only.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        text = json.dumps(key, sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        path, note = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{name}.lock"):
                if not _is_whole(path, note):
                    _write(path, note, compute(), text)
        except OSError as error:
            raise OutputError(
                f"The cache folder {self.folder} cannot be used: {error.strerror or error}.",
                hint="Free some space, or choose another --out.",
            ) from error
        return np.load(path, mmap_mode="r", allow_pickle=False)


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Return name, size and the sha256 of both ends of a file: enough to notice another slide."""
    ends = 1 << 20
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(ends))
        file.seek(max(0, size - ends))
        digest.update(file.read(ends))
    return {"name": path.name, "size": size, "sha256_of_ends": digest.hexdigest()}


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
        note.write_text(json.dumps({"sha256": checksum, "key": json.loads(key)}, indent=1))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, note: Path) -> bool:
    if not path.is_file() or not note.is_file():
        return False
    try:
        return bool(json.loads(note.read_text())["sha256"] == _sha256(path))
    except (ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
