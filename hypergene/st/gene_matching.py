"""Which columns of several samples are the same gene: by Ensembl identifier, else by symbol.

Nothing is guessed: genes are joined by identifier only where every sample has identifiers, and by
symbol only where the symbols are equal. What looks like one gene under two names is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError
from hypergene.st.gene_lists import rename
from hypergene.st.genes import is_ensembl, unique_symbols, without_version
from hypergene.st.mangled_names import mangled_names, some
from hypergene.st.species import SpeciesGuess, species_of

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class MatchedGenes:
    """Every gene that any of the samples measures.

    Attributes
    ----------
    by
        What genes are matched by.
    species
        That of all samples; ``"unknown"`` if the names of none say it.
    names
        Unique symbols, (genes,).
    ids
        Ensembl identifiers without version, (genes,); "" where none, or no single one, is known.
    numbers
        Sample -> int32 (genes of the sample,): the number, 0..genes-1, of the gene in each column.
        No number is twice in a sample.
    called
        Name in any sample -> the numbers of the genes that go by it.
    sentences
        How genes were matched, and what is odd about their names.
    """

    by: Literal["ensembl", "symbol"]
    species: Literal["human", "mouse", "unknown"]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    numbers: Mapping[str, Codes]
    called: Mapping[str, tuple[int, ...]]
    sentences: tuple[str, ...]


def match_genes(
    tables: Iterable[tuple[str, pd.DataFrame]], aliases: Mapping[str, str] | None = None
) -> MatchedGenes:
    """Match the genes of several samples; one table is looked at at a time.

    Parameters
    ----------
    tables
        Sample and its canonical ``var``: unique symbols, ``gene_ids`` where known.
    aliases
        Alias -> symbol, to be applied to every table first.

    Returns
    -------
    MatchedGenes
        The same for any order of the samples, but for the numbers that genes have.

    Raises
    ------
    DataError
        Human and mouse among the samples, or in one of them; or some samples name their genes by
        Ensembl identifiers and others by symbols, without the means to translate.
    ValueError
        No samples, a sample twice, or names that are not unique in it.
    """
    # The samples of a cohort have much the same names.
    clean, ensembl = cache(without_version), cache(_ensembl_only)
    read = _Read()
    guesses: dict[str, SpeciesGuess] = {}
    sentences: list[str] = []
    replaced: set[str] = set()
    for sample, var in tables:
        symbols = [clean(str(name)) for name in var.index]
        ids = [ensembl(str(each)) for each in var.get("gene_ids", [""] * len(symbols))]
        guesses[sample] = species_of(symbols, ids)
        if aliases:
            before = set(symbols)
            symbols, kept = rename(symbols, aliases)
            replaced |= before.difference(symbols)
            if kept:
                sentences.append(
                    f"{sample} measures both an alias and its symbol, so these keep their names: "
                    f"{some(kept)}."
                )
        read.add(sample, symbols, ids)
    if not guesses:
        raise ValueError("there are no samples")
    if replaced:
        sentences.append(
            f"{_count(len(replaced), 'name')} replaced by the table of aliases: "
            f"{some(sorted(replaced))}."
        )
    species = _only_species(guesses)
    reason = read.why_not_by_id()
    if reason is not None:
        read.refuse_two_kinds_of_name(reason)
    return read.matched(reason, species, sentences)


def _ensembl_only(identifier: str) -> str:
    """Return an Ensembl identifier without version; others do not hold over samples, so ""."""
    return without_version(identifier) if is_ensembl(identifier) else ""


def _only_species(guesses: Mapping[str, SpeciesGuess]) -> Literal["human", "mouse", "unknown"]:
    by_species: dict[str, list[str]] = {}
    for sample, guess in guesses.items():
        by_species.setdefault(guess.species, []).append(sample)
    if "both" in by_species:
        first = by_species["both"][0]
        raise DataError(
            f"The genes of {some(by_species['both'])} are of two species: {first} is "
            f"{guesses[first]}.",
            hint="Say whose to take in the column 'species' of the samples sheet: human or mouse.",
        )
    if {"human", "mouse"} <= set(by_species):
        raise DataError(
            f"The samples are of two species: {some(by_species['human'])} of human and "
            f"{some(by_species['mouse'])} of mouse.",
            hint="Use samples of one species at a time.",
        )
    return "human" if "human" in by_species else "mouse" if "mouse" in by_species else "unknown"


@dataclass(frozen=True, eq=False)
class _Read:
    """Names and identifiers of all samples as numbers: 8 bytes a gene and sample.

    ``codes``: sample -> its genes' names and identifiers (-1: none), numbered as met.
    """

    names: dict[str, int] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    codes: dict[str, tuple[Codes, Codes]] = field(default_factory=dict)

    def add(self, sample: str, symbols: list[str], ids: list[str]) -> None:
        if sample in self.codes:
            raise ValueError(f"{sample} is there twice")
        if len(set(symbols)) < len(symbols):
            raise ValueError(f"the gene names of {sample} are not unique")
        self.codes[sample] = (
            np.array([self.names.setdefault(name, len(self.names)) for name in symbols], np.int32),
            np.array([self.ids.setdefault(i, len(self.ids)) if i else -1 for i in ids], np.int32),
        )

    def why_not_by_id(self) -> str | None:
        """Say why identifiers cannot tell all genes; None if they can."""
        with_id, without_id = np.zeros((2, len(self.names)), dtype=bool)
        few, twice = [], []
        for sample in sorted(self.codes):
            names, ids = self.codes[sample]
            known = ids >= 0
            if 2 * known.sum() <= len(ids):
                few.append(sample)
            elif len(np.unique(ids[known])) < known.sum():
                twice.append(sample)
            with_id[names[known]] = True
            without_id[names[~known]] = True
        if few:
            return f"Ensembl identifiers are missing in {some(few)}"
        if twice:
            return f"an Ensembl identifier stands at several genes in {some(twice)}"
        if (torn := with_id & without_id).any():
            odd = sorted(name for name, code in self.names.items() if torn[code])
            return f"only some of the samples give Ensembl identifiers for {some(odd)}"
        return None

    def refuse_two_kinds_of_name(self, reason: str) -> None:
        """Raise if names are Ensembl identifiers in some samples and symbols in others."""
        ensembl = np.array([is_ensembl(name) for name in self.names], dtype=bool)
        kinds: dict[bool, list[str]] = {True: [], False: []}
        for sample, (names, _) in self.codes.items():
            kinds[bool(len(names)) and bool(ensembl[names].mean() > 0.5)].append(sample)
        if kinds[True] and kinds[False]:
            raise DataError(
                f"The genes of {some(kinds[True])} are named by Ensembl identifiers and those of "
                f"{some(kinds[False])} by symbols, and {reason}, so they cannot be matched.",
                hint="Give an Ensembl identifier for every gene of every sample (in AnnData a "
                "column 'gene_ids' of var), or symbols for all.",
            )

    def matched(
        self,
        reason: str | None,
        species: Literal["human", "mouse", "unknown"],
        sentences: list[str],
    ) -> MatchedGenes:
        """Give the genes their numbers, by identifier if there is no `reason` against it."""
        name_of, id_of = list(self.names), list(self.ids)
        # Pairs of a name and an identifier as one number, and how many samples have them.
        width = len(id_of) + 1
        all_pairs = [name.astype(np.int64) * width + i + 1 for name, i in self.codes.values()]
        pairs, times = np.unique(np.concatenate(all_pairs), return_counts=True)
        keys, genes = np.unique(
            self._keys(pairs // width, pairs % width - 1, reason), return_inverse=True
        )
        names: list[dict[str, int]] = [{} for _ in keys]
        ids: list[set[str]] = [set() for _ in keys]
        for gene, pair, count in zip(genes.tolist(), pairs.tolist(), times.tolist(), strict=True):
            name = name_of[pair // width]
            names[gene][name] = names[gene].get(name, 0) + count
            if pair % width:
                ids[gene].add(id_of[pair % width - 1])
        single = [next(iter(known)) if len(known) == 1 else "" for known in ids]
        called: dict[str, list[int]] = {}
        for gene, used in enumerate(names):
            for name in used:
                called.setdefault(name, []).append(gene)
        return MatchedGenes(
            by="symbol" if reason else "ensembl",
            species=species,
            names=tuple(unique_symbols([_commonest(used) for used in names], single)),
            ids=tuple(single),
            numbers={
                sample: np.searchsorted(keys, self._keys(*codes, reason)).astype(np.int32)
                for sample, codes in self.codes.items()
            },
            called={name: tuple(numbers) for name, numbers in called.items()},
            sentences=(
                f"{_count(len(self.codes), 'sample')} measure{'s' * (len(self.codes) == 1)} "
                f"{_count(len(keys), 'gene')}, matched "
                + (f"by symbol, since {reason}." if reason else "by Ensembl identifier."),
                *sentences,
                *_two_names(pairs, width, name_of, id_of, joined=not reason),
                *mangled_names(name_of),
            ),
        )

    def _keys(
        self, names: npt.NDArray[np.integer], ids: npt.NDArray[np.integer], reason: str | None
    ) -> npt.NDArray[np.int64]:
        """Return what a gene is the same by: its name, or its identifier if it has one."""
        if reason is not None:
            return names.astype(np.int64)
        return np.where(ids >= 0, ids, names.astype(np.int64) + len(self.ids))


def _commonest(used: Mapping[str, int]) -> str:
    """Return the symbol that most samples use; of several, the first by spelling."""
    return min(used, key=lambda name: (is_ensembl(name), -used[name], name))


def _two_names(
    pairs: npt.NDArray[np.int64], width: int, name_of: list[str], id_of: list[str], joined: bool
) -> list[str]:
    """Report identifiers with several symbols and symbols with several identifiers."""
    symbols: dict[str, set[str]] = {}
    identifiers: dict[str, set[str]] = {}
    for pair in pairs.tolist():
        if pair % width:
            name, identifier = name_of[pair // width], id_of[pair % width - 1]
            if not is_ensembl(name):
                symbols.setdefault(identifier, set()).add(name)
                identifiers.setdefault(name, set()).add(identifier)
    sentences = []
    # TBCE-1 is how a second TBCE is called where both are measured, and no other name.
    unnumbered = {
        identifier: {name for name in used if re.sub(r"-\d+$", "", name) not in used - {name}}
        for identifier, used in symbols.items()
    }
    renamed = sorted(
        f"{' / '.join(sorted(used))} ({identifier})"
        for identifier, used in unnumbered.items()
        if len(used) > 1
    )
    if renamed:
        sentences.append(
            f"{_count(len(renamed), 'Ensembl identifier')} with more than one symbol: "
            f"{some(renamed)}; "
            + (
                "joined by the identifier, under the symbol that most samples use."
                if joined
                else "not joined, since not all samples have identifiers."
            )
        )
    shared = sorted(
        f"{name} ({' / '.join(sorted(used))})"
        for name, used in identifiers.items()
        if len(used) > 1
    )
    if shared:
        sentences.append(
            f"{_count(len(shared), 'symbol')} with more than one Ensembl identifier: "
            f"{some(shared)}; "
            + (
                "kept apart by the identifier."
                if joined
                else "joined by the symbol, without an identifier."
            )
        )
    return sentences


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
