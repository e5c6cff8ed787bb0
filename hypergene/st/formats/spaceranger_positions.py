"""Where the spots and bins of Space Ranger lie: ``tissue_positions`` as CSV or Parquet.

The columns are barcode, in_tissue, array_row, array_col, pxl_row_in_fullres, pxl_col_in_fullres:
the pixel *row* (y) stands first. Space Ranger 1 wrote ``tissue_positions_list.csv`` without a
header, 2 and later ``tissue_positions.csv`` with one, and people rename either to please other
tools: whether there is a header is told by the first cell, never by the name.
"""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError, first_line
from hypergene.st.table import Table, is_parquet, read_lines, separator_in, stream_lines

# Beside the barcodes; the names after the colon are ours.
_COLUMNS = {
    "in_tissue": "in_tissue",
    "array_row": "array_row",
    "array_col": "array_col",
    "pxl_row_in_fullres": "pixel_y",
    "pxl_col_in_fullres": "pixel_x",
}
_NUMBER = re.compile(r"-?\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INTEGERS = ("in_tissue", "array_row", "array_col")
_HINT = f"Its columns must be barcode, {', '.join(_COLUMNS)}."
_COPY_AGAIN = "Copy or download it again."

_MOST_POSITIONS = 100_000_000
"""The largest array there is has 30 million 2 µm bins."""

_Read = tuple[npt.NDArray[np.bytes_], dict[str, npt.NDArray[Any]]]


def is_space_ranger(path: Path) -> bool:
    """Tell Space Ranger's positions, with or without header, from other tables; never by name."""
    if is_parquet(path):
        from pyarrow import parquet

        with suppress(Exception):  # what is damaged is said when it is read
            return "pxl_row_in_fullres" in parquet.read_schema(path).names
        return False
    try:
        cells = next(stream_lines(path)).split(",")
    except DataError:
        return False
    if cells[0].strip().lower() == "barcode":
        return set(_COLUMNS) <= {cell.strip() for cell in cells}
    plain = len(cells) == 1 + len(_COLUMNS) and cells[1].strip() in ("0", "1")
    return plain and all(_NUMBER.fullmatch(cell.strip()) for cell in cells[2:])


def read_positions(path: Path) -> tuple[npt.NDArray[np.bytes_], pd.DataFrame]:
    """Read positions; CSV and Parquet are told apart by their content.

    Parameters
    ----------
    path
        The file; a CSV may be gzipped. Without a header (the first cell is not ``barcode``) its
        columns are taken in Space Ranger's order.

    Returns
    -------
    barcodes
        bytes (n,), in the file's order: 11 million bins make no Python objects.
    positions
        n rows: in_tissue (int8, 0 or 1), array_row, array_col (int32), pixel_x, pixel_y (float64,
        finite, level-0 px).

    Raises
    ------
    DataError
        No such file; damaged; columns or values missing or not of their kind.
    """
    try:
        path.open("rb").close()
    except OSError as reason:
        raise DataError(
            f"The positions {path} cannot be read: {reason.strerror}.", hint="Check the path."
        ) from None
    barcodes, columns = _from_parquet(path) if is_parquet(path) else _from_csv(path)
    in_tissue = columns["in_tissue"]
    if in_tissue.min() < 0 or in_tissue.max() > 1:
        raise DataError(f"{path} has values other than 0 and 1 in column in_tissue.", hint=_HINT)
    columns["in_tissue"] = in_tissue.astype(np.int8)
    return barcodes, pd.DataFrame(columns, copy=False)


def _from_csv(path: Path) -> _Read:
    lines = read_lines(path)
    reader = csv.reader(lines)
    try:
        numbered = [
            (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)
        ]
    except csv.Error as reason:
        raise DataError(f"{path} is not a table ({reason}).", hint=_COPY_AGAIN) from None
    has_header = numbered[0][1][0].lower() == "barcode"
    header = numbered.pop(0)[1] if has_header else ["barcode", *_COLUMNS]
    if not numbered:
        raise DataError(f"{path} has a header but no spots.", hint=_COPY_AGAIN)
    for number, cells in numbered:
        if len(cells) != len(header):
            other = separator_in(cells[0]) if len(cells) == 1 else None
            raise DataError(
                f"{path} has {len(cells)} cells on line {number}, where {len(header)} are needed"
                + (f": it is separated by {other}." if other else "."),
                hint=f"{_HINT} They are separated by commas.",
            )
    columns = {name: [cells[i] for _, cells in numbered] for i, name in enumerate(header)}
    table = Table(path, columns, [number for number, _ in numbered], DataError)
    table.require("barcode", *_COLUMNS)
    barcodes = np.array([barcode.encode() for barcode in columns["barcode"]])
    return barcodes, {
        ours: table.integers(name) if name in _INTEGERS else table.numbers(name)
        for name, ours in _COLUMNS.items()
    }


def _from_parquet(path: Path) -> _Read:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found, rows = file.schema_arrow.names, file.metadata.num_rows
            missing = [name for name in ("barcode", *_COLUMNS) if name not in found]
            if missing:
                raise DataError(
                    f"{path} has no column {', '.join(missing)} (found: {', '.join(found[:8])}).",
                    hint=_HINT,
                )
            if not 0 < rows < _MOST_POSITIONS:
                raise DataError(f"{path} has {rows} positions.", hint=_COPY_AGAIN)
            barcodes = _bytes(file.read(["barcode"])["barcode"], path)
            # One at a time: of 2 µm bins a column is 90 MB.
            return barcodes, {
                ours: _numbers(file.read([name])[name].to_numpy(), name, path)
                for name, ours in _COLUMNS.items()
            }
    except DataError:
        raise
    except Exception as reason:  # a damaged file can fail anywhere in pyarrow
        line = first_line(reason)
        raise DataError(f"{path} cannot be read as Parquet: {line}.", hint=_COPY_AGAIN) from None


def _bytes(column: Any, path: Path) -> npt.NDArray[np.bytes_]:
    """Return texts of Arrow as bytes of one length; if they are of one, it is Arrow's memory."""
    import pyarrow as pa
    from pyarrow import compute

    texts = pa.concat_arrays(column.cast(pa.string()).chunks)
    length = compute.min_max(compute.binary_length(texts)).as_py()
    if texts.null_count or not length["max"]:
        raise DataError(f"{path} has empty cells in column barcode.", hint=_COPY_AGAIN)
    if length["min"] < length["max"]:
        return np.array([text.encode() for text in texts.to_pylist()])
    _, offsets, memory = texts.buffers()
    first = int(np.frombuffer(offsets, dtype=np.int32)[texts.offset])
    return np.frombuffer(memory, dtype=f"S{length['max']}", count=len(texts), offset=first)


def _numbers(values: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[Any]:
    """Check a column; empty cells have become NaN."""
    integers = name in _INTEGERS
    is_good = values.dtype.kind in "biuf" and bool(np.isfinite(values).all())
    if is_good and integers:
        is_good = bool(((values == np.rint(values)) & (np.abs(values) < 2**31)).all())
    if not is_good:
        kind = "integers" if integers else "numbers"
        raise DataError(
            f"{path} has cells in column {name} that are no {kind}.",
            hint=_COPY_AGAIN,
        )
    return values.astype(np.int32 if integers else np.float64)
