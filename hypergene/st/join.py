"""Counts and positions that lie in two files, joined by the names of their spots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hypergene.errors import DataError

FARTHEST_PX = 1e7
"""No slide is wider than this; a larger position is a damaged number."""


def join_spots(
    names: Sequence[str],
    counts: sparse.csr_matrix,
    var: pd.DataFrame,
    positions: pd.DataFrame,
    *,
    data: Path,
    spots: Path,
    hint: str,
) -> AnnData:
    """Join counts with positions by spot name, in the order of the counts.

    Parameters
    ----------
    names
        Spot of each row of the counts, length n.
    counts
        int32 CSR (n, genes).
    var
        Canonical var (genes).
    positions
        Columns in_tissue, array_row, array_col, pixel_x, pixel_y (level-0 px); index: spot names.
    data, spots
        Where counts and positions came from, for messages.
    hint
        What to do if no name of the one is in the other.

    Returns
    -------
    AnnData
        The spots that both have: ``X`` counts, ``obs``, ``var``, ``obsm["spatial"]``, and
        ``uns["hypergene"]["dropped"]`` with the number of the others.

    Raises
    ------
    DataError
        A name twice on one side, a position that no slide has, or no spot that both have.
    """
    for where, index in ((data, pd.Index(names)), (spots, positions.index)):
        if index.has_duplicates:
            twice = index[index.duplicated()]
            raise DataError(
                f"{where} has {twice.nunique()} spot names more than once (such as {twice[0]!r}).",
                hint="Give one section a file.",
            )
    far = positions[["pixel_x", "pixel_y"]].abs().max(axis=1) > FARTHEST_PX
    if far.any():
        raise DataError(
            f"{spots} puts spot {positions.index[far][0]!r} more than {FARTHEST_PX:.0e} px away.",
            hint="Positions are pixels of the full-resolution image.",
        )
    known = positions.index.get_indexer(pd.Index(names))
    found = np.flatnonzero(known >= 0)
    if not found.size:
        raise DataError(
            f"None of the {len(names)} spots of {data} (such as {names[0]!r}) is among the "
            f"{len(positions)} positions of {spots} (such as {positions.index[0]!r}).",
            hint=hint,
        )
    at = positions.iloc[known[found]]
    dropped: dict[str, Any] = {
        "counts_without_position": len(names) - found.size,
        "positions_without_counts": len(positions) - found.size,
    }
    return AnnData(
        X=counts[found],
        obs=at[["in_tissue", "array_row", "array_col"]].copy(),
        var=var,
        obsm={"spatial": at[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)},
        uns={"hypergene": {"dropped": dropped}},
    )
