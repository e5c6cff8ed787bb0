"""Text tables, plain or gzipped, read strictly: every row has as many cells as the header."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Generator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import DataError, HypergeneError, SpotsError, first_line

_GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE = 1 << 26
"""Characters; a row of 18,000 genes has some 50,000."""
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}


def stream_lines(
    path: Path, *, error: type[HypergeneError] = DataError
) -> Generator[str, None, None]:
    """Read a UTF-8 text file line by line; gzip is known by its first bytes, not by the name.

    Parameters
    ----------
    path
        The file.
    error
        Which kind of error a bad file is.

    Yields
    ------
    str
        Lines without their ends (LF, CR LF or CR); empty lines at the end are left out.

    Raises
    ------
    HypergeneError
        Of kind `error`: no such file, a folder, unreadable, truncated gzip, not text, empty, or a
        line of more than `LONGEST_LINE` characters.
    """
    if path.is_dir():
        raise error(f"{path} is a folder, not a text table.", hint="Give the table's own path.")
    if path.exists() and not path.is_file():
        raise error(f"{path} is not a file.", hint="Give a text table, plain or gzipped.")
    blank, empty = 0, True
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            with (
                gzip.GzipFile(fileobj=raw) if packed else raw as content,
                io.TextIOWrapper(content, encoding="utf-8-sig") as text,
            ):
                while line := text.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        raise error(
                            f"{path} has a line of more than {LONGEST_LINE:,} characters.",
                            hint="It is no table, or has lost its line ends: copy it again.",
                        )
                    if "\x00" in line:
                        raise error(
                            f"{path} is not a text table: it holds NUL bytes.",
                            hint="Save it as UTF-8 text, or copy it again.",
                        )
                    if not line.strip():
                        blank += 1
                        continue
                    yield from repeat("", blank)
                    yield line.rstrip("\n")
                    blank, empty = 0, False
    except FileNotFoundError:
        raise error(f"There is no file {path}.", hint="Check the path.") from None
    except UnicodeDecodeError:
        raise error(f"{path} is not UTF-8 text.", hint="Save it as UTF-8 text.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as reason:
        raise error(
            f"{path} is a damaged or truncated gzip file ({reason}).",
            hint="Copy or download it again.",
        ) from None
    except OSError as reason:
        raise error(
            f"{path} cannot be read: {reason.strerror or reason}.", hint="Check its permissions."
        ) from None
    if empty:
        raise error(f"{path} is empty.", hint="Copy or download it again.")


def read_lines(path: Path, *, error: type[HypergeneError] = DataError) -> list[str]:
    """Read all lines of a text file at once: :func:`stream_lines` as a list."""
    return list(stream_lines(path, error=error))


@dataclass(frozen=True)
class Table:
    """A small text table, all cells as text.

    Attributes
    ----------
    path
        Where it came from, for messages.
    columns
        Column name -> cells, in file order.
    line_numbers
        Line of each row in the file, from 1.
    error
        The kind of error that bad cells raise.
    """

    path: Path
    columns: dict[str, list[str]]
    line_numbers: list[int]
    error: type[HypergeneError]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.line_numbers)

    def require(self, *names: str) -> None:
        """Raise unless all of these columns are there.

        Raises
        ------
        HypergeneError
            Naming the missing columns and those found.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise self.error(
                f"{self.path} has no column {', '.join(missing)} "
                f"(found: {', '.join(self.columns)}).",
                hint=f"It needs the columns {', '.join(names)}.",
            )

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Read one column as finite numbers, shape (rows,).

        Raises
        ------
        HypergeneError
            Naming the first line that holds no finite number.
        """
        values = np.empty(len(self))
        for row, cell in enumerate(self.columns[name]):
            try:
                values[row] = float(cell)
            except ValueError:
                values[row] = np.nan
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            cell = self.columns[name][bad[0]]
            raise self.error(
                f"{self.path} has {cell!r} in column {name} on line {self.line_numbers[bad[0]]}, "
                "where a number is needed.",
                hint="Correct or remove that line.",
            )
        return values

    def integers(self, name: str) -> npt.NDArray[np.int32]:
        """Read one column as integers, shape (rows,).

        Raises
        ------
        HypergeneError
            Naming the first line that holds no 32-bit integer.
        """
        values = self.numbers(name)
        bad = np.flatnonzero((values != np.rint(values)) | (np.abs(values) >= 2**31))
        if bad.size:
            raise self.error(
                f"{self.path} has {self.columns[name][bad[0]]!r} in column {name} on line "
                f"{self.line_numbers[bad[0]]}, where an integer is needed.",
                hint="Correct or remove that line.",
            )
        return values.astype(np.int32)


def read_table(
    path: Path,
    separators: str = ",",
    *,
    row_names: Collection[str] | None = None,
    error: type[HypergeneError] = DataError,
) -> Table:
    """Read a small text table with a header.

    Parameters
    ----------
    path
        The file, plain or gzipped.
    separators
        The separators allowed; the first of them that stands in the header is taken.
    row_names
        If given, a first column of names that the header leaves out, as R writes it, is taken; its
        name is "". A header that begins with one of these (lower case) leaves nothing out.
    error
        Which kind of error a bad file is.

    Returns
    -------
    Table
        At least one row. Empty lines are left out.

    Raises
    ------
    HypergeneError
        Of kind `error`: what :func:`read_lines` raises; a column twice; a row of another length
        than the header; no rows.
    """
    lines = read_lines(path, error=error)
    separator = next((s for s in separators if s in lines[0]), separators[0])
    rows: list[list[str]] = []
    line_numbers: list[int] = []
    reader = csv.reader(lines, delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append([cell.strip() for cell in cells])
                line_numbers.append(reader.line_num)
    except csv.Error as reason:
        raise error(
            f"{path} is not a table: {reason} (line {reader.line_num}).",
            hint="Save or copy it again.",
        ) from None
    if not rows:
        raise error(f"{path} has no names of columns.", hint="Save or copy it again.")
    header = rows[0]
    may_lack_one = row_names is not None and header[0].lower() not in row_names
    if may_lack_one and rows[1:] and all(_is_named(cells, len(header)) for cells in rows[1:]):
        header.insert(0, "")
    if len(header) == 1 and (other := separator_in(header[0])) is not None:
        raise error(
            f"{path} is separated by {other}.",
            hint=f"Save it separated by {named(separators)}.",
        )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise error(f"{path} has the column {twice!r} twice.", hint="Remove one of them.")
    for number, cells in zip(line_numbers, rows, strict=True):
        if len(cells) != len(header):
            raise error(
                f"{path} has {len(cells)} cells on line {number}, but {len(header)} columns.",
                hint="Correct that line, or download the file again.",
            )
    if len(rows) == 1:
        raise error(f"{path} has a header but no rows.", hint="Save or copy it again.")
    columns = {name: [cells[i] for cells in rows[1:]] for i, name in enumerate(header)}
    return Table(path, columns, line_numbers[1:], error)


def is_parquet(path: Path) -> bool:
    """Tell Parquet by its first bytes; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def read_parquet(path: Path) -> Table:
    """Read a small Parquet file as text cells; empty cells become ``""``.

    Parameters
    ----------
    path
        The file; columns that hold no numbers, booleans or text are left out.

    Raises
    ------
    SpotsError
        If it is damaged, or has no rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            plain = [
                field.name
                for field in file.schema_arrow
                if not pa.types.is_nested(field.type) and not pa.types.is_binary(field.type)
            ]
            stored = file.read(plain)
        columns = {name: [_as_cell(value) for value in stored[name].to_pylist()] for name in plain}
    except Exception as reason:  # a damaged file can fail anywhere in pyarrow
        raise SpotsError(
            f"{path} cannot be read as Parquet: {first_line(reason)}.",
            hint="Copy or write it again.",
        ) from None
    if not stored.num_rows:
        raise SpotsError(f"{path} has no rows.", hint="Write it again.")
    return Table(path, columns, list(range(1, stored.num_rows + 1)), SpotsError)


def _as_cell(value: Any) -> str:
    """Write a value as a text table has it: nothing for none, 1 and 0 for true and false."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _is_named(cells: list[str], width: int) -> bool:
    """Tell whether a row has one cell more than the header, and that one is no number."""
    return len(cells) == width + 1 and not cells[0].replace(".", "", 1).isdecimal()


def separator_in(line: str) -> str | None:
    """Name the separator that stands in a line, e.g. ``"tabs"``; None without any."""
    return next((name for mark, name in _SEPARATORS.items() if mark in line), None)


def named(separators: str) -> str:
    """Name separators for a message: ``"tabs or commas"``."""
    return " or ".join(_SEPARATORS[mark] for mark in separators)
