"""Which genes an evaluation scores, and where they were picked, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from hypergene.evaluation.optimism import Picked
from hypergene.pipeline.evaluation.data import EvaluationData, sets_to_score
from hypergene.pipeline.evaluation.options import EvaluateOptions
from hypergene.pipeline.evaluation.published import HER2ST_RULE, published_genes


class ScoredGenes(NamedTuple):
    """Gene sets.

    Attributes
    ----------
    sets
        Name -> genes.
    notes, warnings
        Sentences for the report.
    """

    sets: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def picked_on(options: EvaluateOptions) -> Picked:
    """Say where gene sets come from: a list or rule, or training samples, if any are given."""
    if options.genes_list is not None and options.genes_list != HER2ST_RULE:
        return "listed"
    by_rule = options.genes_list is not None or options.protocol == "hest-bench"
    if by_rule or (options.train is None and options.cv is None):
        return "test"
    return "training"


def genes_to_score(
    data: EvaluationData, predicted: pd.DataFrame, options: EvaluateOptions, fold: str = ""
) -> ScoredGenes:
    """Choose the gene sets; a published list takes their place.

    Parameters
    ----------
    data
        What was measured.
    predicted
        Canonical ``var`` of the prediction.
    options
        What was asked for.
    fold
        Whose they are.
    """
    of_fold = f" of {fold}" if fold else ""
    warnings: tuple[str, ...] = ()
    listed = published_genes(
        data, predicted, genes_list=options.genes_list, protocol=options.protocol
    )
    if listed is not None:
        sets, notes = {listed.name: listed.genes}, list(listed.notes)
        listed_in = options.genes_list if picked_on(options) == "listed" else None
        where = "all samples" if listed_in is None else f"whatever made {listed_in}"
    else:
        sets, matched = sets_to_score(data, predicted)
        notes = [f"Genes: {note}" for note in matched]
        is_test = picked_on(options) == "test"
        where = "the scored samples themselves" if is_test else "the training samples"
        warnings = (_TEST_PICKED,) if is_test else warnings
    sizes = ", ".join(f"{name}: {len(genes):,} genes" for name, genes in sets.items())
    return ScoredGenes(sets, (*notes, f"Gene sets{of_fold} chosen on {where}: {sizes}."), warnings)


_TEST_PICKED = (
    "Gene sets were picked on the scored samples, which is optimistic; --train names the samples "
    "to choose them, and to fit the controls, on."
)
