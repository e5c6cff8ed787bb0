"""Gene sets that a user names, in the format of MSigDB: ``name<TAB>description<TAB>genes``."""

from __future__ import annotations

import os
from pathlib import Path

from hypergene.errors import DataError
from hypergene.st.table import read_lines

_LEAST_CELLS = 3


def read_gmt(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read gene sets.

    Parameters
    ----------
    path
        A .gmt file, plain or gzipped: a line a set, cells separated by tabs, the first its name,
        the second a description, all others genes. Empty lines are left out.

    Returns
    -------
    dict
        Name -> symbols (or Ensembl identifiers), each once, in the order of the file.

    Raises
    ------
    DataError
        No such file, not text, empty; a line without genes; a name twice.
    """
    path = Path(path)
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        genes = list(dict.fromkeys(cell for cell in cells[2:] if cell))
        if len(cells) < _LEAST_CELLS or not cells[0] or not genes:
            raise DataError(
                f"{path} has no gene set on line {number}.",
                hint="Each line is a name, a description and the genes, separated by tabs.",
            )
        if cells[0] in sets:
            raise DataError(
                f"{path} names the gene set {cells[0]!r} twice (line {number}).",
                hint="Give each set a name of its own.",
            )
        sets[cells[0]] = genes
    return sets
