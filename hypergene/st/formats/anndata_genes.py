"""The genes of an AnnData, by whichever columns name them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError
from hypergene.st.formats.anndata_store import Stored
from hypergene.st.genes import gene_table, is_ensembl

# Column names are compared without capitals; the first of these that is there is taken.
_SYMBOLS = (
    *("feature_name", "gene_symbols", "gene_symbol", "gene_names", "gene_name", "symbols"),
    *("symbol", "hgnc_symbol", "mgi_symbol", "external_gene_name", "gene_short_name", "features"),
    *("genes", "gene", "names", "name"),
)
_IDS = (
    *("gene_ids", "gene_id", "ensembl_ids", "ensembl_id", "ensembl_gene_ids", "ensembl_gene_id"),
    *("ensembl", "ensembl_name", "feature_ids", "feature_id", "ensg"),
)
_TYPES = ("feature_types", "feature_type")
_GENES = "Gene Expression"


@dataclass(frozen=True, eq=False)
class Genes:
    """What ``var`` says.

    Attributes
    ----------
    var
        Canonical, of the features that are genes.
    kept
        bool (features,): which features these are.
    names_from
        Where the symbols were found: ``index``, or ``var["feature_name"]`` and the like.
    left_out
        How many features of which other types there are, in words ("" = none).
    """

    var: pd.DataFrame
    kept: npt.NDArray[np.bool_]
    names_from: str
    left_out: str


def read_genes(stored: Stored, frame: str) -> Genes:
    """Read the genes' symbols, identifiers and types.

    The index holds the symbols unless most of it are Ensembl identifiers, or all of it are numbers;
    then a column of symbols is looked for, and without one the identifiers serve as names.

    Parameters
    ----------
    stored
        The file.
    frame
        ``var``, or ``raw/var``.

    Raises
    ------
    DataError
        If there are no genes, they are numbered and not named, or a column is damaged.
    """
    index = stored.names(frame).str.strip().tolist()
    columns = {name.lower(): name for name in reversed(stored.columns(frame))}
    where = frame.replace("/", ".")

    def texts(known: tuple[str, ...]) -> tuple[list[str], str] | None:
        name = next((columns[name] for name in known if name in columns), None)
        if name is None:
            return None
        column = stored.column(frame, name).astype(object)
        return column.where(column.notna(), "").astype(str).str.strip().tolist(), name

    kept, left_out = np.ones(len(index), dtype=bool), ""
    if (types := texts(_TYPES)) is not None and _GENES in types[0]:
        kept = np.array([kind == _GENES for kind in types[0]])
        others = Counter(kind for kind in types[0] if kind != _GENES)
        left_out = ", ".join(f"{number} {kind}" for kind, number in others.items())
    if not kept.any():
        raise DataError(f"{where} of {stored.name} has no genes.", hint="Is this the right file?")

    symbols, names_from, found = index, "index", texts(_IDS)
    ids = None if found is None else found[0]
    identified = 2 * sum(map(is_ensembl, index)) > len(index)
    if identified or all(name.isdigit() for name in index):
        ids = index if identified else ids
        named = texts(_SYMBOLS)
        if named is not None:
            symbols, names_from = named[0], f'{where}["{named[1]}"]'
        elif ids is not None and found is not None and not identified:
            symbols, names_from = ids, f'{where}["{found[1]}"]'
        elif not identified:
            raise DataError(
                f"The genes of {stored.name} are numbered and not named: {where} has the columns "
                f"{', '.join(stored.columns(frame)) or '(none)'}.",
                hint=f"Put gene symbols into the index of {where}.",
            )
        fallback = ids or index
        symbols = [name or other for name, other in zip(symbols, fallback, strict=True)]
    table = gene_table(
        [name for name, gene in zip(symbols, kept, strict=True) if gene],
        None if ids is None else [name for name, gene in zip(ids, kept, strict=True) if gene],
    )
    return Genes(table, kept, names_from, left_out)
