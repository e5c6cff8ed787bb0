"""An AnnData of spots without genes that is written block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import OutputError
from hypergene.output.atomic import atomic_path
from hypergene.output.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd
    import zarr

ROWS_PER_CHUNK = 2**16
"""Spots along a chunk: 1 MB of centres, and 10 million spots are 160 files a column."""


class AnnDataBlocks:
    """A store of Zarr format 3 that grows; :func:`anndata_blocks` lends one.

    Parameters
    ----------
    store
        The empty store.
    most_rows
        Spots that there may be at most.
    """

    def __init__(self, store: Store, most_rows: int) -> None:
        self._store, self._most = store, most_rows
        self._arrays: dict[str, zarr.Array] = {}
        self._waiting: list[dict[str, npt.NDArray[Any]]] = []
        self._held = self._written = 0

    def __len__(self) -> int:
        """Return the number of spots appended."""
        return self._written + self._held

    def append(self, obs: pd.DataFrame, obsm: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add spots; every block has the same columns, of numbers or booleans.

        Parameters
        ----------
        obs
            m rows, indexed by name.
        obsm
            Arrays of m rows.
        """
        if not self._arrays:
            self._begin(obs, obsm)
        block = {f"obs/{name}": obs[name].to_numpy() for name in obs}
        block["obs/_index"] = obs.index.to_numpy()
        block |= {f"obsm/{name}": values for name, values in obsm.items()}
        self._waiting.append(block)
        self._held += len(obs)
        if self._held >= ROWS_PER_CHUNK:
            self._flush(self._held // ROWS_PER_CHUNK * ROWS_PER_CHUNK)

    def finish(self, uns: Mapping[str, Any]) -> None:
        """Write what is left, and ``uns``; at least one block has been appended."""
        self._flush(self._held)
        for array in self._arrays.values():
            array.resize((self._written, *array.shape[1:]))
        self._store.write("uns", dict(uns))

    def _begin(self, obs: pd.DataFrame, obsm: Mapping[str, npt.NDArray[Any]]) -> None:
        """Let anndata write the store without rows, and put growing arrays in place of its own."""
        import pandas as pd
        from anndata import AnnData

        none = AnnData(obs=obs.iloc[:0], var=pd.DataFrame(index=pd.Index([], dtype=object)))
        none.obsm.update({name: values[:0] for name, values in obsm.items()})
        self._store.write("/", none)
        group = self._store.group
        for key in ("obs/_index", *(f"obs/{n}" for n in obs), *(f"obsm/{n}" for n in obsm)):
            empty: Any = group[key]
            self._arrays[key] = group.create_array(
                key,
                shape=(self._most, *empty.shape[1:]),
                chunks=(ROWS_PER_CHUNK, *empty.shape[1:]),
                dtype=str if empty.dtype.kind in "TO" else empty.dtype,
                attributes=dict(empty.attrs),
                overwrite=True,
            )

    def _flush(self, rows: int) -> None:
        """Write the first `rows` of those that wait: whole chunks, but at the end."""
        if not rows:
            return
        keep: dict[str, npt.NDArray[Any]] = {}
        for key, array in self._arrays.items():
            values = np.concatenate([block[key] for block in self._waiting])
            array[self._written : self._written + rows] = values[:rows]
            keep[key] = values[rows:].copy()
        self._written += rows
        self._held -= rows
        self._waiting = [keep] if self._held else []


@contextmanager
def anndata_blocks(
    path: Path, *, most_rows: int, overwrite: bool = False
) -> Iterator[AnnDataBlocks]:
    """Lend a growing AnnData that stands at `path` when the block ends well.

    Call :meth:`AnnDataBlocks.append` for every block of spots and
    :meth:`AnnDataBlocks.finish` once. What is held are about two chunks of rows; the store is what
    :func:`hypergene.output.write_anndata` would write, but for the size of its chunks.

    Parameters
    ----------
    path
        Where it is to stand.
    most_rows
        Spots that there may be at most.
    overwrite
        Whether an earlier store at `path` may be replaced.

    Raises
    ------
    OutputError
        If `path` exists and may not be replaced, cannot be written, or nothing was appended.
    """
    with atomic_path(path, overwrite=overwrite) as draft, open_store(draft, "zarr") as store:
        table = AnnDataBlocks(store, most_rows)
        yield table
        if not len(table):
            raise OutputError(f"There is no spot to write to {path}.")
