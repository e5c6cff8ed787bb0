"""The two kinds of file an AnnData is written to, behind one set of verbs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hypergene.errors import UsageError

# anndata and zarr take a second to import; callers of atomic_path alone need neither.
if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import ReadableBuffer as Buffer

Format = Literal["zarr", "h5ad"]

ZARR_FORMAT: Literal[3] = 3
"""Passed explicitly everywhere: anndata 0.12 would write 2 by default, 0.13 writes 3."""

CHUNK_ROWS, CHUNK_COLUMNS = 1024, 256
"""Spots and genes of a chunk: 1 MB of float32. One gene over a slide reads 256 columns, one block
of spots reads itself; ``tests/benchmarks/predict_chunks.py`` has the alternatives measured."""

_IMAGE_PX = 1024
_ARRAY = {"encoding-type": "array", "encoding-version": "0.2.0"}


class Store:
    """An AnnData being written; :func:`open_store` makes one.

    Attributes
    ----------
    group
        The Zarr group or HDF5 file.
    """

    def __init__(self, group: Any, options: Mapping[str, Any]) -> None:
        self.group, self._options = group, options

    def write(self, key: str, element: Any) -> None:
        """Write one element of an AnnData, or a whole one under ``"/"``, as anndata encodes it."""
        from anndata.experimental import write_dispatched

        # anndata 0.13 takes a name inside a group, and no path to one.
        parent, _, name = key.rpartition("/")
        write_dispatched(
            self.group[parent] if parent else self.group,
            name or key,
            element,
            callback=_write_element,
            dataset_kwargs=self._options,
        )

    def matrix(self, key: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Any:
        """Make a matrix to be filled by ``matrix[rows] = values``; its parent group exists."""
        make = getattr(self.group, "create_array", None) or self.group.create_dataset
        made = make(key, shape=shape, dtype=dtype, chunks=_chunks(shape), **self._options)
        made.attrs.update(_ARRAY)
        return made

    def check(self) -> None:
        """Raise the ``OSError`` that a write has met, if it was kept back."""


class _H5Store(Store):
    def __init__(self, group: Any, file: _PatientFile) -> None:
        super().__init__(group, {"compression": "gzip"})
        self._file = file

    def check(self) -> None:
        if self._file.failure is not None:
            raise self._file.failure


@contextmanager
def open_store(path: Path, format: Format) -> Iterator[Store]:
    """Make a store at a path where nothing stands; it is whole when the block ends well.

    Parameters
    ----------
    path
        A draft, as :func:`hypergene.output.atomic_path` lends it.
    format
        ``zarr``: a store of Zarr format 3 with consolidated metadata. ``h5ad``: one HDF5 file,
        gzip. Matrices are cut into chunks of ``CHUNK_ROWS`` × ``CHUNK_COLUMNS``.

    Raises
    ------
    UsageError
        If the format is neither.
    OSError
        If the disk refuses what is written.
    """
    check_format(format)
    if format == "zarr":
        with _zarr_store(path) as store:
            yield store
    else:
        with _h5_store(path) as store:
            yield store


def check_format(format: str) -> None:
    """Refuse a format that is not known.

    Raises
    ------
    UsageError
        If it is not.
    """
    if format not in get_args(Format):
        raise UsageError(f"There is no output format '{format}'.", hint="Known: zarr, h5ad.")


@contextmanager
def _zarr_store(path: Path) -> Iterator[Store]:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=ZARR_FORMAT)
    # anndata 0.13 would otherwise gather up to a gigabyte in one shard before writing it.
    yield Store(group, {"shards": None})
    with warnings.catch_warnings():
        # Every reader we support knows consolidated metadata, and others pass over it; it is only
        # formally outside the Zarr 3 specification (zarr-developers/zarr-specs#373).
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(group.store)


@contextmanager
def _h5_store(path: Path) -> Iterator[Store]:
    import h5py

    with _PatientFile(path, "w+") as file:
        try:
            with h5py.File(file, "w") as group:
                yield _H5Store(group, file)
        finally:
            if file.failure is not None:
                raise file.failure


class _PatientFile(io.FileIO):
    """A file that keeps its first failed write to itself, for its owner to raise.

    HDF5 cannot close a file that it fails to write (a full disk): it prints tracebacks and crashes
    the interpreter at exit. So it is told that all went well, and its file is thrown away.
    """

    failure: OSError | None = None

    def write(self, data: Buffer) -> int:
        """Write all of ``data``, or nothing any more once a write has failed."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self.failure is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.failure = error
        return size


def _write_element(
    write: Callable[..., None],
    store: Any,
    key: str,
    element: Any,
    *,
    dataset_kwargs: Mapping[str, Any],
    **_: Any,
) -> None:
    """Write one element of an AnnData: text as categories, matrices and images in chunks."""
    import pandas as pd

    if isinstance(element, pd.DataFrame):
        element = _as_stored(element)
    elif isinstance(element, np.ndarray) and element.ndim > 1 and element.size:
        dataset_kwargs = {**dataset_kwargs, "chunks": _chunks(element.shape)}
    write(store, key, element, dataset_kwargs=dataset_kwargs)


def _as_stored(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose text is categories where a value repeats or is missing, else plain.

    pandas 3 makes arrays with a mask of all text, and anndata stores them so; older readers and
    those of other languages know strings alone.
    """
    from pandas.api.types import is_string_dtype

    text = table.select_dtypes(include=["object", "string"])
    kinds = {name: "category" if text[name].nunique() < len(table) else object for name in text}
    stored = table.astype(kinds)
    if is_string_dtype(stored.index):
        stored.index = stored.index.astype(object)
    return stored


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of a matrix (spots, genes), or of an image (height, width, 3)."""
    most = (CHUNK_ROWS, CHUNK_COLUMNS) if len(shape) == 2 else (_IMAGE_PX, _IMAGE_PX)
    sides = (max(1, min(side, chunk)) for side, chunk in zip(shape[:2], most, strict=True))
    return (*sides, *shape[2:])
