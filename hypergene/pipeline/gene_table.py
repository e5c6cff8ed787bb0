"""What a model knows of its genes: how far each may be trusted, and its spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hypergene.model.network import HyperGene
from hypergene.training.reliability import CLASSES, EMPIRICAL, reliability_classes


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
    symbols = np.asarray(config.genes, dtype=object)[genes]
    return pd.DataFrame(table, index=pd.Index(symbols))


def calibration_of(model: HyperGene) -> str:
    """Say what the spread was scaled by."""
    if model.config.held_out is not None:
        return model.config.held_out.calibration
    return EMPIRICAL if bool(model.heldout_pcc.isfinite().any()) else "none"
