"""Which genes a model will know, chosen on its training samples, and where each sample has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.evaluation import GeneMoments, expressed, gene_sets, most_variable
from hypergene.st.gene_lists import read_aliases, read_panel
from hypergene.st.gene_space import GeneSpace
from hypergene.st.genes import EXCLUSIONS
from hypergene.training.assess import GeneSets
from hypergene.training.expression import Expression, Measured
from hypergene.training.recipe import GeneChoice

log = logging.getLogger(__name__)

Columns = NDArray[np.int64]


@dataclass(frozen=True)
class GeneFiles:
    """What the files say that a recipe's ``[genes]`` names.

    Attributes
    ----------
    panel
        The genes wanted; None = no panel.
    aliases
        Alias -> symbol; None = nothing is renamed.
    """

    panel: Sequence[str] | None = None
    aliases: Mapping[str, str] | None = None

    @classmethod
    def of(cls, choice: GeneChoice) -> GeneFiles:
        """Read them; to be done before the samples are, which may take long.

        Raises
        ------
        DataError
            A file is missing or malformed.
        """
        return cls(
            panel=None if choice.panel is None else read_panel(choice.panel),
            aliases=None if choice.aliases is None else read_aliases(choice.aliases),
        )


@dataclass(frozen=True, eq=False)
class ChosenGenes:
    """A model's genes.

    Attributes
    ----------
    names
        Unique symbols.
    ids
        Ensembl identifiers, "" where unknown; None if no sample has any.
    columns
        Sample -> (genes,) int64: where the sample's tables have them; -1 = not measured.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...] | None
    columns: Mapping[str, Columns]


def choose_genes(
    data: Mapping[str, Measured],
    choice: GeneChoice,
    files: GeneFiles,
    used: Sequence[str] | None = None,
) -> ChosenGenes:
    """Choose genes on the samples that a model learns from, and find them in every sample.

    Parameters
    ----------
    data
        Measured samples by name.
    choice
        The recipe's ``[genes]``.
    files
        What the files say that it names.
    used
        Samples that choose; the others are only looked up. None = all.

    Raises
    ------
    DataError
        Samples that cannot be described by common genes (none in common, two species, symbols in
        some and identifiers in others); no gene of the panel; no gene detected often enough.
    """
    used = list(data) if used is None else used
    space = GeneSpace.of(
        {name: data[name].var for name in used},
        choice.space if files.panel is None else "panel",
        files.panel,
        files.aliases,
    )
    for sentence in space.report:
        log.info("genes: %s", sentence)
    moments = pooled_moments([data[name].expression(space.columns(name)) for name in used])
    kept = _kept(space.genes, moments, choice)
    names = tuple(space.genes[gene] for gene in kept)
    ids = None if space.gene_ids is None else tuple(space.gene_ids[gene] for gene in kept)
    columns = {name: space.columns(name)[kept] for name in used}
    model = pd.DataFrame(index=list(names))
    if ids is not None:
        model["gene_ids"] = ids
    for name in data:
        if name not in columns:
            columns[name] = find_genes(model, data[name].var, name, files.aliases)
    return ChosenGenes(names, ids, columns)


def sets_to_score(train: Sequence[Expression], genes: Sequence[str]) -> GeneSets:
    """Choose the protocol's gene sets on training samples, among the genes of a model.

    Parameters
    ----------
    train
        What the samples that were trained on, and no others, say of these genes.
    genes
        The model's genes.

    Returns
    -------
    dict
        Set name -> symbols; sets without a gene are left out.
    """
    sets = gene_sets(pooled_moments(train), genes)
    return {name: members for name, members in sets.items() if members} or {"all": list(genes)}


def pooled_moments(slides: Sequence[Expression]) -> GeneMoments:
    """Moments of all spots of some slides, one slide in memory at a time."""
    first, *others = slides
    moments = GeneMoments.of(first.log(), first.measured)
    for slide in others:
        moments += GeneMoments.of(slide.log(), slide.measured)
    return moments


def _kept(genes: Sequence[str], moments: GeneMoments, choice: GeneChoice) -> Columns:
    """Columns of the genes that the choice keeps, ascending."""
    among = np.ones(len(genes), bool)
    for kind in choice.exclude:
        among &= np.array([not EXCLUSIONS[kind](gene) for gene in genes])
    if choice.panel is None:
        among &= expressed(moments, min_share=choice.min_detected)
    if not among.any():
        raise DataError(
            f"None of the {len(genes):,} genes of the samples to train on is detected in "
            f"{choice.min_detected:.0%} of their spots and of a kind that is not excluded.",
            hint="Lower it with --set genes.min_detected=0.02.",
        )
    if choice.most is None:
        return np.flatnonzero(among)
    return np.sort(most_variable(moments, choice.most, among))


def find_genes(
    model: pd.DataFrame, var: pd.DataFrame, name: str, aliases: Mapping[str, str] | None = None
) -> Columns:
    """Say where a sample that chose nothing has the model's genes.

    Parameters
    ----------
    model
        Unique symbols as index, ``gene_ids`` where known.
    var
        The sample's canonical ``var``.
    name
        The sample's.
    aliases
        Alias -> symbol, applied to both.

    Returns
    -------
    ndarray
        int64 (genes of the model,): the column of each in the sample's table; -1 = not measured.

    Raises
    ------
    DataError
        The sample measured none of them, or its genes are named in another way.
    """
    both = GeneSpace.of({"the model": model, name: var}, "union", aliases=aliases)
    gene, column = both.columns("the model"), both.columns(name)
    found = np.full(len(model), -1, np.int64)
    found[gene[gene >= 0]] = column[gene >= 0]
    if not (found >= 0).any():
        raise DataError(
            f"{name} measured none of the {len(model):,} genes of the training samples.",
            hint="Is it of the same species, and are its genes named by the same kind of symbol?",
        )
    return found
