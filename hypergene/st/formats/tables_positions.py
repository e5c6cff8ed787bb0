"""Where the spots of a plain table of counts lie: finding that table, and reading it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError
from hypergene.st.table import Table, read_table

_ENDING = re.compile(r"\.(tsv|csv|txt)(\.gz)?$")
# Repositories prefix their accession; ST-Net's counts are BC23209_C1, its spots BT23209_C1.
_PREFIX = re.compile(r"^gsm\d+[_-]")
_STNET = re.compile(r"^bt(?=\d)")
_COUNTS = ("stdata", "count_matrix-1", "count_matrix", "count-matrix", "counts", "count", "cnts")
_POSITIONS = (  # the first of these words decides between several files of one section
    *("spot_data-selection", "spot_data-all", "spot_data", "spot-selection", "selection"),
    *("tissue_positions", "positions", "spot_coordinates", "spots", "coordinates"),
    *("coords", "coord"),
)
_FOLDERS = (
    *("ST-spotfiles", "spot-selections", "spot-selection", "spots", "coord", "coords"),
    *("coordinates", "positions"),
)

PIXEL_COLUMNS = (
    ("pixel_x", "pixel_y"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("imagecol", "imagerow"),
    ("xaxis", "yaxis"),
    ("x", "y"),
)
_ARRAY = (("x", "y"), ("new_x", "new_y"))
NAME_COLUMNS = ("", "spot", "spots", "spot_id", "barcode", "barcodes", "name", "id", "index")
FLAG_COLUMNS = ("selected", "in_tissue")
_RADII = ("r", "radius")
_PLACE = re.compile(r"X?(\d+(?:\.\d+)?)[x_](\d+(?:\.\d+)?)", re.ASCII)
_PLACE_AT_END = re.compile(r"(?:.*[_-])?X?(\d{1,6})x(\d{1,6})", re.ASCII)


def find_positions(counts: Path) -> Path:
    """Find the table of positions that belongs to a table of counts, by its name.

    ``<section>_stdata.tsv.gz`` goes with ``spots_<section>.csv.gz``, ``<section>_selection.tsv``,
    ``spot_data-selection-<section>.tsv``, ``<section>.spots.txt``, ``<section>_coord.csv`` and
    the like, beside it or in a folder such as ``../ST-spotfiles`` or ``../coord``. Case,
    accession (``GSM…_``) and ST-Net's two prefixes (BC, BT) do not matter.

    Raises
    ------
    DataError
        No such file, or two that are as good.
    """
    section, _ = _section(counts.name, _COUNTS)
    folders = [counts.parent, *(counts.parent.parent / name for name in _FOLDERS)]
    for folder in folders:
        found: dict[int, list[Path]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name, rank = _section(path.name, _POSITIONS)
            if name == section and rank is not None and path != counts and path.is_file():
                found.setdefault(rank, []).append(path)
        if found:
            best = found[min(found)]
            if len(best) > 1:
                raise DataError(
                    f"The positions of {counts} may be {best[0].name} or {best[1].name}.",
                    hint="Name the right one in a column 'spots' of the samples sheet.",
                )
            return best[0]
    name = section or "A1"
    raise DataError(
        f"There are no spot positions for {counts}: no file such as {name}_selection.tsv or "
        f"spots_{name}.csv lies beside it.",
        hint="Name the file in a column 'spots' of the samples sheet.",
    )


def _section(file_name: str, words: tuple[str, ...]) -> tuple[str | None, int | None]:
    """Strip a file's name down to its section; tell which of the words stood there first."""
    name = file_name.lower()
    if name.startswith(".") or _ENDING.search(name) is None:
        return None, None
    name = _PREFIX.sub("", _ENDING.sub("", name))
    rank = None
    for number, word in enumerate(words):
        stripped = re.sub(rf"^{word}(?:[._-]|$)|(?:^|[._-]){word}$", "", name)
        if stripped != name:
            name, rank = stripped, number
            break
    return _STNET.sub("bc", _PREFIX.sub("", name)), rank


@dataclass(frozen=True, eq=False)
class Positions:
    """Spots of a table of positions.

    Attributes
    ----------
    path
        Where they came from.
    columns
        The two columns that the pixels were taken from.
    names
        For each way in which the table can name its spots, the names, length n each, in the
        notation of :func:`spot_name`.
    frame
        in_tissue int8, array_row and array_col int32 (-1 = unknown), pixel_x and pixel_y float64
        (level-0 px); n rows.
    diameter_px
        Of a spot, in level-0 px, if the table gives its radius.
    """

    path: Path
    columns: tuple[str, str]
    names: list[list[str]]
    frame: pd.DataFrame
    diameter_px: float | None


