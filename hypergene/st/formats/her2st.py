"""Legacy ST in the HER2ST layout: a table of counts and a table of spot positions.

Counts: rows are spots named ``XxY``, columns gene symbols, tab-separated, mostly gzipped.
Positions (``<section>_selection.tsv``): ``x y new_x new_y pixel_x pixel_y selected``. The two meet
on ``f"{x}x{y}"``; ``pixel_x`` is the pixel column, ``pixel_y`` the row. ``new_x`` and ``new_y`` are
the same place before rounding and are not needed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.spots import layout_named
from hypergene.st.count_table import read_count_table
from hypergene.st.genes import gene_table
from hypergene.st.join import join_spots
from hypergene.st.normalise import check_counts
from hypergene.st.pitch import square_pitch_px
from hypergene.st.table import read_table


def recognises(data: Path) -> bool:
    """Tell whether a file is named like counts of this layout, or has its positions beside it."""
    if not data.name.lower().endswith((".tsv", ".tsv.gz")):
        return False
    return data.parent.name == "ST-cnts" or any(place.is_file() for place in _places(data))


def section_of(counts: Path) -> str:
    """Return the section that a counts file is named after, e.g. B4 of ``B4.tsv.gz``."""
    return counts.name.removesuffix(".gz").removesuffix(".tsv")


def find_spots(counts: Path) -> Path:
    """Find the positions that belong to a counts file.

    Raises
    ------
    DataError
        If they are neither in ``../ST-spotfiles`` nor beside the counts.
    """
    places = _places(counts)
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"There are no spot positions for {counts}: neither {places[0]} nor {places[1]} exists.",
        hint="Name the file in a column 'spots' of the samples sheet.",
    )


def _places(counts: Path) -> tuple[Path, Path]:
    name = f"{section_of(counts)}_selection.tsv"
    return counts.parent.parent / "ST-spotfiles" / name, counts.parent / name


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one section.

    Parameters
    ----------
    data
        Counts, TSV or gzipped TSV.
    spots
        Positions; found by the counts' name if None.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts (spots with a position, genes), in the order of the counts file;
        ``obs``: in_tissue, array_row, array_col; ``obsm["spatial"]``: (x, y) level-0 px;
        ``uns["hypergene"]``: layout, platform, pitch_px, dropped, counts_from.

    Raises
    ------
    DataError
        If a table is missing, malformed or damaged, if the counts are none, or if no spot of the
        one table is in the other.
    """
    table = read_count_table(data, column_is="gene")
    path = spots or find_spots(data)
    adata = join_spots(
        table.rows,
        check_counts(table.values, str(data)),
        gene_table(table.columns),
        _read_positions(path),
        data=data,
        spots=path,
        hint="Rows must be spots named XxY, and both files must be of one section.",
    )
    about = adata.uns["hypergene"]
    about |= {
        "layout": asdict(layout_named("st")),
        "platform": "st",
        "counts_from": f"{data.name} (a row a spot)",
    }
    pitch = square_pitch_px(adata.obs[["array_col", "array_row"]].to_numpy(), adata.obsm["spatial"])
    if pitch is not None:
        about["pitch_px"] = pitch
    return adata


def _read_positions(path: Path) -> pd.DataFrame:
    """Return in_tissue, array_row, array_col, pixel_x, pixel_y; index ``XxY``."""
    table = read_table(path, "\t")
    table.require("x", "y", "pixel_x", "pixel_y")
    x, y = table.integers("x"), table.integers("y")
    selected = table.numbers("selected") > 0 if "selected" in table.columns else np.ones(len(table))
    frame = pd.DataFrame(
        {
            "in_tissue": selected.astype(np.int8),
            "array_row": y,
            "array_col": x,
            "pixel_x": table.numbers("pixel_x"),
            "pixel_y": table.numbers("pixel_y"),
        },
        index=pd.Index([f"{a}x{b}" for a, b in zip(x, y, strict=True)], dtype=object),
    )
    return frame
