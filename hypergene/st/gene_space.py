"""One gene space over samples whose tables list different genes, in different orders."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError
from hypergene.st.gene_matching import MatchedGenes, match_genes
from hypergene.st.genes import without_version
from hypergene.st.mangled_names import some

How = Literal["intersection", "union", "panel"]

# Looking for near names among tens of thousands takes about 0.1 s each.
_HINTS = 5
# One sample that costs this much of the intersection is worth a word.
_COSTLY = 0.02


@dataclass(frozen=True, eq=False)
class GeneSpace:
    """The genes that a cohort is described by, and where each sample keeps them.

    Attributes
    ----------
    how
        ``"intersection"``: what all samples measure, in the order of the first sample's file (the
        first in the order given, such as that of a sheet); ``"union"``: what any measures, sorted
        by name; ``"panel"``: those of a given list that any sample measures, in the list's order.
        Which genes are in it, and their names, never depend on the order of the samples.
    genes
        Unique symbols, (genes,). Of several symbols for one Ensembl identifier the one that most
        samples use, then the first by spelling.
    gene_ids
        Ensembl identifiers without version, (genes,); "" where none, or no single one, is known;
        None if no sample has any.
    report
        Sentences for the user: how genes were matched, what each sample lacks, and names that are
        odd (aliases, damage by R or Excel). None of them is an error.
    """

    how: How
    genes: tuple[str, ...]
    gene_ids: tuple[str, ...] | None
    report: tuple[str, ...]
    matched: MatchedGenes = field(repr=False)
    numbers: npt.NDArray[np.int64] = field(repr=False)
    """(genes,): the numbers of the genes in `matched`."""

    @classmethod
    def of(
        cls,
        gene_tables: Mapping[str, pd.DataFrame] | Iterable[tuple[str, pd.DataFrame]],
        how: How = "intersection",
        panel: Sequence[str] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> GeneSpace:
        """Find the gene space of samples, looking at one table at a time.

        Genes are matched by Ensembl identifier without version if all samples have identifiers
        (for more than half of their genes, none twice in a sample; a gene without one is matched
        by name, unless another sample has an identifier for that name), else by symbol.

        Parameters
        ----------
        gene_tables
            Sample -> canonical ``var`` (unique symbols, ``gene_ids`` where known); or such pairs
            one after the other, so that no two samples need be in memory. Kept are 8 bytes a gene
            and sample.
        how
            Which genes.
        panel
            Symbols or Ensembl identifiers, with ``how="panel"`` only. A symbol may be one that any
            sample uses for a gene, if it is used for no other.
        aliases
            Alias -> symbol, as :func:`read_aliases` gives it; applied to all samples and to the
            panel before genes are matched.

        Returns
        -------
        GeneSpace

        Raises
        ------
        DataError
            Human and mouse together; names that are identifiers in some samples and symbols in
            others; no gene left.
        ValueError
            No samples, a sample twice, names not unique; a panel without ``how="panel"``, or the
            reverse.
        """
        if (panel is not None) != (how == "panel"):
            raise ValueError(f"how={how!r} and panel={'None' if panel is None else 'given'}")
        pairs = gene_tables.items() if isinstance(gene_tables, Mapping) else gene_tables
        matched = match_genes(pairs, aliases)
        sentences = list(matched.sentences)
        if how == "intersection":
            numbers = _intersection(matched, sentences)
        elif how == "union":
            order = sorted(range(len(matched.names)), key=matched.names.__getitem__)
            numbers = np.array(order, dtype=np.int64)
        else:
            numbers = _of_panel(matched, panel or (), aliases or {}, sentences)
        sentences += _lacking(matched, numbers)
        ids = tuple(matched.ids[number] for number in numbers)
        return cls(
            how=how,
            genes=tuple(matched.names[number] for number in numbers),
            gene_ids=ids if any(matched.ids) else None,
            report=tuple(sentences),
            matched=matched,
            numbers=numbers,
        )

    @property
    def samples(self) -> tuple[str, ...]:
        """The samples, in the order given."""
        return tuple(self.matched.numbers)

    def columns(self, sample: str) -> npt.NDArray[np.int64]:
        """Say where a sample keeps the genes.

        Returns
        -------
        ndarray
            int64 (genes,): the column of each gene in the sample's table; -1 = not measured, so
            that ``columns >= 0`` is the mask of what is.

        Raises
        ------
        KeyError
            If there is no such sample.
        """
        there = self.matched.numbers[sample]
        columns = np.full(len(self.matched.names), -1, dtype=np.int64)
        columns[there] = np.arange(len(there))
        return columns[self.numbers]


def _intersection(matched: MatchedGenes, sentences: list[str]) -> npt.NDArray[np.int64]:
    samples = matched.numbers
    times = np.zeros(len(matched.names), dtype=np.int64)
    for there in samples.values():
        times[there] += 1
    first = next(iter(samples.values())).astype(np.int64)
    numbers = first[times[first] == len(samples)]
    if not len(numbers):
        raise DataError(
            f"The {len(samples)} samples have no gene in common.",
            hint="Are all of them of one species, and named by the same kind of symbol?",
        )
    sentences.append(f"All samples measure {len(numbers):,} of them.")
    if len(samples) > 2:
        # Genes that only one sample lacks: all of these less its own.
        missed = times == len(samples) - 1
        alone = {name: int(missed.sum() - missed[there].sum()) for name, there in samples.items()}
        sentences += [
            f"{name} alone lacks {cost:,} that all other samples measure."
            for name, cost in sorted(alone.items())
            if cost > _COSTLY * len(numbers)
        ]
    return numbers


def _of_panel(
    matched: MatchedGenes,
    panel: Sequence[str],
    aliases: Mapping[str, str],
    sentences: list[str],
) -> npt.NDArray[np.int64]:
    by_name = {name: number for number, name in enumerate(matched.names)}
    times = Counter(matched.ids)
    by_id = {each: number for number, each in enumerate(matched.ids) if each and times[each] == 1}

    def find(entry: str) -> int | None:
        entry = without_version(entry.strip())
        for name in dict.fromkeys((entry, aliases.get(entry, entry))):
            number = by_id.get(name, by_name.get(name))
            if number is None and len(called := matched.called.get(name, ())) == 1:
                number = called[0]
            if number is not None:
                return number
        return None

    found = {entry: find(entry) for entry in panel}
    numbers = list(dict.fromkeys(number for number in found.values() if number is not None))
    missing = [entry for entry, number in found.items() if number is None]
    near = _near(missing, list(by_name))
    if not numbers:
        raise DataError(
            f"No sample measures any of the {len(found)} genes of the panel"
            f"{f' (such as {missing[0]})' if missing else ''}.",
            hint=near[0]
            if near
            else "Name genes as the samples do: by symbol (ERBB2) or by Ensembl identifier.",
        )
    if missing:
        sentences.append(
            f"No sample measures {len(missing):,} of the {len(found):,} genes of the panel, and "
            f"they are left out: {some(missing, 10)}.{''.join(' ' + hint for hint in near)}"
        )
    others = [
        f"{entry} is {matched.names[number]}"
        for entry, number in found.items()
        if number is not None and matched.names[number] != entry
    ]
    if others:
        sentences.append(f"Genes of the panel under another name here: {some(others, 10)}.")
    if len(numbers) + len(missing) < len(found):
        sentences.append(
            f"{len(found) - len(missing) - len(numbers):,} of the panel's genes are in it under "
            "two names, and are taken once."
        )
    return np.array(numbers, dtype=np.int64)


def _near(missing: Sequence[str], names: list[str]) -> list[str]:
    """Name what is measured and spelt most like the first of the missing genes."""
    by_letters = {name.casefold(): name for name in names}
    hints = []
    for entry in missing[:_HINTS]:
        near = difflib.get_close_matches(entry.casefold(), by_letters, n=1, cutoff=0.75)
        if near:
            hints.append(f"Nearest to {entry} is {by_letters[near[0]]}.")
    return hints


def _lacking(matched: MatchedGenes, numbers: npt.NDArray[np.int64]) -> list[str]:
    total = len(numbers)
    lacks = {
        sample: total - int(np.isin(numbers, there).sum())
        for sample, there in matched.numbers.items()
    }
    told = [f"{sample} {count:,}" for sample, count in lacks.items() if count]
    return [f"Not measured, of {total:,} genes: {', '.join(told)}."] if told else []
