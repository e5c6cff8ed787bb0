"""Columns of Xenium's tables, Parquet or CSV, of any size: read in batches, checked on the way.

The columns that Xenium writes changed their types between versions: names and cell identifiers were
bytes once, identifiers integers before that. What comes out of here is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hypergene.errors import DataError, first_line

Kind = Literal["numbers", "flags", "text", "identifiers"]

_BATCH_ROWS = 2**20
_BUFFER_BYTES = 2**20
_LARGE_GROUP_BYTES = 2**27


class Words(NamedTuple):
    """A column of text: the different words, and each row's place among them, int64 (rows,)."""

    place: npt.NDArray[np.int64]
    words: list[str]


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns.

    Raises
    ------
    DataError
        No such file, or not a whole Parquet file.
    """
    with _open(path, []) as file:
        return list(file.schema_arrow.names)


def read_batches(path: Path, wanted: Mapping[str, Kind]) -> Iterator[dict[str, Any]]:
    """Read some columns of a table, about a million rows at a time.

    Parameters
    ----------
    path
        CSV, plain or gzipped, if it is named so; else Parquet.
    wanted
        Column -> what it must hold: ``numbers`` (integers or floats), ``flags`` (booleans),
        ``text`` (strings or UTF-8 bytes), ``identifiers`` (text or integers).

    Yields
    ------
    dict
        Column -> float64 (rows,), all finite; bool (rows,); or :class:`Words`, none blank.

    Raises
    ------
    DataError
        No such file; not a whole file of its kind; a column missing, twice, of another type, or
        with a value missing or NaN.
    """
    batches = _csv_batches if path.name.endswith((".csv", ".csv.gz")) else _parquet_batches
    for batch in batches(path, wanted):
        yield {name: _READ[wanted[name]](batch.column(name), name, path) for name in wanted}


def _parquet_batches(path: Path, wanted: Mapping[str, Kind]) -> Iterator[Any]:
    with _open(path, [name for name, kind in wanted.items() if kind == "text"]) as file:
        _check_types(path, file.schema_arrow, wanted)
        try:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(wanted), use_threads=False):
                batch.validate(full=True)
                yield batch
        except Exception as reason:  # a damaged file can fail anywhere in pyarrow
            raise _unreadable(path, reason) from None


def _csv_batches(path: Path, wanted: Mapping[str, Kind]) -> Iterator[Any]:
    import pyarrow
    from pyarrow import csv

    types = {"numbers": pyarrow.float64(), "flags": pyarrow.bool_()}
    convert = csv.ConvertOptions(
        include_columns=list(wanted),
        column_types={name: types.get(kind, pyarrow.string()) for name, kind in wanted.items()},
    )
    _refuse_absent(path)
    try:
        with csv.open_csv(path, convert_options=convert) as reader:
            yield from reader
    except Exception as reason:  # as above
        raise _unreadable(path, reason) from None


def _open(path: Path, dictionaries: list[str]) -> Any:
    from pyarrow import parquet

    _refuse_absent(path)
    try:
        metadata = parquet.read_metadata(path)
        # Of the groups themselves pyarrow tells sizes too, but a damaged one ends the process.
        group_bytes = path.stat().st_size / max(1, metadata.num_row_groups)
        return parquet.ParquetFile(
            path,
            metadata=metadata,
            read_dictionary=dictionaries,
            pre_buffer=False,
            # Large groups are read piece by piece. Others at once: a damaged page cannot claim
            # more than its group then.
            buffer_size=_BUFFER_BYTES if group_bytes > _LARGE_GROUP_BYTES else 0,
            page_checksum_verification=True,
        )
    except Exception as reason:  # a damaged file can fail anywhere in pyarrow
        raise _unreadable(path, reason) from None


def _check_types(path: Path, schema: Any, wanted: Mapping[str, Kind]) -> None:
    from pyarrow import types

    names = list(schema.names)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)} (found: {', '.join(names)}).",
            hint="Give the file as the Xenium run wrote it.",
        )
    text = ("string", "large_string", "binary", "large_binary")
    fits: dict[Kind, tuple[Callable[[Any], bool], ...]] = {
        "numbers": (types.is_integer, types.is_floating),
        "flags": (types.is_boolean,),
        "text": tuple(getattr(types, f"is_{kind}") for kind in text),
    }
    fits["identifiers"] = (types.is_integer, *fits["text"])
    for name, kind in wanted.items():
        if names.count(name) > 1:
            raise DataError(f"{path} has the column {name} twice.", hint="Remove one of them.")
        found = schema.field(name).type
        value = found.value_type if types.is_dictionary(found) else found
        if not any(test(value) for test in fits[kind]):
            raise DataError(
                f"{path} holds {found} in the column {name}, where {kind} must be.",
                hint="Give the file as the Xenium run wrote it.",
            )


def _read_numbers(column: Any, name: str, path: Path) -> npt.NDArray[np.float64]:
    _refuse_missing(column.null_count, name, path)
    with np.errstate(invalid="ignore"):  # bit patterns of NaN that are no usual ones
        values: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    _refuse_missing(int((~np.isfinite(values)).sum()), name, path)
    return values


def _read_flags(column: Any, name: str, path: Path) -> npt.NDArray[np.bool_]:
    _refuse_missing(column.null_count, name, path)
    flags: npt.NDArray[np.bool_] = column.to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _read_words(column: Any, name: str, path: Path) -> Words:
    if not hasattr(column, "dictionary"):
        column = column.dictionary_encode()
    _refuse_missing(column.null_count, name, path)
    try:
        words = [
            word.decode() if isinstance(word, bytes) else "" if word is None else str(word)
            for word in column.dictionary.to_pylist()
        ]
    except UnicodeDecodeError:
        raise DataError(
            f"{path} holds names in the column {name} that are not UTF-8 text.",
            hint="Copy or download it again.",
        ) from None
    place = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    is_blank = np.array([not word.strip() for word in words], dtype=bool)
    _refuse_missing(int(is_blank[place].sum()), name, path)
    return Words(place, words)


_READ: dict[Kind, Callable[[Any, str, Path], Any]] = {
    "numbers": _read_numbers,
    "flags": _read_flags,
    "text": _read_words,
    "identifiers": _read_words,
}


def _refuse_absent(path: Path) -> None:
    if not path.is_file():
        reason = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        raise DataError(f"{reason}.", hint="Give the table as the Xenium run wrote it.")


def _refuse_missing(missing: int, name: str, path: Path) -> None:
    if missing:
        raise DataError(
            f"{path} has rows without a value in the column {name} (at least {missing:,}).",
            hint="Give the file as the Xenium run wrote it.",
        )


def _unreadable(path: Path, reason: Exception) -> DataError:
    kind = "CSV" if path.name.endswith((".csv", ".csv.gz")) else "Parquet"
    line = first_line(reason)
    return DataError(
        f"{path} cannot be read as a {kind} file: {line}.", hint="Copy or download it again."
    )
