"""Transcripts of a Xenium run, or its cells, pooled into squares.

The squares are those of one fixed lattice, anchored at 0 µm of the run: column ``floor(x / side)``,
row ``floor(y / side)``. So they depend on nothing that was measured.

What is a gene is decided by the first of these that the run has: the column ``is_gene``, the column
``codeword_category``, ``gene_panel.json``, the prefixes that 10x Genomics gives to the names of
controls and of codewords without a gene.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st.formats.tenx import as_text, open_matrix
from hypergene.st.formats.xenium_columns import Kind, column_names, read_batches

MIN_QV = 20
"""The Phred-scaled quality from which 10x Genomics counts a transcript (its own matrix too)."""

GENE_CATEGORIES = ("predesigned_gene", "custom_gene")
"""Values of ``codeword_category`` that are genes."""

CONTROL_PREFIXES = (
    *("NegControlProbe_", "NegControlCodeword_", "antisense_", "BLANK_"),
    *("UnassignedCodeword_", "DeprecatedCodeword_", "Intergenic_Region_"),
)
"""How names that are no genes begin; where the files say nothing better."""

FARTHEST_UM = 1e5
"""No slide is longer than this; a larger coordinate is a damaged number."""

SMALLEST_UM = 1.0
"""No square is smaller than this."""

_COLUMNS: dict[str, Kind] = {
    "x_location": "numbers",
    "y_location": "numbers",
    "qv": "numbers",
    "feature_name": "text",
}
_CELL_COLUMNS: dict[str, Kind] = {
    "cell_id": "identifiers",
    "x_centroid": "numbers",
    "y_centroid": "numbers",
}
_RULE_COLUMNS: dict[str, Kind] = {"is_gene": "flags", "codeword_category": "text"}
_MOST_FEATURES = 100_000
_FEW_KEYS = 4_000_000
# A square and a gene in one integer: row, column and gene of 20 bits each.
_BITS = 20
_MASK = 2**_BITS - 1
_ORIGIN = 2 ** (_BITS - 1)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Counts of the squares that have any, row by row of the lattice.

    Attributes
    ----------
    row, column
        Place on the lattice, int64 (n,): square (r, c) covers y from ``r * side`` µm and x from
        ``c * side`` µm.
    counts
        int32 CSR (n, genes).
    genes
        Name of each gene measured.
    ids
        Ensembl identifier of each ("" where unknown); None if none is known.
    counts_from
        Where the counts come from, in words.
    numbers
        How many transcripts or cells there were, were pooled, and were left out, by reason.
    """

    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    counts: sparse.csr_matrix
    genes: list[str]
    ids: list[str] | None
    counts_from: str
    numbers: dict[str, int]


def pool_transcripts(path: Path, side_um: float, panel: Mapping[str, str] | None) -> Pooled:
    """Count the transcripts of every gene in every square, reading the file batch by batch.

    Parameters
    ----------
    path
        ``transcripts.parquet``, of any version: the columns feature_name, x_location, y_location
        (µm), qv, and if it has them is_gene and codeword_category.
    side_um
        Side of a square, µm, at least `SMALLEST_UM`.
    panel
        Gene name -> Ensembl identifier, if known. Genes of the panel without a transcript are
        kept, as they were measured.

    Returns
    -------
    Pooled
        Genes in the panel's order, others by name; memory grows with the number of different
        pairs of square and gene (about 30 bytes each), not with the number of transcripts.

    Raises
    ------
    DataError
        Not a whole Parquet file; columns missing or of another type; values missing or NaN; a
        coordinate off all slides; no transcript, or none that is a gene with a good quality.
    """
    codes: dict[str, int] = {}
    is_seen = np.zeros(_MOST_FEATURES, dtype=bool)
    tally = _Tally()
    read = low_quality = not_genes = 0
    rule = _gene_rule(path, panel is not None)
    wanted = _COLUMNS | {name: kind for name, kind in _RULE_COLUMNS.items() if name == rule}
    for batch in read_batches(path, wanted):
        place, names = batch["feature_name"]
        code = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64)
        if len(codes) > _MOST_FEATURES:
            raise DataError(
                f"{path} has more than {_MOST_FEATURES:,} different feature names.",
                hint="Give transcripts.parquet of a Xenium run.",
            )
        is_gene = _is_gene(batch, rule, panel)
        is_good = batch["qv"] >= MIN_QV
        read += len(place)
        low_quality += int((~is_good).sum())
        not_genes += int((is_good & ~is_gene).sum())
        is_seen[code[np.bincount(place[is_gene], minlength=len(names)) > 0]] = True
        kept = is_good & is_gene
        square = _squares(batch["x_location"][kept], batch["y_location"][kept], side_um, path)
        tally.add(square << _BITS | code[place[kept]])
    tally.count()
    if not tally.keys.size:
        raise DataError(
            f"{path} has no transcript to count: of {read:,}, {low_quality:,} have a qv below "
            f"{MIN_QV} and {not_genes:,} of the others are no genes (by {rule}).",
            hint="Is this the whole file of the run?",
        )
    listed = [] if panel is None else list(panel)
    others = {name for name, code in codes.items() if is_seen[code]}.difference(listed)
    genes = listed + sorted(others)
    place_of = {gene: place for place, gene in enumerate(genes)}
    gene_of = np.array([place_of.get(name, 0) for name in codes], dtype=np.int32)
    row, column, counts = tally.squares(gene_of, len(genes))
    return Pooled(
        row=row,
        column=column,
        counts=counts,
        genes=genes,
        ids=None if panel is None else [panel.get(gene, "") for gene in genes],
        counts_from=f"{path.name}: transcripts of genes (by {rule}) with qv >= {MIN_QV}",
        numbers={
            "transcripts": read,
            "pooled": read - low_quality - not_genes,
            "low_quality": low_quality,
            "not_genes": not_genes,
        },
    )


