"""Gene lists of published protocols, derived by their published rules from the samples given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.errors import DataError
from hypergene.evaluation import GeneMoments, expressed
from hypergene.evaluation.dispersion import by_dispersion, normalised_dispersion
from hypergene.evaluation.protocols import ProtocolName
from hypergene.pipeline.evaluation.data import EvaluationData
from hypergene.pipeline.gene_choice import find_genes
from hypergene.st import GeneSpace
from hypergene.st.gene_lists import read_panel
from hypergene.st.normalise import log1p_cp10k

HER2ST_RULE = "her2st-rule"
"""Name of the rule by which the 785 genes of HisToGene, Hist2ST and others were picked."""
_OF_SECTION = 1000
# The published threshold: 1,000 of the 9,612 spots of 32 sections.
_DETECTED_SHARE = 1000 / 9612
_HEST_GENES, _HEST_SHARE = 50, 0.1


class PublishedGenes(NamedTuple):
    """Genes of a published list.

    Attributes
    ----------
    name
        Says the rule and how many there are.
    genes
        Named as in the prediction where it has them.
    notes
        Sentences for the report.
    """

    name: str
    genes: list[str]
    notes: tuple[str, ...]


def published_genes(
    data: EvaluationData,
    predicted: pd.DataFrame,
    *,
    genes_list: str | None,
    protocol: ProtocolName | None,
) -> PublishedGenes | None:
    """Return the list that is asked for, or that a protocol picks; None = neither.

    Parameters
    ----------
    data
        Scored and training samples: published rules pick genes on all of them.
    predicted
        Canonical ``var`` of the prediction.
    genes_list
        A file with one gene a line, or :data:`HER2ST_RULE`.
    protocol
        The published protocol, if any; HEST-Bench has genes of its own.

    Raises
    ------
    DataError
        A file that is no list, or a rule that leaves no gene.
    """
    if genes_list is None and protocol != "hest-bench":
        return None
    if genes_list not in (None, HER2ST_RULE):
        listed = read_panel(str(genes_list))
        known = {gene.casefold(): gene for gene in predicted.index}
        if "gene_ids" in predicted:
            known |= {
                str(identifier).casefold(): gene
                for gene, identifier in predicted["gene_ids"].items()
                if identifier
            }
        genes = list(dict.fromkeys(known.get(gene.casefold(), gene) for gene in listed))
        name = f"{Path(str(genes_list)).stem} (list, {len(genes):,} genes)"
        return PublishedGenes(name, genes, ())
    names = list(dict.fromkeys(sample.sample for sample in (*data.scored, *data.train)))
    space = GeneSpace.of({name: data.measured[name].var for name in names}, "intersection")
    if genes_list == HER2ST_RULE:
        chosen, what = _her2st(data, space, names), "HER2ST rule"
        note = (
            f"HER2ST rule: the {_OF_SECTION:,} genes that are among the {_OF_SECTION:,} of highest "
            "dispersion in most sections, detected in at least "
            f"{_DETECTED_SHARE:.1%} of all spots. The published 785 genes were picked by such a "
            "rule on 32 sections; how dispersion was measured and sections were joined is not "
            "published, so this is not their list."
        )
    else:
        chosen, what = _hest(data, space, names), "HEST-Bench rule"
        note = (
            f"HEST-Bench rule: the {_HEST_GENES} genes of highest dispersion over all samples, "
            "scored ones too, among those detected in 10 % of the spots of each."
        )
    if not len(chosen):
        raise DataError(
            f"The {what} leaves none of the {len(space.genes):,} genes of the samples.",
            hint="Give a file of genes with --genes-list.",
        )
    table = pd.DataFrame(index=list(space.genes))
    if space.gene_ids is not None:
        table["gene_ids"] = list(space.gene_ids)
    at = find_genes(predicted, table, "the samples")
    own = {int(column): str(predicted.index[row]) for row, column in enumerate(at) if column >= 0}
    genes = [own.get(int(gene), space.genes[gene]) for gene in chosen]
    return PublishedGenes(f"{what} ({len(genes):,} genes)", genes, (note,))


def _her2st(data: EvaluationData, space: GeneSpace, names: list[str]) -> NDArray[np.int64]:
    """Rank genes by how many sections they are highly variable in, then by mean dispersion."""
    sections: Counter[int] = Counter()
    total = np.zeros(len(space.genes))
    pooled: GeneMoments | None = None
    for name in names:
        expression = data.measured[name].expression(space.columns(name))
        cp10k = log1p_cp10k(expression.counts()).expm1()
        moments = GeneMoments.of(cp10k[:, expression.columns])
        dispersion = normalised_dispersion(*_mean_variance(moments))
        sections.update(by_dispersion(dispersion, _OF_SECTION).tolist())
        total += np.nan_to_num(dispersion)
        pooled = moments if pooled is None else pooled + moments
    assert pooled is not None
    count = np.array([sections[gene] for gene in range(len(space.genes))])
    most = np.lexsort((-total, -count))[:_OF_SECTION]
    often = expressed(pooled, min_share=_DETECTED_SHARE)
    return np.array([gene for gene in most if often[gene]], dtype=np.int64)


def _hest(data: EvaluationData, space: GeneSpace, names: list[str]) -> NDArray[np.int64]:
    """Pool raw counts of all samples; genes must be detected in a tenth of the spots of each."""
    among = np.ones(len(space.genes), bool)
    pooled: GeneMoments | None = None
    for name in names:
        expression = data.measured[name].expression(space.columns(name))
        moments = GeneMoments.of(expression.counts()[:, expression.columns])
        among &= expressed(moments, min_share=_HEST_SHARE)
        pooled = moments if pooled is None else pooled + moments
    assert pooled is not None
    candidates = np.flatnonzero(among)
    if not len(candidates):
        return candidates
    level, spread = _mean_variance(pooled)
    # Bins are of the genes that are left, as HEST-Bench takes them.
    dispersion = normalised_dispersion(level[candidates], spread[candidates])
    return candidates[by_dispersion(dispersion, _HEST_GENES)]


def _mean_variance(moments: GeneMoments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    spots = np.maximum(moments.spots, 2)
    return moments.total / spots, moments.variance * spots / (spots - 1)
