"""Legacy ST as other labs have it: any table of counts, and a table of where the spots lie.

Counts are TSV or CSV, plain or gzipped, with a row a spot (ST-Net, the ST Pipeline,
STimage-1K4M) or a row a gene (as R writes them): told by which side holds the names of the
positions. Positions are what the ST Spot Detector writes (``x y new_x new_y pixel_x pixel_y``, and
mostly ``selected``) or any table with the spots' names and their pixels. Spots named by their
place on the array meet whatever the notation: ``10x13``, ``10_13``, ``X10x13``, ``10.0x13.0``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.spots import layout_named
from hypergene.st.count_table import CountTable, read_count_table
from hypergene.st.formats.tables_positions import (
    Positions,
    find_positions,
    read_positions,
    spot_name,
)
from hypergene.st.genes import gene_table
from hypergene.st.join import join_spots
from hypergene.st.lattice import square_lattice_pitch_px, visium_pitch_px
from hypergene.st.normalise import check_counts
from hypergene.st.pitch import nearest_pitch_px

_log = logging.getLogger(__name__)

_SYMBOL_AND_ID = re.compile(r"(\S+) (ENS[A-Z]*G\d{11}(?:\.\d+)?)")
# What HTSeq, and so the ST Pipeline, counts beside the genes.
_NO_GENE = re.compile(
    r"__(no_feature|ambiguous|too_low_aqual|not_aligned|alignment_not_unique)\b.*", re.IGNORECASE
)


def recognises(data: Path) -> bool:
    """Tell whether a file is named like a text table."""
    return data.name.lower().removesuffix(".gz").endswith((".tsv", ".csv", ".txt"))


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one section.

    Parameters
    ----------
    data
        Counts, separated by tabs, commas or semicolons, plain or gzipped; spots × genes or
        genes × spots; genes by symbol, Ensembl identifier, or ``SYMBOL ENSG…``.
    spots
        Positions; found by the counts' name if None.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts (spots with a position, genes), in the order of the counts file;
        ``obs``: in_tissue, array_row, array_col; ``obsm["spatial"]``: (x, y) level-0 px;
        ``uns["hypergene"]``: counts_from (and what a row is), positions_from, dropped, pitch_px;
        features_left_out (HTSeq's own counters) if there are any, layout and platform if the
        spots lie on a square array (legacy ST) or on Visium's, spot_diameter_px if the positions
        give a radius.

    Raises
    ------
    DataError
        If a table is missing, malformed or damaged, if the counts are none, or if no spot of the
        one table is in the other.
    """
    table = read_count_table(data, "\t,;")
    positions = read_positions(spots or find_positions(data))
    by_row, names, placed = _meet(table, positions)
    genes = table.columns if by_row else table.rows
    counts = check_counts(table.values if by_row else table.values.T, str(data))
    is_gene = np.array([_NO_GENE.fullmatch(gene) is None for gene in genes], dtype=bool)
    adata = join_spots(
        names,
        counts[:, is_gene],
        _gene_table([gene for gene, kept in zip(genes, is_gene, strict=True) if kept]),
        placed,
        data=data,
        spots=positions.path,
        hint="Both files must be of one section.",
    )
    about = adata.uns["hypergene"]
    about["counts_from"] = f"{data.name} (a row a {'spot' if by_row else 'gene'})"
    about["positions_from"] = f"{positions.path.name} ({' and '.join(positions.columns)})"
    if not is_gene.all():
        about["features_left_out"] = f"{int((~is_gene).sum())} counters of HTSeq"
    _log.info("%s: counts are %s", data, about["counts_from"])
    _log.info("%s: positions are %s", data, about["positions_from"])
    if positions.diameter_px is not None:
        about["spot_diameter_px"] = positions.diameter_px
    _measure(adata, data)
    return adata


def _meet(table: CountTable, positions: Positions) -> tuple[bool, list[str], pd.DataFrame]:
    """Find out whether the rows are spots, and by which names they and the positions meet.

    Returns whether the rows are spots, the spots' names, and the positions indexed by name.
    """
    rows, columns = [list(map(spot_name, names)) for names in (table.rows, table.columns)]
    row_set, column_set = set(rows), set(columns)
    met, by_row, way = max(
        (len(side & set(way)), by_row, -number)
        for number, way in enumerate(positions.names)
        for by_row, side in ((True, row_set), (False, column_set))
    )
    if met == 0:
        raise DataError(
            f"{positions.path} names no spot of {table.path}: its names are such as "
            f"{positions.names[0][0]!r}, the rows of the counts {table.rows[0]!r}, the columns "
            f"{table.columns[0]!r}.",
            hint="Both files must be of one section, and name its spots in the same way.",
        )
    placed = positions.frame.set_index(pd.Index(positions.names[-way], dtype=object))
    return by_row, rows if by_row else columns, placed


def _gene_table(genes: list[str]) -> pd.DataFrame:
    """Build the canonical var; some labs name genes by symbol and identifier at once."""
    both = [_SYMBOL_AND_ID.fullmatch(gene) for gene in genes]
    if sum(match is not None for match in both) <= len(genes) / 2:
        return gene_table(genes)
    return gene_table(
        [match[1] if match else gene for gene, match in zip(genes, both, strict=True)],
        [match[2] if match else "" for match in both],
    )


def _measure(adata: AnnData, data: Path) -> None:
    """Measure the pitch, and tell the platform if the spots lie as its array says."""
    about = adata.uns["hypergene"]
    places = adata.obs["array_row"].to_numpy(), adata.obs["array_col"].to_numpy()
    xy_px = adata.obsm["spatial"]
    for name, measure in (("st", square_lattice_pitch_px), ("visium", visium_pitch_px)):
        if (pitch := measure(*places, xy_px)) is not None:
            layout = layout_named(name)
            about |= {"layout": asdict(layout), "platform": name, "pitch_px": pitch}
            _log.info(
                "%s: its array is that of %s (spots of %g µm, %g µm apart)",
                *(data, name, layout.diameter_um, layout.pitch_um),
            )
            return
    if (pitch := nearest_pitch_px(xy_px)) is not None:
        about["pitch_px"] = pitch
