"""Gene names: Ensembl versions off, symbols unique, and what kind of gene a symbol names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

# Clone-based symbols such as FO538757.1 end in a number that is part of the name, so only
# identifiers of Ensembl's own shape lose theirs.
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})(?:\.\d+)?(_PAR_Y)?")

# After RPL or RPS and its number: the paralogues (A, L, X, Y1, AL, A1, L1, RT), then a processed
# pseudogene (P5, -PS3) and the number that unique_symbols gives. Anything else that follows names
# another gene: RPS6KA1, RPS19BP1, RPL34-AS1, RPS10-NUDT3.
_RIBOSOMAL = re.compile(
    r"RP(?:[LS]\d+(?:[AX]|[AL]?L\d?|A\d|Y\d?|RT)?|LP[012]|SA)(?:P\d+|-PS\d*)?(?:-\d+)?"
)


def is_ensembl(name: str) -> bool:
    """Tell whether a name is an Ensembl gene identifier (ENSG…, ENSMUSG…), versioned or not."""
    return _ENSEMBL.fullmatch(name) is not None


def without_version(name: str) -> str:
    """Strip the version of an Ensembl identifier; any other name comes back as it is.

    Examples
    --------
    >>> without_version("ENSG00000141736.13"), without_version("FO538757.1")
    ('ENSG00000141736', 'FO538757.1')
    """
    match = _ENSEMBL.fullmatch(name)
    return match[1] + (match[2] or "") if match else name


def unique_symbols(symbols: Sequence[str], ids: Sequence[str] | None = None) -> list[str]:
    """Make gene symbols unique, always in the same way.

    Spaces around a name and versions of Ensembl identifiers are stripped. Of several genes with
    one symbol the first keeps it and the others become ``symbol-1``, ``symbol-2``, …; "first" is
    by identifier if `ids` is given, so that files in another order agree, else by place in the
    file. A name that is in the file already is never handed out.

    Parameters
    ----------
    symbols
        One name a gene, length g.
    ids
        One identifier a gene, length g, if known.

    Returns
    -------
    list of str
        Unique names, length g, in the order given.

    Raises
    ------
    ValueError
        If `ids` has another length than `symbols`.
    """
    names = [without_version(symbol.strip()) for symbol in symbols]
    order = range(len(names))
    if ids is not None:
        if len(ids) != len(names):
            raise ValueError(f"{len(names)} symbols but {len(ids)} ids")
        order_keys = [without_version(identifier.strip()) for identifier in ids]
        order = sorted(order, key=lambda i: (order_keys[i], i))  # type: ignore[assignment]
    taken = set(names)
    times: dict[str, int] = {}
    unique = list(names)
    for i in order:
        name = names[i]
        if name not in times:
            times[name] = 0
            continue
        while (candidate := f"{name}-{times[name] + 1}") in taken:
            times[name] += 1
        times[name] += 1
        taken.add(candidate)
        unique[i] = candidate
    return unique


def gene_table(symbols: Sequence[str], ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Build the canonical ``var``: unique symbols as index, ``gene_ids`` where known.

    Names that are Ensembl identifiers themselves serve as identifiers too.

    Parameters
    ----------
    symbols
        One name a gene, length g.
    ids
        One identifier a gene, length g, if known.

    Returns
    -------
    pandas.DataFrame
        g rows; column ``gene_ids`` (identifier without version) unless no identifier is known.
    """
    if ids is None and any(is_ensembl(symbol.strip()) for symbol in symbols):
        ids = [symbol if is_ensembl(symbol.strip()) else "" for symbol in symbols]
    table = pd.DataFrame(index=pd.Index(unique_symbols(symbols, ids), dtype=object))
    if ids is not None:
        table["gene_ids"] = [without_version(identifier.strip()) for identifier in ids]
    return table


def is_mitochondrial(symbol: str) -> bool:
    """Tell whether a symbol names a gene of the mitochondrial genome.

    The rule is the prefix that HGNC and MGI keep for it: ``MT-`` in human, ``mt-`` in mouse.
    Nuclear genes whose names begin with the same letters are none: MTOR, MTHFR, MT1X, MRPL1,
    MTRNR2L8, MTND1P23.

    Parameters
    ----------
    symbol
        As in the canonical ``var``, without a reference's prefix.
    """
    return symbol.startswith(("MT-", "mt-"))


def is_ribosomal(symbol: str) -> bool:
    """Tell whether a symbol names a protein of the cytosolic ribosome, or a pseudogene of one.

    The rule is ``RPL`` or ``RPS`` and a digit (mouse ``Rpl``, ``Rps``), with what it is meant to
    find made exact on both sides:

    - What follows the number must be a paralogue's or a pseudogene's mark, as in RPL7A, RPL36AL,
      RPS4Y1, RPL22L1, RPL13AP5, Rps19-ps3. The S6 kinases (RPS6KA1, RPS6KB1, RPS6KC1, RPS6KL1),
      the binding protein RPS19BP1, transcripts of the other strand (RPL34-AS1, RPL34-DT) and
      readthroughs that carry a second gene (RPS10-NUDT3) are not parts of the ribosome and stay.
      Pseudogenes go, since what is counted on them are mostly reads of their parents.
    - RPLP0, RPLP1, RPLP2 and RPSA are proteins of the ribosome whose names merely lack the digit,
      as abundant and as uniform as the others, so they go with them.

    RPE65, RPTOR, RPA1 and RPN1 share two letters with them and nothing else; the proteins of the
    mitochondrial ribosome (MRPL1, MRPS2) are nuclear genes of another kind. All of these stay.

    Parameters
    ----------
    symbol
        As in the canonical ``var``, without a reference's prefix.
    """
    if not symbol.startswith(("RP", "Rp")):
        return False
    written_so = symbol.isupper() or symbol[1:].islower()
    return written_so and _RIBOSOMAL.fullmatch(symbol.upper()) is not None


EXCLUSIONS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {"mitochondrial": is_mitochondrial, "ribosomal": is_ribosomal}
)
"""Kinds of genes that can be left out of a model, and the rule that knows them by symbol."""
