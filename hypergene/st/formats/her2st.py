"""Legacy ST in the HER2ST layout: a table of counts and a table of spot positions.

Counts: rows are spots named ``XxY``, columns gene symbols, tab-separated, mostly gzipped.
Positions (``<section>_selection.tsv``): ``x y new_x new_y pixel_x pixel_y selected``. The two meet
on ``f"{x}x{y}"``; ``pixel_x`` is the pixel column, ``pixel_y`` the row. ``new_x`` and ``new_y`` are
the same place before rounding and are not needed.
"""

from __future__ import annotations

import csv
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hypergene.errors import DataError
from hypergene.spots import layout_named
from hypergene.st.genes import gene_table
from hypergene.st.join import join_spots
from hypergene.st.normalise import check_counts
from hypergene.st.pitch import square_pitch_px
from hypergene.st.table import read_lines, read_table, separator_in


def recognises(data: Path) -> bool:
    """Tell whether a file is named like a table of counts."""
    return data.name.lower().endswith((".tsv", ".tsv.gz"))


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
    name = f"{section_of(counts)}_selection.tsv"
    places = (counts.parent.parent / "ST-spotfiles" / name, counts.parent / name)
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"There are no spot positions for {counts}: neither {places[0]} nor {places[1]} exists.",
        hint="Name the file in a column 'spots' of the samples sheet.",
    )


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
        ``uns["hypergene"]``: layout, pitch_px, dropped, counts_from.

    Raises
    ------
    DataError
        If a table is missing, malformed or damaged, if the counts are none, or if no spot of the
        one table is in the other.
    """
    names, genes, counts = _read_counts(data)
    path = spots or find_spots(data)
    positions = _read_positions(path)
    adata = join_spots(
        names,
        counts,
        gene_table(genes),
        positions,
        data=data,
        spots=path,
        hint="Rows must be spots named XxY, and both files must be of one section.",
    )
    about = adata.uns["hypergene"]
    about |= {"layout": asdict(layout_named("st")), "counts_from": "X"}
    pitch = square_pitch_px(adata.obs[["array_col", "array_row"]].to_numpy(), adata.obsm["spatial"])
    if pitch is not None:
        about["pitch_px"] = pitch
    return adata


def _read_counts(path: Path) -> tuple[list[str], list[str], sparse.csr_matrix]:
    """Return spot names, gene names and int32 counts (spots, genes)."""
    lines = read_lines(path)
    header = lines[0].split("\t")
    genes = header[1:]
    if not genes:
        other = separator_in(lines[0])
        raise DataError(
            f"{path} is not separated by tabs" + (f" but by {other}." if other else "."),
            hint="Save it as a tab-separated table: a row a spot, a column a gene.",
        )
    if not all(gene.strip() for gene in genes):
        column = next(i for i, gene in enumerate(genes) if not gene.strip()) + 2
        raise DataError(f"{path} has no gene name in column {column}.", hint="Name every gene.")
    rows = lines[1:]
    if not rows:
        raise DataError(f"{path} has a header but no spots.")
    for number, row in enumerate(rows, start=2):
        if (cells := row.count("\t") + 1) != len(header):
            raise DataError(
                f"{path} has {cells} cells on line {number}, but {len(header)} columns.",
                hint="The file is damaged or not tab-separated: download or save it again.",
            )
    names = [row[: row.index("\t")].strip() for row in rows]
    values = _parse(path, rows, genes)
    return names, genes, check_counts(values, str(path))


def _parse(path: Path, rows: list[str], genes: list[str]) -> npt.NDArray[np.float64]:
    """Parse the cells after the spot names; the rows are known to be of one length."""
    try:
        frame = pd.read_csv(
            StringIO("\n".join(rows)),
            sep="\t",
            header=None,
            lineterminator="\n",
            quoting=csv.QUOTE_NONE,
            usecols=range(1, len(genes) + 1),
            dtype=np.float64,
            skip_blank_lines=False,
        )
    except (ValueError, OverflowError):
        _name_first_text(path, rows, genes)
        raise DataError(f"{path} holds values that are not numbers.") from None
    values: npt.NDArray[np.float64] = frame.to_numpy()
    missing = np.argwhere(np.isnan(values))
    if len(missing):
        row, column = missing[0]
        raise DataError(
            f"{path} has {len(missing)} empty or NaN cells (the first on line {row + 2}, "
            f"gene {genes[column]}).",
            hint="Write 0 where nothing was counted.",
        )
    return values


def _name_first_text(path: Path, rows: list[str], genes: list[str]) -> None:
    """Raise with the place of the first cell that is no number (slow, so only after a failure)."""
    for number, row in enumerate(rows, start=2):
        for gene, cell in zip(genes, row.split("\t")[1:], strict=True):
            try:
                float(cell or "nan")
            except ValueError:
                raise DataError(
                    f"{path} has {cell[:40]!r} on line {number}, gene {gene}, where a count is "
                    "needed.",
                    hint="Give raw counts: a row a spot, a column a gene.",
                ) from None


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
