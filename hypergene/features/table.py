"""Features of the spots of a slide, in memory or in a file that leaves no trace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray


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
    """A table (n, features) float32 in a file, mapped for each access; :func:`feature_file`.

    Memory holds the rows in use and no others.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int]) -> None:
        self._file, self.shape = file, shape

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return a copy of some rows: a slice, or (k,) integers."""
        return np.array(self._map()[rows])

    def __setitem__(self, where: Any, values: Any) -> None:
        """Write values at rows, or at rows and columns."""
        self._map()[where] = values

    def _map(self) -> NDArray[np.float32]:
        # Anew each time: pages of a map that stays count as this process's memory.
        return np.memmap(self._file, np.float32, "r+", shape=self.shape)


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
        There is no room for it. It is taken at once: a mapped file that cannot grow would end the
        process without a word.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".features-") as file:
        size = rows * features * np.dtype(np.float32).itemsize
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        yield FeatureFile(file, (rows, features))
