"""Human, mouse or both: whose genes a table holds, and those of one species alone."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.st.genes import gene_table
from hypergene.st.sample import Species

_log = logging.getLogger(__name__)

Evidence = Literal["prefixes", "Ensembl identifiers", "capitals of the symbols", "nothing"]
_KNOWN: tuple[Evidence, ...] = ("prefixes", "Ensembl identifiers")

# Cell Ranger names the genes of a reference of two genomes GENOME_NAME, with the names of the
# genomes filled up with underscores to one length (GRCh38_TP53 beside mm10___Trp53; GRCh38______
# beside a virus with a longer name); Seurat writes hyphens for underscores; the name of the genome
# is whatever mkref was told (GRCh38-2020-A, refdata-gex-mm10, GRCh38_2020A_v5); Drop-seq's mixed
# reference says HUMAN_ and MOUSE_.
_PREFIX = re.compile(
    r"(?:refdata-(?:gex|cellranger)-)?"
    r"(?:(?P<human>GRCh3[678]|hg(?:18|19|38)|human)|(?P<mouse>GRCm3[89]|mm(?:9|10|39)|mouse))"
    r"(?:\.p\d+)?(?:[._-]?20\d\d-?[A-Z](?:_v\d+)?)?"
    r"[_-]+(?=[^_-])",
    re.IGNORECASE,
)
# 10x marks probes that it no longer counts with DEPRECATED_.
_ENSEMBL = re.compile(r"(?:DEPRECATED_)?ENS([A-Z]*)G\d{11}")
_SPECIES_OF_ENSEMBL: dict[str, Species] = {"": "human", "MUS": "mouse"}
_TWO_LETTERS = re.compile(r"[A-Za-z][^A-Za-z]*[A-Za-z]")
# Names of clones and sequences are the same in both species: AC133103.1, BC005537.
_ACCESSION = re.compile(r"[A-Z]{1,4}\d{5,}(?:\.\d+)?")
_OPEN_READING_FRAME = re.compile(r"(?<=[\dXY])orf(?=\d)")

# Foreign genes that no longer pass as a few additions: of those known by prefix or identifier, of
# those told by their capitals, and the fewest for which capitals are to be believed.
_SECOND_KNOWN = 0.01
_SECOND_BY_CAPITALS = 0.10
_FEWEST_BY_CAPITALS = 10
# A table of which less than this says anything is not called.
_TOLD = 0.10
# Where so many genes are known by prefix or identifier, the others are additions (EGFP, a virus)
# whose capitals say nothing.
_MOST = 0.90


@dataclass(frozen=True)
class SpeciesGuess:
    """Whose genes a table holds, and the numbers that this rests on.

    Attributes
    ----------
    species
        ``"both"``: more than a few additions of the second species; ``"unknown"``: another
        species, or names that say nothing.
    human, mouse
        How many genes are told to be of either.
    genes
        How many genes there are.
    evidence
        What most of those told are told by.
    """

    species: Literal["human", "mouse", "both", "unknown"]
    human: int
    mouse: int
    genes: int
    evidence: Evidence

    def __str__(self) -> str:
        """Return the guess in words, with its numbers."""
        return (
            f"{self.species} (of {self.genes:,} genes {self.human:,} are human and "
            f"{self.mouse:,} mouse, by the {self.evidence})"
            if self.evidence != "nothing"
            else f"unknown (of {self.genes:,} genes none says its species)"
        )


def species_of(var_names: Iterable[str], gene_ids: Iterable[str] | None = None) -> SpeciesGuess:
    """Guess whose genes a table holds.

    Each gene is told by the strongest evidence it has: the prefix of its reference (``GRCh38_``,
    ``mm10___``, ``hg19_``, ``HUMAN_`` ...), its Ensembl identifier (ENSG, ENSMUSG), and only
    without these, and unless nearly all others have them, the capitals of its symbol (ERBB2 or
    Erbb2). Capitals cannot tell mouse from rat; names with underscores (controls of imaging
    panels) and of clones say nothing.

    Parameters
    ----------
    var_names
        One name a gene, length g.
    gene_ids
        One identifier a gene, length g ("" where unknown), if known.

    Returns
    -------
    SpeciesGuess

    Raises
    ------
    ValueError
        If `gene_ids` has another length than `var_names`.
    """
    return _guess(_votes(var_names, gene_ids))


def take_species(adata: AnnData, species: Species | None, source: str) -> AnnData:
    """Keep the genes of one species, and take the reference's prefix off their names.

    A table of one species is kept whole, with the few genes that say something else (a transgene,
    a virus); of a table of two, genes that cannot be told go with the other species'. To be done
    before the counts are normalised.

    Parameters
    ----------
    adata
        Counts (spots, genes); ``var``: unique names, ``gene_ids`` where known.
    species
        Whose genes are wanted; None = those of the only species there is.
    source
        The file, for messages.

    Returns
    -------
    AnnData
        `adata` itself if nothing is to be left out or renamed, else a copy with the canonical
        ``var``. ``uns["hypergene"]`` says ``species`` (the one taken, or "unknown"),
        ``species_from`` (the guess in words) and, where genes were left out,
        ``genes_of_another_species`` (their number).

    Raises
    ------
    DataError
        Genes of both species and none said; or none of the species that is said.
    """
    votes = _votes(adata.var_names, adata.var.get("gene_ids"))
    guess = _guess(votes)
    if guess.species == "both" and species is None:
        raise DataError(
            f"{source} holds the genes of two species: {guess.human:,} of human and "
            f"{guess.mouse:,} of mouse, by the {guess.evidence}.",
            hint="Say whose to take in the column 'species' of the samples sheet: human or mouse.",
        )
    if species is not None and guess.species not in (species, "both", "unknown"):
        raise DataError(
            f"{source} is said to be {species}, but its genes are {guess}.",
            hint="Correct the column 'species' of the samples sheet (symbols are written ERBB2 in "
            "human, Erbb2 in mouse).",
        )
    kept = np.ones(adata.n_vars, dtype=bool)
    if guess.species == "both":
        kept = np.array([told == species for told, _ in votes])
    taken = adata if kept.all() else adata[:, kept].copy()
    if any(by == "prefixes" for _, by in votes):
        taken = taken.copy() if taken is adata else taken
        taken.var = _renamed(taken.var)
    about = dict(taken.uns.get("hypergene", {}))
    about |= {"species": species or guess.species, "species_from": str(guess)}
    if not kept.all():
        about["genes_of_another_species"] = int((~kept).sum())
        _log.info("%s: of %d genes the %d of %s are taken", source, kept.size, kept.sum(), species)
    taken.uns["hypergene"] = about
    return taken


def _renamed(var: pd.DataFrame) -> pd.DataFrame:
    """Return `var` with names and identifiers without a prefix, and its other columns."""
    ids = None
    if "gene_ids" in var:
        ids = [_without_prefix(str(identifier)) for identifier in var["gene_ids"]]
    table = gene_table([_without_prefix(name) for name in var.index], ids)
    for column in var.columns.difference(table.columns, sort=False):
        table[column] = var[column].to_numpy()
    return table


def _without_prefix(name: str) -> str:
    match = _PREFIX.match(name)
    return name[match.end() :] if match else name


_Vote = tuple[Species | None, Evidence]


def _votes(var_names: Iterable[str], gene_ids: Iterable[str] | None) -> list[_Vote]:
    """Tell the species of each gene (None: cannot be told), and by what."""
    names = [str(name) for name in var_names]
    ids = [""] * len(names) if gene_ids is None else [str(identifier) for identifier in gene_ids]
    if len(ids) != len(names):
        raise ValueError(f"{len(names)} names but {len(ids)} identifiers")
    votes = [_vote(name, identifier) for name, identifier in zip(names, ids, strict=True)]
    known = sum(by in _KNOWN for _, by in votes)
    if known >= _MOST * len(votes):
        votes = [vote if vote[1] in _KNOWN else (None, vote[1]) for vote in votes]
    return votes


# The samples of a cohort have much the same genes.
@lru_cache(maxsize=1 << 16)
def _vote(name: str, identifier: str) -> _Vote:
    for text in (identifier, name):
        if (prefix := _PREFIX.match(text)) is not None:
            return ("human" if prefix["human"] else "mouse"), "prefixes"
    for text in (identifier, name):
        if (ensembl := _ENSEMBL.match(text)) is not None:
            return _SPECIES_OF_ENSEMBL.get(ensembl[1]), "Ensembl identifiers"
    return _by_capitals(name), "capitals of the symbols"


def _by_capitals(symbol: str) -> Species | None:
    """Tell ERBB2 and C1orf112 from Erbb2, mt-Nd1 and 1700001A01Rik."""
    if "_" in symbol or not _TWO_LETTERS.search(symbol) or _ACCESSION.fullmatch(symbol):
        return None
    # Human open reading frames (C1orf112) are the only human symbols with small letters.
    if symbol.isupper() or _OPEN_READING_FRAME.sub("ORF", symbol).isupper():
        return "human"
    first = next(filter(str.isalpha, symbol))
    return "mouse" if first.isupper() or symbol.startswith("mt-") else None


def _guess(votes: Sequence[_Vote]) -> SpeciesGuess:
    counts = Counter(votes)

    def told(species: Species, *evidence: Evidence) -> int:
        return sum(counts[species, by] for by in evidence)

    kinds: tuple[Evidence, ...] = (*_KNOWN, "capitals of the symbols")
    human, mouse = told("human", *kinds), told("mouse", *kinds)
    strongest = max(kinds, key=lambda by: told("human", by) + told("mouse", by))
    sure = sorted((told("human", *_KNOWN), told("mouse", *_KNOWN)))
    second = min(human, mouse)
    species: Literal["human", "mouse", "both", "unknown"] = "human" if human > mouse else "mouse"
    if human + mouse == 0 or human + mouse < _TOLD * len(votes):
        species = "unknown"
    elif sure[0] > _SECOND_KNOWN * sum(sure):
        species = "both"
    elif second > _SECOND_BY_CAPITALS * (human + mouse):
        species = "both" if second >= _FEWEST_BY_CAPITALS else "unknown"
    evidence: Evidence = strongest if human + mouse else "nothing"
    return SpeciesGuess(species, human, mouse, len(votes), evidence)
