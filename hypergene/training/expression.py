"""What was measured, kept on disk: of a cohort, one section is in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from hypergene.features.cache import ArrayCache, Entry, array_fingerprint
from hypergene.spots import rings
from hypergene.st import Sample
from hypergene.st.pitch import nearest_pitch_px

CACHE_VERSION = 1
NEXT_PITCH = 1.25
"""Spots nearer than this many pitches are next to each other."""

_ROWS = 1024

Floats = NDArray[np.float32]


class Tables(Protocol):
    """Where the two tables of a section come from."""

    def counts(self) -> sparse.csr_matrix:
        """Read the counts, integer CSR (n, all genes)."""

    def log(self) -> sparse.csr_matrix:
        """Read log1p CP10k, float32 CSR (n, all genes)."""


@dataclass(frozen=True, eq=False)
class CachedTables:
    """The tables of a sample in the cache; each call reads one from disk.

    Attributes
    ----------
    shape
        (n, all genes).
    entry
        Arrays of both CSR matrices, which share their structure.
    """

    shape: tuple[int, int]
    entry: Entry

    def counts(self) -> sparse.csr_matrix:
        """Read the counts, int32 CSR (n, all genes)."""
        return self._table("counts")

    def log(self) -> sparse.csr_matrix:
        """Read log1p CP10k, float32 CSR (n, all genes)."""
        return self._table("log")

    def _table(self, name: str) -> sparse.csr_matrix:
        parts = (self.entry.load(part) for part in (name, "indices", "indptr"))
        return sparse.csr_matrix(tuple(parts), shape=self.shape, copy=False)


@dataclass(frozen=True, eq=False)
class Measured:
    """A sample's canonical data, with the tables left on disk.

    Attributes
    ----------
    sample
        Whose data these are.
    obs
        array_row, array_col, total_counts; index = spot names.
    var
        Canonical var of all genes measured.
    xy_px
        (n, 2) float64, spot centres, level-0 px.
    uns
        Of the canonical AnnData.
    tables
        Counts and log1p CP10k.
    fingerprint
        Of counts and gene names.
    """

    sample: Sample
    obs: pd.DataFrame
    var: pd.DataFrame
    xy_px: NDArray[np.float64]
    uns: Mapping[str, Any]
    tables: Tables
    fingerprint: str

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.obs)

    def neighbours(self) -> sparse.csr_matrix:
        """Return the (n, n) matrix that averages a spot and the spots next to it.

        These are the measured spots nearer than 1.25 pitches of the data's own lattice; the rows
        add up to 1.
        """
        pitch = self.uns["hypergene"].get("pitch_px") or nearest_pitch_px(self.xy_px) or 1.0
        return average_with(rings(self.xy_px, self.xy_px, (0.0, NEXT_PITCH * pitch))[0])

    def expression(self, columns: NDArray[np.int64]) -> Expression:
        """Return what this sample says of a model's genes, found in these columns."""
        return Expression(
            name=self.sample.sample,
            tables=self.tables,
            columns=columns,
            fingerprint=f"{self.fingerprint}-{array_fingerprint(columns)[:16]}",
            around=self.neighbours,
        )


def keep_measured(sample: Sample, adata: AnnData, cache: ArrayCache) -> Measured:
    """Put a sample's tables into the cache, so that its data can be let go of.

    Parameters
    ----------
    sample, adata
        The sample and its canonical data (:func:`hypergene.st.read_sample`).
    cache
        Where the tables go; entries are known by their content.

    Raises
    ------
    OutputError
        The cache cannot be used.
    """
    log, counts = adata.X, adata.layers["counts"]
    key = {
        "what": "tables",
        "version": CACHE_VERSION,
        "shape": list(counts.shape),
        "genes": hashlib.sha256("\n".join(adata.var_names).encode()).hexdigest(),
        **{
            part: array_fingerprint(getattr(counts, part)) for part in ("data", "indices", "indptr")
        },
    }
    entry = cache.get(
        key,
        lambda: {
            "counts": counts.data,
            "log": log.data,
            "indices": counts.indices,
            "indptr": counts.indptr,
        },
    )
    return Measured(
        sample=sample,
        obs=adata.obs[["array_row", "array_col", "total_counts"]].copy(),
        var=adata.var.copy(),
        xy_px=np.asarray(adata.obsm["spatial"], np.float64),
        uns={"hypergene": adata.uns["hypergene"]},
        tables=CachedTables((adata.n_obs, adata.n_vars), entry),
        fingerprint=entry.path.stem,
    )


@dataclass(frozen=True, eq=False)
class Expression:
    """What one section says of the model's genes; tables are read when asked for.

    Attributes
    ----------
    name
        Of the section.
    tables
        Counts and log1p CP10k over all genes measured.
    columns
        (genes,) int64: the model's genes in those tables, -1 = not measured in this section.
    fingerprint
        Of all this.
    around
        Gives the matrix of :meth:`neighbours`.
    """

    name: str
    tables: Tables
    columns: NDArray[np.int64]
    fingerprint: str
    around: Callable[[], sparse.csr_matrix]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which of the model's genes this section measured, (genes,)."""
        return self.columns >= 0

    def log(self) -> sparse.csr_matrix:
        """Read log1p CP10k of the model's genes, float32 CSR (n, genes); 0 where not measured."""
        table = self.tables.log()
        genes = len(self.columns)
        known = self.columns[self.measured]
        place = sparse.csr_matrix(
            (np.ones(len(known), np.float32), (known, np.flatnonzero(self.measured))),
            shape=(table.shape[1], genes),
        )
        return sparse.csr_matrix(table @ place)

    def dense(self) -> Floats:
        """Read log1p CP10k of the model's genes, float32 (n, genes); 0 where not measured."""
        table: Floats = self.log().toarray()
        return table

    def counts(self) -> sparse.csr_matrix:
        """Read the counts of all genes measured, integer CSR (n, all genes)."""
        return self.tables.counts()

    def neighbours(self) -> sparse.csr_matrix:
        """Return the (n, n) matrix that averages a spot and those next to it; rows add up to 1."""
        return self.around()


def average_with(mean_of_others: sparse.csr_matrix) -> sparse.csr_matrix:
    """Let each spot count as much as each of its neighbours.

    Parameters
    ----------
    mean_of_others
        (n, n): row i averages the neighbours of spot i, without itself; empty without any.

    Returns
    -------
    scipy.sparse.csr_matrix
        (n, n): row i averages spot i and its neighbours.
    """
    count = np.diff(mean_of_others.indptr)
    own = sparse.diags_array(1 / (1 + count)).tocsr()
    others = sparse.diags_array(count / (1 + count)) @ mean_of_others
    return sparse.csr_matrix(own + others)


def dense_blocks(table: sparse.csr_matrix | Floats, rows: int = _ROWS) -> Iterator[Floats]:
    """Yield a table (n, genes) in dense blocks of rows, so that large sections fit."""
    for start in range(0, table.shape[0], rows):
        block = table[start : start + rows]
        yield block if isinstance(block, np.ndarray) else block.toarray()
