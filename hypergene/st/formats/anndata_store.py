"""AnnData on disk, HDF5 or Zarr, of which only what is asked for is read.

``anndata.read_h5ad`` and ``read_zarr`` load every layer, graph and image of a file, which may be
gigabytes, and fail on a single element that this version does not know. Here elements are read one
by one with ``anndata.io.read_elem``, and matrices in blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

from hypergene.errors import DataError, HypergeneError, first_line

_BLOCK = 2**24
"""Values of a matrix that are in memory at a time, beside those already checked."""

_MOST_BYTES = 2**30
"""No element that is read whole is larger; one that claims more is damaged, or not ours to load."""

_READ = ("array", "csr_matrix", "csc_matrix")
_OLD = "Open it once with anndata.read_h5ad and write it again."


def zarr_kind(folder: Path) -> Literal["anndata", "spatialdata"] | None:
    """Tell what a Zarr store holds, by its attributes or, in old stores, by the names in it.

    Parameters
    ----------
    folder
        Any path.

    Returns
    -------
    str or None
        None if it is neither, or no folder. Never raises.
    """
    attributes: Any = {}
    try:
        names = {entry.name for entry in folder.iterdir()}
        if "zarr.json" in names:
            attributes = json.loads((folder / "zarr.json").read_bytes()).get("attributes", {})
        elif ".zattrs" in names:
            attributes = json.loads((folder / ".zattrs").read_bytes())
        if "spatialdata_attrs" in attributes:
            return "spatialdata"
        if "encoding-type" in attributes:
            return "anndata" if attributes["encoding-type"] == "anndata" else None
    except Exception:  # no folder, no permission, no JSON, JSON of another shape
        return None
    if not names & {"zarr.json", ".zgroup"}:
        return None
    if {"obs", "var"} <= names:
        return "anndata"
    return "spatialdata" if names & {"tables", "table"} and "shapes" in names else None


@contextmanager
def open_stored(path: Path) -> Iterator[Stored]:
    """Open an AnnData file (HDF5) or store (a Zarr folder) for reading.

    Raises
    ------
    DataError
        If nothing is there, or it is neither.
    """
    if path.is_dir():
        with _reading(str(path)):
            root = zarr.open_group(path, mode="r")
        yield Stored(root, str(path))
    elif path.is_file():
        with _reading(str(path)):
            file = h5py.File(path, "r")
        with file:
            yield Stored(file, str(path))
    else:
        raise DataError(
            f"{path} is not a file.", hint="Give the path of an .h5ad file or a .zarr store."
        )


class Stored:
    """An open AnnData, its elements by their path, such as ``layers/counts``.

    Parameters
    ----------
    root
        The group that holds ``obs``, ``var``, ``X`` ...
    name
        What and where it is, for messages.

    Raises
    ------
    DataError
        From every method, with this name: an element that is asked for is missing, damaged, of a
        size that does not fit, or of a kind that anndata does not know.
    """

    def __init__(self, root: h5py.Group | zarr.Group, name: str) -> None:
        self._root = root
        self.name = name

    def within(self, key: str, name: str) -> Stored:
        """Return the AnnData that is stored inside this one's file, as in SpatialData."""
        with _reading(name):
            return Stored(self._root[key], name)

    def has(self, key: str) -> bool:
        """Tell whether there is such an element (anndata may write a null for one that is not)."""
        with _reading(self.name):
            if key not in self._root:
                return False
            return self._root[key].attrs.get("encoding-type") != "null"

    def keys(self, key: str) -> list[str]:
        """Name the elements of a group, sorted; none if there is no such group."""
        with _reading(self.name):
            group = self._root.get(key)
            return sorted(group.keys()) if isinstance(group, h5py.Group | zarr.Group) else []

    def read(self, key: str, *, filled: bool = False) -> Any:
        """Read one element whole, as anndata gives it; at most 1 GiB.

        Parameters
        ----------
        key
            Its path.
        filled
            Whether it cannot be zero or blank over long stretches: see :meth:`_refuse_gaps`.
        """
        with _reading(self.name):
            element = self._root[key]
            for array in _arrays(element):
                self._admit(array, key)
                if filled:
                    self._refuse_gaps(array, key)
            return read_elem(element)

    def length(self, frame: str) -> int:
        """Return the number of rows of ``obs``, ``var`` or ``raw/var``; reads nothing."""
        with _reading(self.name):
            return int(_values(self._index(frame)).shape[0])

    def names(self, frame: str) -> pd.Index:
        """Read the index of a data frame as text."""
        with _reading(self.name):
            index = self._index(frame)
            self._admit(_values(index), frame)
            self._refuse_gaps(_values(index), frame)
            values = np.asarray(read_elem(index)).astype(object)
            return pd.Index([str(value) for value in values], dtype=object)

    def columns(self, frame: str) -> list[str]:
        """Name the columns of a data frame."""
        with _reading(self.name):
            index = str(self._root[frame].attrs["_index"])
        return [name for name in self.keys(frame) if name not in (index, "__categories")]

    def column(self, frame: str, name: str) -> pd.Series:
        """Read one column of a data frame."""
        if self.has(f"{frame}/__categories"):  # anndata 0.7 kept all categories in one place
            values = self.read(frame)[name]
        else:
            values = self.read(f"{frame}/{name}")
        with _reading(self.name):
            column = pd.Series(values).reset_index(drop=True)
        if len(column) != self.length(frame):
            raise DataError(
                f"{frame} of {self.name} has {self.length(frame)} rows, but its column {name} "
                f"has {len(column)}.",
                hint="The file is damaged: copy or write it again.",
            )
        return column

    def blocks(self, key: str, shape: tuple[int, int]) -> Iterator[sparse.spmatrix]:
        """Read a matrix in blocks, from top to bottom or, if stored by columns, left to right.

        Parameters
        ----------
        key
            Path of the matrix: dense, CSR or CSC.
        shape
            (rows, columns) that it must have.

        Yields
        ------
        scipy.sparse.csr_matrix or csc_matrix
            CSR blocks are all columns of some rows, CSC blocks all rows of some columns. Indices
            are inside the matrix; nothing is known of the values.
        """
        with _reading(self.name):
            element: Any = self._root[key]
            kind = str(element.attrs.get("encoding-type", "array"))
            if kind not in _READ:
                raise DataError(
                    f"{key} of {self.name} is no matrix but {kind}.",
                    hint="Counts are read from dense, CSR and CSC matrices.",
                )
            sides = element.shape if kind == "array" else element.attrs["shape"]
            found = tuple(int(side) for side in sides)
            for array in _arrays(element):
                self._admit(array, key, whole=False)
        if found != shape:
            raise DataError(
                f"{key} of {self.name} is of shape {found}, but there are {shape[0]} spots and "
                f"{shape[1]} genes.",
                hint="The file is damaged: copy or write it again.",
            )
        read = self._rows if kind == "array" else self._compressed
        yield from read(element, key, shape)

    def _rows(self, element: Any, key: str, shape: tuple[int, int]) -> Iterator[sparse.csr_matrix]:
        chunk = min((element.chunks or (1,))[0], max(1, shape[0]))
        rows = max(1, _BLOCK // max(1, shape[1]) // chunk) * chunk
        for start in range(0, shape[0], rows):
            with _reading(self.name):
                dense = np.asarray(element[start : start + rows])
                if dense.dtype.kind not in "biuf":
                    raise DataError(f"{key} of {self.name} holds no numbers.")
                block = sparse.csr_matrix(dense)
            yield block

    def _compressed(
        self, element: Any, key: str, shape: tuple[int, int]
    ) -> Iterator[sparse.spmatrix]:
        by_rows = str(element.attrs["encoding-type"]) == "csr_matrix"
        lines, across = shape if by_rows else shape[::-1]
        with _reading(self.name):
            data, indices, starts = (element[name] for name in ("data", "indices", "indptr"))
            for array in (data, indices):
                self._refuse_gaps(array, key)
            fits = starts.shape == (lines + 1,) and data.shape == indices.shape
            if fits:
                starts = np.asarray(starts[...]).astype(np.int64)
                fits = (
                    starts[0] == 0 and starts[-1] == data.shape[0] and (np.diff(starts) >= 0).all()
                )
        if not fits:
            self._damaged(key)
        start = 0
        while start < lines:
            # The last line that still fits the block, and at least one.
            stop = int(np.searchsorted(starts, starts[start] + _BLOCK, side="right")) - 1
            stop = min(max(stop, start + 1), lines)
            with _reading(self.name):
                part = slice(int(starts[start]), int(starts[stop]))
                index = np.asarray(indices[part])
                # scipy trusts these, and would read wherever they point.
                if index.size and not 0 <= index.min() <= index.max() < across:
                    self._damaged(key)
                made = sparse.csr_matrix if by_rows else sparse.csc_matrix
                size = (stop - start, across) if by_rows else (across, stop - start)
                block = made((data[part], index, starts[start : stop + 1] - part.start), shape=size)
            yield block
            start = stop

    def _index(self, frame: str) -> Any:
        group: Any = self._root[frame]
        if not isinstance(group, h5py.Group | zarr.Group):
            raise DataError(f"{self.name} was written by an anndata before 0.7.", hint=_OLD)
        return group[str(group.attrs["_index"])]

    def _admit(self, array: Any, key: str, *, whole: bool = True) -> None:
        """Refuse an array that would fill the memory, or run code when it is read."""
        size = (array.size or 0) * array.dtype.itemsize
        if whole and size > _MOST_BYTES:
            raise DataError(
                f"{key} of {self.name} claims to hold {size / 2**30:.1f} GiB.",
                hint="The file is damaged, or holds something that does not belong there.",
            )
        if isinstance(array, zarr.Array) and array.metadata.zarr_format == 2:
            codecs = (*(array.metadata.filters or ()), array.metadata.compressor)
            if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
                raise DataError(
                    f"{key} of {self.name} is stored as Python pickles, which are not read.",
                    hint="Write it again with a current anndata.",
                )

    def _refuse_gaps(self, array: Any, key: str) -> None:
        """Refuse an array of which chunks are lost: Zarr would read zeros or blanks for them.

        Chunks that are all zero are not written, so this holds only for arrays that cannot be so.
        """
        if isinstance(array, zarr.Array) and array.nchunks_initialized < array.nchunks:
            raise DataError(
                f"{key} of {self.name} lacks {array.nchunks - array.nchunks_initialized} of its "
                f"{array.nchunks} chunks.",
                hint="Files of the store are missing: copy it again.",
            )

    def _damaged(self, key: str) -> None:
        raise DataError(
            f"{key} of {self.name} is no valid sparse matrix.",
            hint="The file is damaged: copy or write it again.",
        )


def _values(index: Any) -> Any:
    """Return the array of an index; anndata 0.13 puts a mask beside it, with pandas 3."""
    return index["values"] if isinstance(index, h5py.Group | zarr.Group) else index


def _arrays(element: Any) -> Iterator[Any]:
    """Walk over all arrays of an element."""
    if isinstance(element, h5py.Group):
        for child in element.values():
            yield from _arrays(child)
    elif isinstance(element, zarr.Group):
        for _, child in element.members():
            yield from _arrays(child)
    else:
        yield element


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn whatever a library throws at a damaged or foreign file into one sentence."""
    try:
        yield
    except HypergeneError:
        raise
    except Exception as reason:  # h5py, zarr, the codecs and anndata fail in many ways
        line = first_line(reason)
        raise DataError(
            f"{name} cannot be read as AnnData: {line}.",
            hint="Is it whole? Copy or write it again.",
        ) from None
