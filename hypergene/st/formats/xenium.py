"""Xenium (10x Genomics): transcripts of an output folder pooled into square pseudo-spots.

The output folder of a run holds ``experiment.xenium``, ``gene_panel.json``,
``transcripts.parquet``, ``cells.parquet`` (or ``cells.csv.gz``) and ``cell_feature_matrix.h5`` (or
a folder). Transcripts are counted in contiguous squares; where there are none, cells are, by their
centroids. An alignment file places the squares on the H&E image.

spatialdata-io's own reader is not used: it is an optional dependency that brings in dask and over a
hundred packages, reads images, outlines and tables that are not needed, pools nothing, and takes an
image without an alignment file for aligned.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.spots import Layout
from hypergene.st.formats.xenium_outs import (
    EXPERIMENT,
    find_alignment,
    image_mpp,
    image_positions,
    read_alignment,
    read_experiment,
    read_gene_panel,
)
from hypergene.st.formats.xenium_pooling import (
    SMALLEST_UM,
    Pooled,
    pool_cells,
    pool_transcripts,
)
from hypergene.st.genes import gene_table
from hypergene.st.join import FARTHEST_PX

_log = logging.getLogger(__name__)

SIDE_UM = 55.0
"""Side of a square unless another is asked for, µm: the diameter of a Visium spot."""

TRANSCRIPTS = "transcripts.parquet"
_CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
_MATRICES = ("cell_feature_matrix.h5", "cell_feature_matrix")


def recognises(data: Path) -> bool:
    """Tell whether a path is a Xenium output folder, or a table of transcripts in one."""
    try:
        if data.is_dir():
            return (
                (data / EXPERIMENT).is_file()
                or (data / TRANSCRIPTS).is_file()
                or (_first(data, _CELLS) is not None and _first(data, _MATRICES) is not None)
            )
    except OSError:
        return False
    return data.name.lower().endswith(TRANSCRIPTS)


def read(data: Path, spots: Path | None = None, spot_um: float | None = None) -> AnnData:
    """Read one run.

    Parameters
    ----------
    data
        The output folder, or ``transcripts.parquet`` in it.
    spots
        The alignment of the H&E image (3x3, CSV); found in or beside the folder if None.
    spot_um
        Side of a square, µm; 55 if None.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts (squares with at least one transcript, genes measured); ``obs``:
        in_tissue (all 1), array_row, array_col (counted from 0 µm of the run, or from the first
        square where some lie before that), named ``r<row>c<col>``; ``obsm["spatial"]``: centres,
        (x, y) level-0 px of the H&E image, on which the lattice may lie turned;
        ``uns["hypergene"]``: counts_from, dropped, pooled (numbers of transcripts or cells, by
        reason), layout, pitch_px, spot_diameter_px, mpp, mpp_source, alignment, panel, platform.

    Raises
    ------
    DataError
        If a file is missing or damaged, nothing is left to count, no alignment is found or it is
        none, or a square is smaller than 1 µm.
    """
    side_um = SIDE_UM if spot_um is None else float(spot_um)
    if not (math.isfinite(side_um) and side_um >= SMALLEST_UM):
        raise DataError(
            f"{data} cannot be pooled into squares of {side_um:g} µm.",
            hint=f"Give spot_um at least {SMALLEST_UM:g} µm, such as {SIDE_UM:g}.",
        )
    if not data.exists():
        raise DataError(f"There is no {data}.", hint="Give the output folder of a Xenium run.")
    outs = data if data.is_dir() else data.parent
    pixel_size_um, panel = read_experiment(outs)
    alignment = find_alignment(outs) if spots is None else spots
    matrix = read_alignment(alignment, pixel_size_um)
    pooled = _pool(outs, data, side_um)
    _log.info(
        "%s: %s, pooled into %d squares of %g µm%s; %d genes measured",
        outs,
        pooled.counts_from,
        len(pooled.row),
        side_um,
        " (the default)" if spot_um is None else "",
        len(pooled.genes),
    )
    centres_um = (np.column_stack([pooled.column, pooled.row]).astype(np.float64) + 0.5) * side_um
    xy_px = image_positions(centres_um, matrix, pixel_size_um)
    if np.abs(xy_px).max() > FARTHEST_PX:
        raise DataError(
            f"{alignment} puts squares of {data} more than {FARTHEST_PX:.0e} px away.",
            hint="Is it the alignment of this run?",
        )
    mpp = image_mpp(matrix, pixel_size_um)
    pitch_px = side_um / math.sqrt(mpp[0] * mpp[1])
    about: dict[str, Any] = {
        "counts_from": pooled.counts_from,
        "dropped": {},
        "pooled": pooled.numbers,
        "layout": asdict(Layout(f"xenium-{side_um:g}", "square", side_um, side_um, "square")),
        "pitch_px": pitch_px,
        "spot_diameter_px": pitch_px,
        "mpp": mpp,
        "mpp_source": f"{alignment.name} and pixel_size of {EXPERIMENT}",
        "alignment": str(alignment),
        "panel": panel,
        "platform": "xenium",
    }
    row, column = (index - min(0, int(index.min())) for index in (pooled.row, pooled.column))
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(len(row), dtype=np.int8),
            "array_row": row.astype(np.int32),
            "array_col": column.astype(np.int32),
        },
        index=[f"r{r}c{c}" for r, c in zip(row, column, strict=True)],
    )
    return AnnData(
        X=pooled.counts,
        obs=obs,
        var=gene_table(pooled.genes, pooled.ids),
        obsm={"spatial": xy_px},
        uns={"hypergene": about},
    )


def _pool(outs: Path, data: Path, side_um: float) -> Pooled:
    """Pool transcripts, or cells where there are none."""
    transcripts = outs / TRANSCRIPTS if data.is_dir() else data
    if transcripts.exists():
        return pool_transcripts(transcripts, side_um, read_gene_panel(outs))
    cells, matrix = _first(outs, _CELLS), _first(outs, _MATRICES)
    if cells is None or matrix is None:
        raise DataError(
            f"{outs} has neither {TRANSCRIPTS} nor both {_CELLS[0]} and {_MATRICES[0]}.",
            hint="Copy one of them from the output folder of the run.",
        )
    _log.warning("%s: no %s, so cells are pooled by their centroids", outs, TRANSCRIPTS)
    return pool_cells(cells, matrix, side_um)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)
