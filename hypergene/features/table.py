"""Features of the spots of a slide, in memory or in a file that leaves no trace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_BYTES = np.dtype(np.float32).itemsize


class FeatureTable(Protocol):
    """A table (n, features) float32 whose rows are read and written; any NumPy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return a copy or view of some rows, (k, features) float32."""

    def __setitem__(self, where: Any, values: Any, /) -> None:
        """Write values at rows, or at rows and columns."""


class FeatureFile:
    """A table (n, features) float32 in a file; :func:`feature_file` makes one.

    Rows are read and written, not mapped: pages of a map count as memory of this process, and a
    few rows here and there bring in far more than themselves.
    """

    def __init__(self, file: FileIO, shape: tuple[int, int]) -> None:
        self._file, self.shape = file, shape

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return some rows: a slice, or (k,) integers."""
        picked = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else np.asarray(rows)
        found = np.empty((len(picked), self.shape[1]), np.float32)
        for run in _runs(picked):
            self._file.seek(_BYTES * self.shape[1] * int(picked[run.start]))
            left = found[run].reshape(-1).view(np.uint8).data
            while left:
                left = left[self._file.readinto(left) or len(left) :]
        return found

    def __setitem__(self, where: tuple[NDArray[np.int64], slice], values: Any) -> None:
        """Write values (k, columns) at (k,) rows and a slice of columns."""
        rows, columns = where
        first, last, _ = columns.indices(self.shape[1])
        table = np.ascontiguousarray(values, np.float32)
        # Rows that are written whole and follow one another are one write.
        whole = last - first == self.shape[1]
        for run in _runs(rows) if whole else (slice(k, k + 1) for k in range(len(rows))):
            self._file.seek(_BYTES * (self.shape[1] * int(rows[run.start]) + first))
            left = table[run].reshape(-1).view(np.uint8).data
            while left:
                left = left[self._file.write(left) :]


@contextmanager
def feature_file(folder: Path, rows: int, features: int) -> Iterator[FeatureFile]:
    """Lend a table in a file that has no name, so that not even a killed process leaves it behind.

    Parameters
    ----------
    folder
        On which disk; it must exist.
    rows, features
        Shape of the table, both at least 1.

    Raises
    ------
    OSError
        There is no room for it: it is taken at once, before hours of encoding.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".features-", buffering=0) as file:
        size = rows * features * _BYTES
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        yield FeatureFile(file, (rows, features))


def _runs(rows: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows into runs of which each row follows the one before."""
    if not len(rows):
        return
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    start = 0
    for end in ends:
        yield slice(start, end)
        start = end
