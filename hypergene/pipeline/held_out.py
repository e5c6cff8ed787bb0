"""Scores of the samples that a training run held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from hypergene.model.network import HyperGene
from hypergene.output import atomic_path
from hypergene.training.assess import EncodedSection, GeneSets, score_section


def score_held_out(
    model: HyperGene,
    tested: Sequence[EncodedSection],
    sets: GeneSets,
    patients: set[str | None],
    out: Path,
    device: torch.device,
) -> pd.DataFrame | None:
    """Score held-out sections; write ``scores.csv`` and one table of genes a section.

    The column ``held_out`` says ``patient`` where nothing was learnt of a section's patient, and
    ``section`` where something was or nobody knows: such scores are optimistic.
    """
    if not tested:
        return None
    rows = []
    for encoded in tested:
        name, patient = encoded.section.name, encoded.section.patient
        apart = None not in {patient, *patients} and patient not in patients
        by_gene, by_set = score_section(model, encoded, model.config.genes, sets, device)
        _write_csv(by_gene.rename_axis("gene"), out / f"genes-{name}.csv")
        by_set["held_out"] = "patient" if apart else "section"
        rows.append(by_set.rename_axis("gene_set").reset_index().assign(sample=name))
    table = pd.concat(rows).set_index(["sample", "gene_set"])
    _write_csv(table, out / "scores.csv")
    return table


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path, overwrite=True) as draft:
        table.to_csv(draft)
