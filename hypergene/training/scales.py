"""What held-out samples say of means over neighbours, and of gene modules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hypergene.evaluation import MeasuredSlide, Prediction
from hypergene.evaluation.scales import (
    RINGS_PITCH,
    ScaleScores,
    Units,
    scale_table,
    score_scales,
)
from hypergene.model.held_out import AtScales
from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection, predict_section

SPOT, *COARSE = RINGS_PITCH
"""Single spots, and the coarser scales."""


def module_units(loadings: NDArray[np.floating], known: NDArray[np.bool_]) -> Units:
    """Return module scores as weighted sums of the genes that were measured.

    Parameters
    ----------
    loadings
        (modules, genes); modules that load on no measured gene are left out.
    known
        (genes,) which were measured.
    """
    loadings = loadings.astype(np.float64)[:, known]
    filled = np.flatnonzero(np.abs(loadings).sum(axis=1) > 0)
    weights = np.linalg.pinv(loadings[filled], rcond=1e-9)
    return Units("module", tuple(module_name(int(number)) for number in filled), weights)


def module_name(number: int) -> str:
    """Return what a module is called in tables."""
    return f"module {number}"


@torch.no_grad()
def measure_scales(
    model: HyperGene,
    held_out: Sequence[EncodedSection],
    device: torch.device,
    *,
    apart: bool,
    seed: int = 0,
) -> None:
    """Fill ``held_out.coarse`` and ``held_out.modules_at`` from sections not trained on.

    Genes are averaged over 1 and 2 rings of neighbours, module scores are taken spot by spot and
    averaged likewise; truth, prediction and noise ceiling are averaged alike.

    Parameters
    ----------
    model
        The model that was not trained on these sections, with room for scales; changed in place.
    held_out
        Encoded by this model.
    device
        Where it is.
    apart
        Whether nothing was trained on of these sections' patients, all of them known.
    seed
        Of the bootstrap.
    """
    kept = model.held_out
    if kept is None or kept.coarse is None or kept.modules_at is None:
        raise ValueError("the model has no room for reliability at scales")
    config, genes = model.config, np.asarray(model.config.genes, dtype=object)
    loadings = model.modules_to_genes.loadings.cpu().numpy()
    scores: list[ScaleScores] = []
    for encoded in held_out:
        section, known = encoded.section, encoded.section.expression.measured
        mean, _ = predict_section(model, encoded, device)
        slide = MeasuredSlide(
            name=section.name,
            patient=section.patient if apart else None,
            xy_um=section.xy_um,
            genes=tuple(genes[known]),
            log=section.expression.dense()[:, known],
            counts=section.expression.counts(),
            columns=section.expression.columns[known],
        )
        for units, scales in (
            (Units.of_genes(slide.genes, slide.genes), COARSE),
            (module_units(loadings, known), [SPOT, *COARSE]),
        ):
            scores += score_scales(
                slide,
                Prediction(mean[:, known]),
                [units],
                config.layout.pitch_um,
                scales=scales,
                seed=seed,
            )
    table = scale_table(scores, seed=seed)
    _fill(kept.coarse, table[table["kind"] == "gene"], config.genes, COARSE)
    names = [module_name(number) for number in range(config.head.modules)]
    _fill(kept.modules_at, table[table["kind"] == "module"], names, [SPOT, *COARSE])


def _fill(
    target: AtScales, table: pd.DataFrame, units: Sequence[str], scales: Sequence[str]
) -> None:
    for name, values in target.named_buffers():
        wide = table.pivot(index="scale", columns="unit", values=name)
        # A copy: pandas 3 lends its own memory for reading alone, and torch wants to write.
        found = wide.reindex(index=list(scales), columns=list(units)).to_numpy(np.float32).copy()
        values.copy_(torch.from_numpy(found))
