"""AnnData on disk: one Zarr store of format 3, or one h5ad file, whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hypergene.errors import DataError, OutputError, UsageError
from hypergene.output.atomic import atomic_path

# anndata and zarr take a second to import; callers of atomic_path alone need neither.
if TYPE_CHECKING:
    import pandas as pd
    import zarr
    from _typeshed import ReadableBuffer as Buffer
    from anndata import AnnData

ZARR_FORMAT: Literal[3] = 3
"""Passed explicitly everywhere: anndata 0.12 would write 2 by default, 0.13 writes 3."""

CHUNK_ROWS = 1024
"""Spots (and genes) along a chunk: 4 MB of float32, so one gene or one row block reads little."""


def write_anndata(
    adata: AnnData,
    path: Path,
    *,
    format: Literal["zarr", "h5ad"] = "zarr",
    overwrite: bool = False,
) -> None:
    """Write an AnnData, which is not changed.

    Text columns of ``obs`` and ``var`` in which a value repeats or is missing are written as
    categories: scanpy and squidpy colour and group by these, and neither format stores a missing
    string.

    Parameters
    ----------
    adata
        The table. ``X`` may be None.
    path
        Where it is to stand, with its suffix.
    format
        ``zarr``: a store of Zarr format 3 with consolidated metadata; matrices are cut into chunks
        of ``CHUNK_ROWS`` × ``CHUNK_ROWS``. ``h5ad``: one HDF5 file, gzip.
    overwrite
        Whether an earlier store or file at ``path`` may be replaced.

    Raises
    ------
    OutputError
        If ``path`` exists and may not be replaced, is a folder that is no Zarr store, or cannot be
        written.
    UsageError
        If the format is neither.
    """
    path = Path(path)
    if format not in ("zarr", "h5ad"):
        raise UsageError(f"There is no output format '{format}'.", hint="Known: zarr, h5ad.")
    # --overwrite on a mistyped path must never cost anyone a folder of other things.
    if overwrite and format == "zarr" and path.is_dir() and not _is_zarr(path):
        raise OutputError(
            f"{path} is a folder but no Zarr store, so it is not replaced.",
            hint="Give another -o.",
        )
    with atomic_path(path, overwrite=overwrite) as draft:
        if format == "zarr":
            _write_zarr(adata, draft)
        else:
            _write_h5ad(adata, draft)


def read_anndata(path: Path) -> AnnData:
    """Read what :func:`write_anndata` wrote.

    Parameters
    ----------
    path
        A Zarr store of format 3 (a folder) or an h5ad file. Zarr 2 is refused, since its arrays
        may hold pickles.

    Returns
    -------
    anndata.AnnData
        In memory.

    Raises
    ------
    DataError
        If nothing stands there, or it is not a whole AnnData.
    """
    import anndata
    import zarr

    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file {path}.", hint="Check the path.")
    try:
        if not path.is_dir():
            return anndata.io.read_h5ad(path)
        group = zarr.open_group(path, mode="r", zarr_format=ZARR_FORMAT)
        return anndata.io.read_zarr(group)
    # Damaged stores fail inside h5py, zarr, the codecs and anndata, each with its own exceptions.
    except Exception as error:
        raise DataError(
            f"{path} is not a whole AnnData in Zarr {ZARR_FORMAT} or h5ad "
            f"({type(error).__name__}: {_first_line(error)}).",
            hint="Write it again.",
        ) from error


def _write_zarr(adata: AnnData, path: Path) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=ZARR_FORMAT)
    write_element(group, "/", adata)
    consolidate(group)


def write_element(group: zarr.Group, key: str, element: Any) -> None:
    """Write one element of an AnnData into an open store, as :func:`write_anndata` would."""
    from anndata.experimental import write_dispatched

    # anndata 0.13 would otherwise gather up to a gigabyte in one shard before writing it.
    options = {"shards": None}
    write_dispatched(group, key, element, callback=_write_element, dataset_kwargs=options)


def consolidate(group: zarr.Group) -> None:
    """Gather the metadata of a whole store in one place, the last step of writing it."""
    import zarr

    with warnings.catch_warnings():
        # Every reader we support knows consolidated metadata, and others pass over it; it is only
        # formally outside the Zarr 3 specification (zarr-developers/zarr-specs#373).
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(group.store)


def _write_h5ad(adata: AnnData, path: Path) -> None:
    import h5py
    from anndata.experimental import write_dispatched

    options = {"compression": "gzip"}
    with _PatientFile(path, "w+") as file:
        try:
            with h5py.File(file, "w") as store:
                write_dispatched(store, "/", adata, callback=_write_element, dataset_kwargs=options)
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
    """Write one element of an AnnData: text as categories, matrices in square chunks."""
    import pandas as pd

    if isinstance(element, pd.DataFrame):
        element = _with_categories(element)
    elif isinstance(element, np.ndarray) and element.ndim > 1 and element.size:
        sides = (min(side, CHUNK_ROWS) for side in element.shape[:2])
        dataset_kwargs = {**dataset_kwargs, "chunks": (*sides, *element.shape[2:])}
    write(store, key, element, dataset_kwargs=dataset_kwargs)


def _with_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose text columns are categories where a value repeats or is missing."""
    text = table.select_dtypes(include=["object", "string"])
    repeats = [name for name in text if text[name].nunique() < len(table)]
    return table.astype(dict.fromkeys(repeats, "category"))


def _is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr store of any format, or empty."""
    names = {entry.name for entry in folder.iterdir()}
    return not names or bool(names & {"zarr.json", ".zgroup", ".zarray"})


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no further word")