def pool_cells(cells: Path, matrix: Path, side_um: float) -> Pooled:
    """Sum the counts of the cells whose centroid lies in a square.

    Transcripts outside all cells are lost, and a cell on an edge counts in one square only, so
    this is the second choice.

    Parameters
    ----------
    cells
        ``cells.parquet``, ``cells.csv.gz`` or ``cells.csv``: the columns cell_id, x_centroid and
        y_centroid (µm).
    matrix
        ``cell_feature_matrix.h5``, or the folder with ``matrix.mtx.gz``.
    side_um
        Side of a square, µm, at least `SMALLEST_UM`.

    Returns
    -------
    Pooled
        Genes in the order of the matrix; controls are left out.

    Raises
    ------
    DataError
        A damaged file; a cell twice; no cell that both files have; no counts.
    """
    if matrix.is_dir():
        found = (matrix / name for name in ("matrix.mtx.gz", "matrix.mtx"))
        matrix = next((path for path in found if path.exists()), matrix / "matrix.mtx.gz")
    counted = open_matrix(matrix)
    names, x_um, y_um = _read_cells(cells)
    placed = pd.Index(names)
    barcodes = pd.Index(as_text(counted.barcodes))
    for path, index in ((cells, placed), (matrix, barcodes)):
        if index.has_duplicates:
            twice = index[index.duplicated()]
            raise DataError(
                f"{path} has {twice.nunique()} cells more than once (such as {twice[0]!r}).",
                hint="Give the files of one run.",
            )
    at = placed.get_indexer(barcodes)
    known = at >= 0
    if not known.any():
        raise DataError(
            f"None of the {len(barcodes)} cells of {matrix} (such as {barcodes[0]!r}) is among "
            f"the {len(placed)} of {cells} (such as {placed[0]!r}).",
            hint="Give the files of one run.",
        )
    square, group_of_known = np.unique(
        _squares(x_um[at[known]], y_um[at[known]], side_um, cells), return_inverse=True
    )
    group = np.full(len(barcodes), -1, dtype=np.int64)
    group[known] = group_of_known
    counts = counted.summed(group, len(square))
    is_filled = np.diff(counts.indptr) > 0
    if not is_filled.any():
        raise DataError(
            f"{matrix} has no count of a gene in any of the {int(known.sum())} cells of {cells}.",
            hint="Is this the whole matrix of the run?",
        )
    row, column = _row_and_column(square[is_filled])
    return Pooled(
        row=row,
        column=column,
        counts=counts[is_filled],
        genes=counted.symbols,
        ids=counted.ids,
        counts_from=f"{matrix.name}: cells, by their centroids in {cells.name}",
        numbers={
            "cells": len(barcodes),
            "pooled": int(known.sum()),
            "without_centroid": int((~known).sum()),
        },
    )


