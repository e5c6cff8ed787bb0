"""What validation says about every gene, and about the spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.evaluation import noise_ceiling, pearson_per_gene
from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection, predict_section

RELIABLE_ABOVE = 0.1
"""A gene is reliable if the lower end of its held-out correlation's 95 % interval is above this."""
ONE_SIGMA = 0.6827


@torch.no_grad()
def measure_reliability(
    model: HyperGene, held_out: Sequence[EncodedSection], device: torch.device
) -> None:
    """Fill per-gene reliability and the scale of the spread from sections not trained on.

    ``heldout_pcc`` is the mean over sections of the Pearson correlation over spots, ``ceiling_pcc``
    the mean noise ceiling (binomial halves, Spearman-Brown); a gene is ``reliable`` if the lower
    end of its 95 % interval (Fisher's z over all held-out spots) exceeds 0.1. ``spread_scale``
    makes the predicted standard deviation cover 68.27 % of the held-out values: empirical, at the
    level of spots.

    Parameters
    ----------
    model
        The model that was not trained on these sections; changed in place.
    held_out
        Encoded by this model.
    """
    pearson, ceiling, errors = [], [], []
    model.modules_to_genes.spread_scale.fill_(1.0)
    for encoded in held_out:
        section = encoded.section
        mean, spread = predict_section(model, encoded, device)
        truth, measured = section.expression.dense(), section.expression.measured
        pearson.append(_at(measured, pearson_per_gene(truth, mean)[measured]))
        columns = section.expression.columns[measured]
        ceiling.append(_at(measured, noise_ceiling(section.expression.counts(), columns, splits=4)))
        errors.append((np.abs(truth - mean) / spread)[:, measured].ravel())
    spots = sum(len(encoded.section) for encoded in held_out)
    pcc = _nan_mean(pearson)
    lower = np.tanh(np.arctanh(pcc.clip(-0.999, 0.999)) - 1.96 / np.sqrt(max(spots - 3, 1)))
    model.heldout_pcc.copy_(torch.from_numpy(pcc))
    model.ceiling_pcc.copy_(torch.from_numpy(_nan_mean(ceiling)))
    model.reliable.copy_(torch.from_numpy(lower > RELIABLE_ABOVE))
    scale = np.quantile(np.concatenate(errors), ONE_SIGMA)
    model.modules_to_genes.spread_scale.fill_(float(scale))


@torch.no_grad()
def copy_reliability(source: HyperGene, target: HyperGene) -> None:
    """Carry what was measured on the selecting model over to the one trained on everything."""
    for name in ("heldout_pcc", "ceiling_pcc", "reliable"):
        getattr(target, name).copy_(getattr(source, name))
    target.modules_to_genes.spread_scale.copy_(source.modules_to_genes.spread_scale)


def fit_reference(model: HyperGene, encoded: Sequence[EncodedSection]) -> None:
    """Remember what the training tissue looks like (features before slide-centring)."""
    raw = [one.context.features + one.context.mean for one in encoded]
    model.reference.fit(torch.from_numpy(np.concatenate(raw)))


def _at(mask: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    full = np.full(len(mask), np.nan)
    full[mask] = values
    return full


def _nan_mean(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over rows of the finite entries; NaN where there is none."""
    table = np.stack(rows)
    known = np.isfinite(table)
    total = np.where(known, table, 0.0).sum(0)
    count = known.sum(0)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
