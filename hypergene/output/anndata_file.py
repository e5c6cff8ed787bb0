"""AnnData on disk: one Zarr store of format 3, or one h5ad file, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hypergene.errors import DataError, OutputError, first_line
from hypergene.output.atomic import atomic_path
from hypergene.output.store import ZARR_FORMAT, Format, check_format, open_store

if TYPE_CHECKING:  # it takes a second to import
    from anndata import AnnData


def write_anndata(
    adata: AnnData,
    path: Path,
    *,
    format: Format = "zarr",
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
        As of :func:`hypergene.output.store.open_store`.
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
    check_format(format)
    # --overwrite on a mistyped path must never cost anyone a folder of other things.
    if overwrite and format == "zarr" and path.is_dir() and not _is_zarr(path):
        raise OutputError(
            f"{path} is a folder but no Zarr store, so it is not replaced.",
            hint="Give another -o.",
        )
    with atomic_path(path, overwrite=overwrite) as draft, open_store(draft, format) as store:
        store.write("/", adata)


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
            f"({type(error).__name__}: {first_line(error)}).",
            hint="Write it again.",
        ) from error


def _is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr store of any format, or empty."""
    names = {entry.name for entry in folder.iterdir()}
    return not names or bool(names & {"zarr.json", ".zgroup", ".zarray"})