def _read_cells(path: Path) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return identifiers, x and y of the centroids, µm."""
    names: list[str] = []
    x_um, y_um = [np.empty(0)], [np.empty(0)]
    for batch in read_batches(path, _CELL_COLUMNS):
        place, words = batch["cell_id"]
        names += [words[i] for i in place]
        x_um.append(batch["x_centroid"])
        y_um.append(batch["y_centroid"])
    if not names:
        raise DataError(f"{path} has no cells.", hint="Is this the whole file of the run?")
    return names, np.concatenate(x_um), np.concatenate(y_um)


class _Tally:
    """How often each key was seen; grows with the number of different keys."""

    def __init__(self) -> None:
        self.keys = np.empty(0, dtype=np.int64)
        self.times = np.empty(0, dtype=np.int32)
        self._waiting: list[npt.NDArray[np.int64]] = [self.keys]

    def add(self, keys: npt.NDArray[np.int64]) -> None:
        """Count a batch of keys, now or with those of later batches."""
        self._waiting.append(keys)
        # Counting copies everything, so it waits until that is worth while.
        if sum(map(len, self._waiting)) > max(_FEW_KEYS, len(self.keys) // 4):
            self.count()

    def count(self) -> None:
        """Count the keys that wait."""
        new, times = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting = [np.empty(0, dtype=np.int64)]
        at = np.searchsorted(self.keys, new)
        is_known = np.zeros(len(new), dtype=bool)
        inside = at < len(self.keys)
        is_known[inside] = self.keys[at[inside]] == new[inside]
        self.times[at[is_known]] += times[is_known].astype(np.int32)
        self.times = np.insert(self.times, at[~is_known], times[~is_known])
        self.keys = np.insert(self.keys, at[~is_known], new[~is_known])

    def squares(
        self, gene_of: npt.NDArray[np.int32], genes: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], sparse.csr_matrix]:
        """Return row, column and int32 counts (squares, genes); the tally is used up."""
        square = self.keys >> _BITS
        first = np.flatnonzero(np.concatenate([[True], square[1:] != square[:-1]]))
        square = square[first]
        self.keys &= _MASK
        columns = gene_of[self.keys]
        del self.keys
        starts = np.append(first, len(columns))
        if len(columns) < np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        counts = sparse.csr_matrix((self.times, columns, starts), shape=(len(square), genes))
        counts.sort_indices()
        return *_row_and_column(square), counts


def _gene_rule(path: Path, has_panel: bool) -> str:
    """Choose what decides which transcripts are those of genes."""
    names = column_names(path)
    for column in _RULE_COLUMNS:
        if column in names:
            return column
    return "gene_panel.json" if has_panel else "the prefixes of names"


def _is_gene(
    batch: Mapping[str, Any], rule: str, panel: Mapping[str, str] | None
) -> npt.NDArray[np.bool_]:
    """Tell of each row whether it is a transcript of a gene, bool (rows,)."""
    if rule == "is_gene":
        flags: npt.NDArray[np.bool_] = batch[rule]
        return flags
    if rule == "codeword_category":
        place, words = batch[rule]
        fits = [word in GENE_CATEGORIES for word in words]
    else:
        place, words = batch["feature_name"]
        if panel is not None:
            fits = [word in panel for word in words]
        else:
            fits = [not word.startswith(CONTROL_PREFIXES) for word in words]
    return np.array(fits, dtype=bool)[place]


def _squares(
    x_um: npt.NDArray[np.float64], y_um: npt.NDArray[np.float64], side_um: float, path: Path
) -> npt.NDArray[np.int64]:
    """Return the square of each point as one integer; in order they run row by row."""
    for um in (x_um, y_um):
        if um.size and np.abs(um).max() > FARTHEST_UM:
            raise DataError(
                f"{path} has a coordinate of {um[np.abs(um).argmax()]:.4g} µm, which is off any "
                "slide.",
                hint="Coordinates must be in µm, as the run wrote them.",
            )
    column, row = (np.floor(um / side_um).astype(np.int64) + _ORIGIN for um in (x_um, y_um))
    return row << _BITS | column


def _row_and_column(
    square: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return (square >> _BITS) - _ORIGIN, (square & _MASK) - _ORIGIN
