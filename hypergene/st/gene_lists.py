"""Lists of genes that a user writes: a panel, and other names that genes go by."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypergene.errors import DataError
from hypergene.st.table import read_lines, read_table

_log = logging.getLogger(__name__)

# What a column of genes is called, the likeliest first; 10x writes gene_id and gene_name.
_COLUMNS = (
    *("gene", "genes", "symbol", "symbols", "gene_symbol", "gene_symbols", "gene symbol"),
    *("gene_name", "gene name", "feature_name", "gene_id", "gene_ids", "gene id"),
    *("ensembl", "ensembl_id", "ensembl id"),
)


def read_panel(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of genes.

    Parameters
    ----------
    path
        Text, plain or gzipped: one gene a line, or a table separated by tabs, commas or
        semicolons with a header and a column of genes (gene, symbol, gene_name, gene_id ...).
        Empty lines are left out, and so are lines that begin with ``#`` and, in a list, what
        follows a ``#``.

    Returns
    -------
    list of str
        Symbols or Ensembl identifiers, in the order of the file, each once.

    Raises
    ------
    DataError
        No such file, not text, empty; several genes on a line; a table without a column of genes,
        with rows of another length than its header, or with an empty cell.
    """
    path = Path(path)
    numbered = [
        (number, line)
        for number, line in enumerate(read_lines(path), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise DataError(f"{path} names no gene.", hint="Write one gene a line.")
    separator = next((mark for mark in "\t,;" if mark in numbered[0][1].strip()), None)
    found = _one_a_line(path, numbered) if separator is None else _column(path, numbered, separator)
    if not found:
        raise DataError(f"{path} names no gene below its header.", hint="Write one gene a line.")
    genes = list(dict.fromkeys(found))
    if len(genes) < len(found):
        _log.info("%s: %d genes are named more than once", path, len(found) - len(genes))
    return genes


def _one_a_line(path: Path, numbered: Sequence[tuple[int, str]]) -> list[str]:
    genes = [(number, line.split("#", 1)[0].strip().strip('"')) for number, line in numbered]
    if genes[0][1].casefold() in _COLUMNS:
        genes = genes[1:]
    for number, gene in genes:
        if not gene or any(mark in gene for mark in '\t,; "'):
            raise DataError(
                f"{path} has {gene[:40]!r} on line {number}, which is no single gene.",
                hint="Write one gene a line, or give the table a header with a column 'gene'.",
            )
    return [gene for _, gene in genes]


def _column(path: Path, numbered: Sequence[tuple[int, str]], separator: str) -> list[str]:
    try:
        rows = list(csv.reader([line for _, line in numbered], delimiter=separator))
    except csv.Error as reason:
        raise DataError(f"{path} is not a table: {reason}.") from None
    header = [cell.strip() for cell in rows[0]]
    names = [cell.casefold() for cell in header]
    wanted = next((name for name in _COLUMNS if name in names), None)
    if wanted is None:
        raise DataError(
            f"{path} has no column of genes (found: {', '.join(header)[:200]!r}).",
            hint="Name it 'gene', or write one gene a line.",
        )
    column = names.index(wanted)
    if len(rows) != len(numbered):  # a quoted cell that goes over lines
        raise DataError(f"{path} has a cell that goes over several lines.", hint="Correct it.")
    genes = []
    for (number, _), cells in zip(numbered[1:], rows[1:], strict=True):
        if len(cells) != len(header):
            raise DataError(
                f"{path} has {len(cells)} cells on line {number}, but {len(header)} columns.",
                hint="Correct or remove that line.",
            )
        gene = cells[column].strip()
        if not gene:
            raise DataError(
                f"{path} has no gene in column {header[column]!r} on line {number}.",
                hint="Correct or remove that line.",
            )
        genes.append(gene)
    return genes


def read_aliases(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read which other names genes go by.

    Parameters
    ----------
    path
        A table separated by commas, tabs or semicolons with the columns ``alias`` and ``symbol``;
        a line each, such as ``MARCH1,MARCHF1``.

    Returns
    -------
    dict
        Alias -> symbol. Lines that name one gene twice the same are left out.

    Raises
    ------
    DataError
        No such file, not a table, missing columns, empty cells; an alias of two symbols, or a
        symbol that is an alias too.
    """
    path = Path(path)
    table = read_table(path, ",\t;")
    table.require("alias", "symbol")
    aliases: dict[str, str] = {}
    for number, alias, symbol in zip(
        table.line_numbers, table.columns["alias"], table.columns["symbol"], strict=True
    ):
        if not alias or not symbol:
            raise DataError(
                f"{path} has an empty cell on line {number}.", hint="Give both names, or neither."
            )
        if alias == symbol:
            continue
        if aliases.setdefault(alias, symbol) != symbol:
            raise DataError(
                f"{path} calls {alias} both {aliases[alias]} and {symbol} (line {number}).",
                hint="An alias that several genes share cannot be resolved by name: remove it.",
            )
    chained = next((symbol for symbol in aliases.values() if symbol in aliases), None)
    if chained is not None:
        raise DataError(
            f"{path} has {chained} both as an alias (of {aliases[chained]}) and as a symbol.",
            hint="Give each alias the symbol it ends at.",
        )
    return aliases


def rename(names: Sequence[str], aliases: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Call genes by their symbols instead of their aliases, wherever that is unambiguous.

    Parameters
    ----------
    names
        Unique names, length g.
    aliases
        Alias -> symbol.

    Returns
    -------
    names : list of str
        Unique names, length g.
    kept : list of str
        Aliases that were left as they are, as their symbol, or another alias of it, is in `names`
        too.
    """
    targets = Counter(aliases[name] for name in names if name in aliases)
    taken = set(names)
    renamed, kept = [], []
    for name in names:
        symbol = aliases.get(name, name)
        if symbol != name and (symbol in taken or targets[symbol] > 1):
            kept.append(name)
            symbol = name
        renamed.append(symbol)
    return renamed, kept
