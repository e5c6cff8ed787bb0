"""An AnnData written block by block of its rows, so that memory holds one block.

How many rows there are is known, and matrices are most of it; tables without genes whose rows are
still to be found are the affair of :mod:`hypergene.output.anndata_blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypergene.output.store import Format, Store, open_store

if TYPE_CHECKING:
    import pandas as pd

_PARENTS = ("layers", "obsm", "varm", "obsp", "varp")


@dataclass(frozen=True)
class Matrix:
    """A matrix that is to be written block by block.

    Attributes
    ----------
    columns
        How many.
    dtype
        Of its values.
    """

    columns: int
    dtype: np.dtype[Any]


class AnnDataStream:
    """An AnnData on its way to disk; :func:`stream_anndata` makes one."""

    def __init__(self, store: Store, rows: int, matrices: Mapping[str, Matrix]) -> None:
        self._store = store
        for parent in _PARENTS:
            store.write(parent, {})
        self._matrices = {
            key: store.matrix(key, (rows, matrix.columns), matrix.dtype)
            for key, matrix in matrices.items()
        }

    def __setitem__(self, rows: slice, block: Mapping[str, NDArray[Any]]) -> None:
        """Write one block of rows of every matrix.

        Parameters
        ----------
        rows
            Which; blocks of a multiple of ``store.CHUNK_ROWS`` rows, one after the other, touch no
            chunk twice.
        block
            Matrix -> (rows, columns).

        Raises
        ------
        OSError
            If the disk refuses it.
        """
        for key, values in block.items():
            self._matrices[key][rows] = values
        self._store.check()

    def finish(
        self,
        *,
        obs: pd.DataFrame,
        var: pd.DataFrame,
        uns: Mapping[str, Any],
        obsm: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write what is known at the end; `obsm` is what was not streamed of it."""
        for key, element in (("obs", obs), ("var", var), ("uns", dict(uns))):
            self._store.write(key, element)
        for name, array in obsm.items():
            self._store.write(f"obsm/{name}", array)
        self._store.group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self._store.check()


@contextmanager
def stream_anndata(
    path: Path, *, format: Format, rows: int, matrices: Mapping[str, Matrix]
) -> Iterator[AnnDataStream]:
    """Write an AnnData block by block of its rows.

    Parameters
    ----------
    path
        Where, and nothing stands there: a draft that :func:`hypergene.output.atomic_path` lends,
        since until the block ends this is half an AnnData.
    format
        As of :func:`hypergene.output.store.open_store`.
    rows
        How many there will be.
    matrices
        By their place: ``X``, ``layers/<name>``, ``obsm/<name>``.

    Yields
    ------
    AnnDataStream
        ``stream[rows] = {place: values}`` a block; then :meth:`AnnDataStream.finish`.

    Raises
    ------
    UsageError
        If the format is not known.
    OSError
        If the disk refuses what is written.

    References
    ----------
    The on-disk format of anndata (anndata.readthedocs.io, "on-disk format"), versions 0.1.0 of
    ``anndata`` and 0.2.0 of ``array``.
    """
    with open_store(path, format) as store:
        yield AnnDataStream(store, rows, matrices)
