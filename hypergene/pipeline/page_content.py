"""What of a prediction fits on a page: which of its spots, and which of its genes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from hypergene.errors import DataError, UsageError
from hypergene.output import PredictionFile, highest

MOST_SPOTS = 100_000
"""Of more spots a regular part is shown: a browser without a fast GPU would not be fluent."""
MOST_VALUES = 10_000_000
"""Spots × genes that a page holds: 50,000 × 200, about 20 MB."""
MAX_GENES = 200
_SAMPLE_SPOTS = 2000
_SPOTS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class PageContent:
    """What a page shows of a prediction.

    Attributes
    ----------
    adata
        The spots and genes shown, with spread where the prediction has it.
    chosen_by
        How the genes were chosen.
    warnings
        What a reader should know of spots and genes that are not shown.
    """

    adata: AnnData
    chosen_by: str
    warnings: list[str]


def page_content(file: PredictionFile, genes: Sequence[str] | None, max_genes: int) -> PageContent:
    """Read what a page shows.

    Parameters
    ----------
    file
        The prediction.
    genes, max_genes
        As of :func:`hypergene.pipeline.report.write_report`.

    Raises
    ------
    UsageError
        The genes asked for are more than a page holds, or not in the file.
    DataError
        The prediction is damaged, has no spots, or does not say where and how large they are.
    """
    _refuse_incomplete(file)
    shown = shown_spots(file.obs)
    spots = int(shown.sum())
    chosen, chosen_by, warnings = _genes(file, spots, genes, max_genes)
    if spots < len(file.obs):
        warnings.append(
            f"{spots:,} of the {len(file.obs):,} spots are shown, a regular part of them: more "
            "would not be fluent."
        )
    return PageContent(_read(file, chosen, shown), chosen_by, warnings)


def _refuse_incomplete(file: PredictionFile) -> None:
    if file.obs.empty or not file.genes:
        raise DataError(f"{file.path} has no spots to show.", hint="Predict the slide again.")
    try:
        library = next(iter(file.uns["spatial"].values()))
        mpp = file.uns["hypergene"]["mpp"]
        sizes = [library["scalefactors"]["spot_diameter_fullres"], mpp["x"], mpp["y"]]
        known = np.isfinite(sizes).all() and min(sizes) > 0
    except (KeyError, TypeError, AttributeError, StopIteration):
        known = False
    xy = file.obsm["spatial"]
    if not known or xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise DataError(
            f"{file.path} does not say where its spots lie and how large they are (µm per pixel "
            "and spot diameter).",
            hint="Predict the slide again.",
        )


def shown_spots(obs: pd.DataFrame, most: int | None = None) -> NDArray[np.bool_]:
    """Say which spots a page shows: all, or of more than it holds a regular part.

    Parameters
    ----------
    obs
        ``array_row`` and ``array_col``, −1 where a spot has no place on a lattice.
    most
        How many a page holds, about; None = ``MOST_SPOTS``.

    Returns
    -------
    ndarray
        bool (n,). On a lattice the spots of every k-th row in every k-th column, the least k that
        does; of other spots every k²-th.
    """
    most = MOST_SPOTS if most is None else most
    spots = len(obs)
    if spots <= most:
        return np.ones(spots, bool)
    step = math.ceil(math.sqrt(spots / most))
    if {"array_row", "array_col"} <= set(obs) and (obs["array_row"] >= 0).all():
        # Hexagons' columns count twice as fast, even ones on even rows: pairs are one column.
        row, column = obs["array_row"].to_numpy(), obs["array_col"].to_numpy()
        is_hexagonal = bool(((row + column) % 2 == 0).all())
        place = column // 2 if is_hexagonal else column
        return np.asarray((row % step == 0) & (place % step == 0))
    return np.asarray(np.arange(spots) % step**2 == 0)


def _read(file: PredictionFile, genes: Sequence[str], shown: NDArray[np.bool_]) -> AnnData:
    """Read expression and spread of the spots that are shown, in bounded memory."""
    layers = [name for name in ("std",) if name in file.layers]
    if shown.all():
        return file.read(genes, layers=layers)
    parts = []
    for start in range(0, len(shown), _SPOTS_AT_ONCE):
        rows = slice(start, start + _SPOTS_AT_ONCE)
        parts.append(file.read(genes, rows, layers)[shown[rows]].copy())
    return anndata.concat(parts, merge="first", uns_merge="first")


def _genes(
    file: PredictionFile, spots: int, genes: Sequence[str] | None, max_genes: int
) -> tuple[list[str], str, list[str]]:
    """Choose the genes of a page: symbols, how they were chosen, what a user should know of it."""
    room = max(MOST_VALUES // spots, 1)
    if genes is not None:
        wanted = list(dict.fromkeys(genes))
        if len(wanted) > room:
            raise UsageError(
                f"{len(wanted):,} genes of {spots:,} spots are more than a page holds.",
                hint=f"Give at most {room:,} with --genes.",
            )
        return wanted, "as asked for", []
    count = min(max_genes, room, len(file.genes))
    warnings = []
    if count == room < min(max_genes, len(file.genes)):
        warnings.append(
            f"{spots:,} spots leave room for {room:,} genes on a page; --genes names others."
        )
    if "heldout_pcc" in file.var:
        score, by = file.var["heldout_pcc"], "best on held-out data first"
    else:
        score, by = _variance(file), "most varying first"
    return highest(score, count), by, warnings


def _variance(file: PredictionFile) -> pd.Series:
    """Return each gene's variance over the first spots: enough to choose by."""
    some = file.read(rows=slice(0, _SAMPLE_SPOTS), layers=())
    return pd.Series(np.asarray(some.X).var(axis=0), index=some.var_names)
