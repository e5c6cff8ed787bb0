"""What a model knows of its genes: how far each may be trusted, and its spread."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hypergene.evaluation.classes import CLASSES, READABLE, reliability_classes
from hypergene.evaluation.scales import NOWHERE, RINGS_PITCH
from hypergene.model.held_out import AtScales
from hypergene.model.network import HyperGene
from hypergene.training.reliability import EMPIRICAL
from hypergene.training.scales import COARSE


def gene_table(model: HyperGene, genes: NDArray[np.int64]) -> pd.DataFrame:
    """Return the canonical ``var``: what is known of each gene, indexed by symbol."""
    config = model.config
    table: dict[str, Any] = {}
    if config.gene_ids is not None:
        table["gene_ids"] = np.asarray(config.gene_ids, dtype=object)[genes]
    for name in ("heldout_pcc", "ceiling_pcc", "reliable"):
        table[name] = getattr(model, name).cpu().numpy()[genes]
    if model.held_out is not None:
        kept = model.held_out
        table["heldout_low"] = kept.low.cpu().numpy()[genes]
        table["heldout_high"] = kept.high.cpu().numpy()[genes]
        table["coverage_80"] = kept.coverage_80.cpu().numpy()[genes]
        classes = reliability_classes(
            table["heldout_pcc"], table["heldout_low"], table["ceiling_pcc"]
        )
        table["reliability"] = pd.Categorical(classes, categories=CLASSES, ordered=True)
        if kept.coarse is not None:
            table |= _coarse(kept.coarse, genes)
            at = readable_at(model, "gene")[genes]
            table["readable_at"] = pd.Categorical(at, categories=[*RINGS_PITCH, NOWHERE])
    symbols = np.asarray(config.genes, dtype=object)[genes]
    return pd.DataFrame(table, index=pd.Index(symbols))


def readable_at(model: HyperGene, kind: Literal["gene", "module"]) -> NDArray[np.str_]:
    """Return the finest scale at which each gene or module is of class A or B, or ``"none"``.

    Raises
    ------
    ValueError
        The model was measured at single spots only.
    """
    kept = model.held_out
    if kept is None or kept.coarse is None or kept.modules_at is None:
        raise ValueError("the model has no reliability at scales")
    if kind == "module":
        measured = [kept.modules_at.pearson, kept.modules_at.low, kept.modules_at.ceiling]
    else:
        spots = (model.heldout_pcc, kept.low, model.ceiling_pcc)
        rings = (kept.coarse.pearson, kept.coarse.low, kept.coarse.ceiling)
        measured = [torch.cat([at[None], more]) for at, more in zip(spots, rings, strict=True)]
    pcc, low, ceiling = (each.cpu().numpy() for each in measured)
    found = np.full(pcc.shape[1], NOWHERE, dtype="U8")
    for number, scale in reversed(list(enumerate(RINGS_PITCH))):
        classes = reliability_classes(pcc[number], low[number], ceiling[number])
        found[np.isin(classes, READABLE)] = scale
    return found


def _coarse(kept: AtScales, genes: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Lay out reliability at coarser scales as columns, such as ``heldout_pcc_1_ring``."""
    columns = {}
    for number, scale in enumerate(COARSE):
        for column, values in (
            ("heldout_pcc", kept.pearson),
            ("heldout_low", kept.low),
            ("heldout_high", kept.high),
            ("ceiling_pcc", kept.ceiling),
        ):
            columns[f"{column}_{scale.replace(' ', '_')}"] = values[number].cpu().numpy()[genes]
    return columns


def calibration_of(model: HyperGene) -> str:
    """Say what the spread was scaled by."""
    if model.config.held_out is not None:
        return model.config.held_out.calibration
    return EMPIRICAL if bool(model.heldout_pcc.isfinite().any()) else "none"
