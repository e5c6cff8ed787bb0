"""Counts as a wide text table, read in blocks of rows and kept sparse from the first one on.

A table of 5,000 spots and 18,000 genes is 180 MB of text and 720 MB of numbers, most of them 0:
neither is ever held whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st.normalise import check_counts
from hypergene.st.table import named, separator_in, stream_lines

_BLOCK_CHARACTERS = 1 << 21
# Past so many values a table that holds no counts has shown what it holds instead.
_ENOUGH_VALUES = 4_000_000
# Names a first column, so the header of this column stands in the header: nothing is left out.
_CORNER = re.compile(r"(gene|spot|barcode)s?(_?(id|name)s?)?|names?|ids?|index", re.IGNORECASE)
# Stands in no table: with it as the separator a line is one cell, whatever is in it.
_NO_SEPARATOR = "\x01"


@dataclass(frozen=True, eq=False)
class CountTable:
    """A table of numbers with names at both sides.

    Attributes
    ----------
    path
        Where it came from, for messages.
    rows, columns
        Names as in the file, without quotes and spaces around them; none is empty.
    values
        CSR (rows, columns): int32 if the table holds counts, else float64 of what it holds; then
        some of the last rows may be missing.
    """

    path: Path
    rows: list[str]
    columns: list[str]
    values: sparse.csr_matrix


def read_count_table(
    path: Path, separators: str = "\t", *, column_is: str = "column"
) -> CountTable:
    """Read a table of counts, plain or gzipped, in blocks of rows.

    Parameters
    ----------
    path
        The file: a header of names, and rows of a name and numbers. The header's first cell, over
        the names of the rows, may be empty or left out.
    separators
        The separators allowed; the one that stands in the header most often is taken.
    column_is
        What a column is, for messages.

    Returns
    -------
    CountTable

    Raises
    ------
    DataError
        What :func:`hypergene.st.table.stream_lines` raises; another separator; a row of another
        length than the header; a name that is missing; no rows; a cell that is empty, NaN or no
        number; negative values.
    """
    with closing(stream_lines(path)) as lines:
        header_line = next(lines)
        separator = max(separators, key=header_line.count)
        first = next(lines, None)
        if first is None and separator in header_line:
            raise DataError(f"{path} has a header but no spots.", hint="Copy or save it again.")
        columns = _columns(path, header_line, first or "", separators, separator)
        names: list[str] = []
        blocks: list[sparse.csr_matrix] = []
        stored = 0
        for start, cells in _blocks(path, chain([first or ""], lines), len(columns), separator):
            values = _parse(path, start, [row for _, row in cells], columns, separator, column_is)
            names += [name for name, _ in cells]
            blocks.append(_sparse(path, values))
            stored += blocks[-1].nnz
            if stored > _ENOUGH_VALUES and any(block.dtype != np.int32 for block in blocks):
                break
    return CountTable(path, names, columns, sparse.vstack(blocks, format="csr"))


def _columns(
    path: Path, header_line: str, first: str, separators: str, separator: str
) -> list[str]:
    """Return the names over the columns of numbers."""
    try:
        (header,) = csv.reader([header_line], delimiter=separator)
    except (csv.Error, ValueError):
        raise DataError(
            f"{path} has a header that cannot be read.", hint="Copy or save the file again."
        ) from None
    if separator not in header_line:
        other = separator_in(header_line)
        raise DataError(
            f"{path} is not separated by {named(separators)}"
            + (f" but by {other}." if other else "."),
            hint=f"Save it separated by {named(separators)}: a row a spot, a column a gene.",
        )
    header = [name.strip() for name in header]
    left_out = (
        _split(first, separator)[1].count(separator) + 1 == len(header)
        and header[0] != ""
        and not _CORNER.fullmatch(header[0])
    )
    columns = header if left_out else header[1:]
    if "" in columns:
        column = columns.index("") + len(header) - len(columns) + 1
        raise DataError(f"{path} has no gene name in column {column}.", hint="Name every gene.")
    return columns


def _split(line: str, separator: str) -> tuple[str, str]:
    """Split a row into its name and its numbers, still as text."""
    if line.startswith('"') and (end := line.find('"' + separator, 1)) > 0:
        return line[1:end].strip(), line[end + 1 + len(separator) :]
    name, _, numbers = line.partition(separator)
    return name.strip(), numbers


def _blocks(
    path: Path, lines: Iterator[str], width: int, separator: str
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Yield the line number of its first row, and (name, numbers as text) of some rows."""
    rows: list[tuple[str, str]] = []
    start, size = 2, 0
    for number, line in enumerate(lines, start=2):
        name, numbers = _split(line, separator)
        cells = numbers.count(separator) + 1 if separator in line else 0
        if cells != width:
            raise DataError(
                f"{path} has {cells + 1} cells on line {number}, but {width + 1} columns.",
                hint="The file is damaged or not separated evenly: download or save it again.",
            )
        if not name:
            raise DataError(f"{path} has no name on line {number}.", hint="Name every row.")
        rows.append((name, numbers))
        size += len(numbers)
        if size >= _BLOCK_CHARACTERS:
            yield start, rows
            rows, start, size = [], number + 1, 0
    if rows:
        yield start, rows


def _parse(
    path: Path, start: int, rows: list[str], columns: list[str], separator: str, column_is: str
) -> npt.NDArray[np.float64]:
    """Parse rows that are known to be of one length into (rows, columns).

    As one long column: the parser's cost a column is paid once, not 18,000 times a block.
    """
    # The 0 in front, and the end of line behind, make a cell that is empty a line that is.
    text = "0\n" + "\n".join(rows).replace(separator, "\n") + "\n"
    try:
        frame = pd.read_csv(
            StringIO(text),
            sep=_NO_SEPARATOR,
            header=None,
            lineterminator="\n",
            quoting=csv.QUOTE_NONE,
            dtype=np.float64,
            skip_blank_lines=False,
        )
        values = frame.to_numpy()[1:].reshape(len(rows), len(columns))
    except (ValueError, OverflowError):
        _name_first_text(path, start, rows, columns, separator, column_is)
        raise DataError(
            f"{path} holds values that are not numbers.", hint="Give raw counts."
        ) from None
    missing = np.argwhere(np.isnan(values))
    if len(missing):
        row, column = missing[0]
        raise DataError(
            f"{path} has empty or NaN cells (the first on line {start + row}, {column_is} "
            f"{columns[column]}).",
            hint="Write 0 where nothing was counted.",
        )
    return values


def _name_first_text(
    path: Path, start: int, rows: list[str], columns: list[str], separator: str, column_is: str
) -> None:
    """Raise with the place of the first cell that is no number (slow, so only after a failure)."""
    for number, row in enumerate(rows, start=start):
        for column, cell in zip(columns, row.split(separator), strict=True):
            try:
                float(cell or "nan")
            except ValueError:
                raise DataError(
                    f"{path} has {cell[:40]!r} on line {number}, {column_is} {column}, where a "
                    "count is needed.",
                    hint="Give raw counts, of genes in spots, and nothing else.",
                ) from None


def _sparse(path: Path, values: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """Keep the values that are not 0, as int32 if all of them are whole numbers of that size."""
    block = sparse.csr_matrix(values)
    if (block.data < 0).any():
        check_counts(block, str(path))
    with np.errstate(invalid="ignore"):
        counts = block.data.astype(np.int32)
    return block.astype(np.int32) if np.array_equal(counts, block.data) else block
