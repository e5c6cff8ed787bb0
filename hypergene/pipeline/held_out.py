"""Scores of the samples that a training run held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from hypergene.model.network import HyperGene
from hypergene.output import atomic_path
from hypergene.pipeline.evaluation.held_out import Standing
from hypergene.training.assess import EncodedSection, GeneSets, score_section


def score_held_out(
    model: HyperGene,
    tested: Sequence[EncodedSection],
    sets: GeneSets,
    standings: Mapping[str, Standing],
    out: Path,
    device: torch.device,
) -> pd.DataFrame | None:
    """Score held-out sections; write ``scores.csv`` and one table of genes a section.

    The column ``held_out`` says how each section stands to what was trained on, by the rule of
    :func:`hypergene.pipeline.evaluation.held_out.standings`: but for ``patient``, scores are
    optimistic.
    """
    if not tested:
        return None
    rows = []
    for encoded in tested:
        name = encoded.section.name
        by_gene, by_set = score_section(model, encoded, model.config.genes, sets, device)
        _write_csv(by_gene.rename_axis("gene"), out / f"genes-{name}.csv")
        by_set["held_out"] = standings[name].held_out
        rows.append(by_set.rename_axis("gene_set").reset_index().assign(sample=name))
    table = pd.concat(rows).set_index(["sample", "gene_set"])
    _write_csv(table, out / "scores.csv")
    return table


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path, overwrite=True) as draft:
        table.to_csv(draft)
