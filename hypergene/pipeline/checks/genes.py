"""Whether the samples name the same genes, of one species, in one way."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hypergene.errors import DataError
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.st.gene_space import GeneSpace
from hypergene.st.genes import is_ensembl
from hypergene.st.mangled_names import mangled_names, some
from hypergene.st.species import SpeciesGuess, species_of

#: A model of fewer genes is hardly one; the smallest imaging panels have about 100.
FEW_GENES = 100
#: Less than this share of the smallest sample's genes in common: the samples were annotated apart.
FEW_IN_COMMON = 0.5


@dataclass(frozen=True)
class GeneNames:
    """The genes of one sample: its names are shared with those of all other samples.

    Attributes
    ----------
    symbols
        Unique names, (genes,).
    ids
        Ensembl identifiers, (genes,); None where there are none.
    species
        Whose genes they are.
    """

    symbols: tuple[str, ...]
    ids: tuple[str, ...] | None
    species: SpeciesGuess

    @classmethod
    def of(cls, var: pd.DataFrame) -> GeneNames:
        """Keep the names of a canonical ``var``, each only once in the whole process."""
        symbols = tuple(sys.intern(str(name)) for name in var.index)
        ids = tuple(sys.intern(str(i)) for i in var["gene_ids"]) if "gene_ids" in var else None
        return cls(symbols, ids, species_of(symbols, ids))

    @property
    def by_ensembl(self) -> bool:
        """Whether the names themselves are Ensembl identifiers."""
        return sum(map(is_ensembl, self.symbols)) > len(self.symbols) / 2

    def table(self) -> pd.DataFrame:
        """Return the canonical ``var`` again."""
        table = pd.DataFrame(index=pd.Index(self.symbols, dtype=object))
        return table if self.ids is None else table.assign(gene_ids=self.ids)


@dataclass(frozen=True)
class GenesInCommon:
    """What a cohort's gene names amount to.

    Attributes
    ----------
    number
        Genes that all samples measure; None if they cannot be matched.
    report
        How they were matched, and what each sample lacks: sentences.
    verdicts
        ``mixed_species``, ``ensembl_and_symbols``, ``no_common_genes``, ``few_common_genes``,
        ``mangled_names``.
    """

    number: int | None
    report: tuple[str, ...]
    verdicts: list[Verdict]


def check_genes(genes: Mapping[str, GeneNames]) -> GenesInCommon:
    """Match the genes of all samples as training does, and say what stands against it.

    Parameters
    ----------
    genes
        Sample -> its genes; samples that could not be read are left out.
    """
    if not genes:
        return GenesInCommon(None, (), [])
    if (mixed := _mixed_species(genes)) is not None:
        return GenesInCommon(None, (), [mixed])
    verdicts = _mangled(genes)
    try:
        space = GeneSpace.of((sample, one.table()) for sample, one in genes.items())
    except DataError as reason:
        by_ensembl = {one.by_ensembl for one in genes.values()}
        code = "ensembl_and_symbols" if len(by_ensembl) > 1 else "no_common_genes"
        fix = reason.hint or "Name the genes of all samples alike."
        return GenesInCommon(
            None, (), [Verdict("fail", code, tuple(genes), reason.message, fix), *verdicts]
        )
    if (few := _few(genes, len(space.genes))) is not None:
        verdicts.insert(0, few)
    return GenesInCommon(len(space.genes), space.report, verdicts)


def _mixed_species(genes: Mapping[str, GeneNames]) -> Verdict | None:
    by_species: dict[str, list[str]] = {}
    for sample, one in genes.items():
        by_species.setdefault(one.species.species, []).append(sample)
    if "both" in by_species:
        first, *_ = samples = by_species["both"]
        return Verdict(
            "fail",
            "mixed_species",
            tuple(samples),
            f"The genes of {some(samples)} are of two species: {first} is {genes[first].species}.",
            "Say whose to take in the column 'species' of the samples sheet: human or mouse.",
        )
    if {"human", "mouse"} <= set(by_species):
        human, mouse = by_species["human"], by_species["mouse"]
        return Verdict(
            "fail",
            "mixed_species",
            (*human, *mouse),
            f"The samples are of two species: {some(human)} of human and {some(mouse)} of mouse.",
            "Train one model a species: split the sheet.",
        )
    return None


def _few(genes: Mapping[str, GeneNames], common: int) -> Verdict | None:
    smallest = min(genes, key=lambda sample: len(genes[sample].symbols))
    least = len(genes[smallest].symbols)
    if common >= FEW_GENES and common >= FEW_IN_COMMON * least:
        return None
    among = "The sample has" if len(genes) == 1 else f"The {len(genes)} samples have"
    kept = "" if len(genes) == 1 else f" in common, of {least:,} in the smallest, {smallest}"
    return Verdict(
        "warn",
        "few_common_genes",
        tuple(genes),
        f"{among} {common:,} genes{kept}.",
        "Take the union or a panel (--set genes.space), or leave out the samples that lack most."
        if len(genes) > 1
        else "Is it a panel, or a table cut down to some genes? Give all genes that were measured.",
    )


def _mangled(genes: Mapping[str, GeneNames]) -> list[Verdict]:
    """Report names that R or Excel have changed, with the samples that have them."""
    names = {name for one in genes.values() for name in one.symbols}
    sentences: Sequence[str] = mangled_names(names)
    return [
        Verdict(
            "warn",
            "mangled_names",
            tuple(genes),
            sentence[0].upper() + sentence[1:],
            "Read the genes from the first file again (as text), or give aliases "
            "(--set genes.aliases).",
        )
        for sentence in sentences
    ]