def spot_name(name: str) -> str:
    """Write a place on the array in one notation; any other name comes back as it is.

    Examples
    --------
    >>> spot_name("X10_13"), spot_name("10.0x13.0"), spot_name("16.918x16.996")
    ('10x13', '10x13', '16.918x16.996')
    """
    match = _PLACE.fullmatch(name)
    return f"{float(match[1]):.6g}x{float(match[2]):.6g}" if match else name


def read_positions(path: Path) -> Positions:
    """Read a table of positions, TSV or CSV, plain or gzipped.

    Pixels are the first pair of columns found of pixel_x/pixel_y,
    pxl_col_in_fullres/pxl_row_in_fullres, imagecol/imagerow, xaxis/yaxis and x/y (of any case);
    the first of a pair runs along the image's columns. Spots are named by a column (the one
    without a name, spot, barcode, name or id), by ``x`` and ``y`` beside other pixels, or by
    ``new_x`` and ``new_y``.

    Raises
    ------
    DataError
        What :func:`hypergene.st.table.read_table` raises; no pixels, or pixels that are places on
        the array; no names; values that are no numbers.
    """
    table = read_table(path, "\t,;", row_names=NAME_COLUMNS)
    columns = {name.lower(): name for name in table.columns}
    pair = next((pair for pair in PIXEL_COLUMNS if set(pair) <= set(columns)), None)
    if pair is None:
        raise DataError(
            f"{path} has no columns pixel_x and pixel_y (found: {', '.join(table.columns)}).",
            hint="Add the spot centres in pixels of the full-resolution image.",
        )
    pixel_x, pixel_y = columns[pair[0]], columns[pair[1]]
    names = [table.columns[columns[name]] for name in NAME_COLUMNS if name in columns]
    for a, b in _ARRAY:
        if {a, b} <= set(columns) and (a, b) != pair:
            cells = zip(table.columns[columns[a]], table.columns[columns[b]], strict=True)
            names.append([f"{x}x{y}" for x, y in cells])
    names = [[spot_name(name) for name in way] for way in names]
    if not names:
        raise DataError(
            f"{path} does not name its spots (columns: {', '.join(table.columns)}).",
            hint="Add a column 'spot' with the names that the counts use, or pixel_x and pixel_y.",
        )
    places = zip(table.columns[pixel_x], table.columns[pixel_y], strict=True)
    if [spot_name(f"{x}x{y}") for x, y in places] in names:
        raise DataError(
            f"{path} gives the spots' places on the array as {pixel_x} and {pixel_y}, not pixels.",
            hint="Add columns pixel_x and pixel_y: spot centres in pixels of the full image.",
        )
    flag = next((columns[name] for name in FLAG_COLUMNS if name in columns), None)
    array_row, array_col = _array_places(table, columns, pair, names)
    frame = pd.DataFrame(
        {
            "in_tissue": np.ones(len(table), np.int8)
            if flag is None
            else (table.numbers(flag) > 0).astype(np.int8),
            "array_row": array_row,
            "array_col": array_col,
            "pixel_x": table.numbers(pixel_x),
            "pixel_y": table.numbers(pixel_y),
        }
    )
    radius = next((columns[name] for name in _RADII if name in columns), None)
    diameter = None if radius is None else 2 * float(np.median(table.numbers(radius)))
    return Positions(path, (pixel_x, pixel_y), names, frame, diameter if diameter else None)


def _array_places(
    table: Table, columns: dict[str, str], pixels: tuple[str, str], names: list[list[str]]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return array row and column: of their columns, of x and y, or of names such as 10x13."""
    if {"array_row", "array_col"} <= set(columns):
        return table.integers(columns["array_row"]), table.integers(columns["array_col"])
    if {"x", "y"} <= set(columns) and pixels != ("x", "y"):
        x, y = table.numbers(columns["x"]), table.numbers(columns["y"])
        if (
            (np.abs(np.stack([x, y])) < 2**31).all()
            and (x == np.rint(x)).all()
            and (y == np.rint(y)).all()
        ):
            return y.astype(np.int32), x.astype(np.int32)
    for way in names:
        places = [_PLACE_AT_END.fullmatch(name) for name in way]
        if None not in places:
            return (
                np.array([int(place[2]) for place in places if place], np.int32),
                np.array([int(place[1]) for place in places if place], np.int32),
            )
    unknown = np.full(len(table), -1, np.int32)
    return unknown, unknown.copy()
