"""Gene names that a program has changed: R's make.names, Excel's dates, capitals.

What is found is said and left as it is: which gene "1-Mar" was (MARCH1, MARC1) no rule can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|mrz|mär|mai|okt|dez"
# 1-Mar and Mar-01 as Excel shows them, 2021-03-01 and 3/1/2021 as it exports them, its day numbers
# of about 2000 to 2036 (36500 to 49999), and clones such as 2310009E13 read as powers of ten.
_EXCEL = re.compile(
    rf"\d{{1,2}}[-. /]+(?:{_MONTH})|(?:{_MONTH})-\d{{1,2}}"
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}(?: 00:00:00)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    r"|3(?:6[5-9]|[7-9]\d)\d\d|4\d{4}"
    r"|\d(?:[.,]\d+)?E\+\d+",
    re.IGNORECASE,
)
# There are fewer symbols than this that Excel takes for dates, so more day numbers are none (but
# identifiers of Entrez, for instance).
_DATES = 50
# Families whose symbols have a hyphen here, and never a dot.
_DOT_FOR_HYPHEN = re.compile(r"(?:HLA|MT|mt|H2)\.[A-Za-z]\w*")
_NOT_IN_R = re.compile(r"[^A-Za-z0-9_.]")


def mangled_names(names: Iterable[str]) -> list[str]:
    """Find gene names that look changed by a program.

    Parameters
    ----------
    names
        All names of a sample or a cohort.

    Returns
    -------
    list of str
        A sentence for each kind of damage, with its number and examples; the order of `names`
        does not matter.
    """
    known = sorted(set(names))
    sentences = []
    if dates := _dates(known):
        sentences.append(
            f"{_are(dates, 'called by a date or a number')}, as Excel makes of names such as "
            f"MARCH1 and SEPT2 ({some(dates)}): no rule can tell which genes they were."
        )
    if dotted := _dotted(known):
        sentences.append(
            f"{_are(dotted, 'written')} with dots for other characters, as R's make.names does "
            f"({some(dotted)}): by name, they match no gene that is written as usual."
        )
    if twins := _twins(known):
        sentences.append(
            f"{_are(twins, 'written')} in two ways that differ in capitals only ({some(twins)}): "
            "by name, they are different genes."
        )
    return sentences


def some(examples: Sequence[str], most: int = 5) -> str:
    """List the first few of many, and say how many more there are."""
    more = len(examples) - most
    return ", ".join(examples[:most]) + (f" and {more:,} more" if more > 0 else "")


def _dates(known: Sequence[str]) -> list[str]:
    dates = [name for name in known if _EXCEL.fullmatch(name)]
    numbers = [name for name in dates if name.isdigit()]
    return dates if len(numbers) < _DATES else [name for name in dates if not name.isdigit()]


def _dotted(known: Sequence[str]) -> list[str]:
    """Return names that another is what make.names makes of, and those that stand alone."""
    there = set(known)
    origin = {made: name for name in known if (made := _make_names(name)) != name and made in there}
    alone = [name for name in known if name not in origin and _DOT_FOR_HYPHEN.fullmatch(name)]
    return [f"{made} for {name}" for made, name in sorted(origin.items())] + alone


def _make_names(name: str) -> str:
    """Write a name as R's make.names does: letters, digits, dots and underscores, no digit first.

    From R's documentation of make.names.
    """
    starts_badly = re.match(r"[^A-Za-z.]|\.\d", name) is not None
    return ("X" if starts_badly else "") + _NOT_IN_R.sub(".", name)


def _twins(known: Sequence[str]) -> list[str]:
    by_letters: dict[str, list[str]] = {}
    for name in known:
        by_letters.setdefault(name.casefold(), []).append(name)
    return [" / ".join(twins) for twins in by_letters.values() if len(twins) > 1]


def _are(found: Sequence[str], what: str) -> str:
    return f"1 gene is {what}" if len(found) == 1 else f"{len(found):,} genes are {what}"
