"""What validation says about every gene, and about the spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from hypergene.evaluation import noise_ceiling, pearson_per_gene
from hypergene.evaluation.bootstrap import (
    REPLICATES,
    average,
    bounds,
    draw_weights,
    spot_blocks,
)
from hypergene.evaluation.calibration import conformal_scale
from hypergene.evaluation.moments import BlockMoments
from hypergene.model.config import HeldOutConfig
from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection, predict_section

RELIABLE_ABOVE = 0.1
"""A gene is reliable if the lower end of its held-out correlation's 95 % interval is above this."""
CLASSES = ("A", "B", "C", "refuse")
_LEAST = {"A": (0.3, 0.5), "B": (RELIABLE_ABOVE, 0.25)}
ONE_SIGMA = 0.6827
EMPIRICAL = "empirical, spot-level"
_GENES_AT_ONCE = 1024
Floats = NDArray[np.float64]


@torch.no_grad()
def measure_reliability(
    model: HyperGene,
    held_out: Sequence[EncodedSection],
    device: torch.device,
    *,
    apart: bool = False,
    seed: int = 0,
) -> None:
    """Fill per-gene reliability and the scale of the spread from sections not trained on.

    ``heldout_pcc`` is the Pearson correlation over the spots of a section, averaged over the
    sections of a patient and over patients; ``held_out.low`` and ``.high`` bound its 95 % interval
    (patients and blocks of 1 mm of their spots are resampled, or the blocks alone where there is
    one patient); ``ceiling_pcc`` is the mean noise ceiling (binomial halves, Spearman-Brown); a
    gene is ``reliable`` if the lower end exceeds 0.1. ``spread_scale`` makes the predicted standard
    deviation cover 68.27 %: of the spots of a new patient, where enough patients are held out for
    :func:`hypergene.evaluation.calibration.conformal_scale` (three), else of these very spots.
    ``held_out.coverage_80`` is the share of the same spots within the 80 % interval afterwards.

    Parameters
    ----------
    model
        The model that was not trained on these sections; changed in place.
    held_out
        Encoded by this model.
    device
        Where it is.
    apart
        Whether nothing was trained on of these sections' patients, all of them known.
    seed
        Of the bootstrap.
    """
    genes = len(model.config.genes)
    ceiling: list[Floats] = []
    pearson, replicates, coverage, blocks = {}, {}, {}, {}
    errors: dict[str | None, list[NDArray[np.float32]]] = {}
    patients = {one.section.name: one.section.patient if apart else None for one in held_out}
    model.modules_to_genes.spread_scale.fill_(1.0)
    for encoded in held_out:
        section = encoded.section
        mean, spread = predict_section(model, encoded, device)
        truth, measured = section.expression.dense(), section.expression.measured
        columns = section.expression.columns[measured]
        ceiling.append(_at(measured, noise_ceiling(section.expression.counts(), columns, splits=4)))
        squares = spot_blocks(section.xy_um)
        blocks[section.name] = int(squares.max()) + 1
        pearson[section.name] = pearson_per_gene(truth, mean)
        pearson[section.name][~measured] = np.nan
        weights = draw_weights(blocks[section.name], REPLICATES, seed)
        replicates[section.name] = _resampled(truth, mean, measured, squares, weights)
        ratio = np.abs(truth - mean) / spread
        ratio[:, ~measured] = np.nan
        coverage[section.name] = ratio
        errors.setdefault(patients[section.name], []).append(ratio[:, measured].ravel())
    found = average(pearson, replicates, patients, blocks, seed=seed)
    low, high = np.full(genes, np.nan), np.full(genes, np.nan)
    if found.units > 1:
        low, high = bounds(found.value, found.replicates)
    scale, calibration = _spread_scale([np.concatenate(each) for each in errors.values()], apart)
    model.heldout_pcc.copy_(torch.from_numpy(found.value))
    model.ceiling_pcc.copy_(torch.from_numpy(_nan_mean(ceiling)))
    model.reliable.copy_(torch.from_numpy(low > RELIABLE_ABOVE))
    model.modules_to_genes.spread_scale.fill_(scale)
    level = found.level if found.units > 1 else "none"
    kept = model.add_held_out(
        HeldOutConfig(interval=level, units=found.units, calibration=calibration)
    )
    kept.low.copy_(torch.from_numpy(low))
    kept.high.copy_(torch.from_numpy(high))
    within = [_at_most(ratio, scale * float(norm.ppf(0.9))) for ratio in coverage.values()]
    kept.coverage_80.copy_(torch.from_numpy(_nan_mean(within)))


@torch.no_grad()
def copy_reliability(source: HyperGene, target: HyperGene) -> None:
    """Carry what was measured on the selecting model over to the one trained on everything."""
    if source is target:
        return
    for name in ("heldout_pcc", "ceiling_pcc", "reliable"):
        getattr(target, name).copy_(getattr(source, name))
    target.modules_to_genes.spread_scale.copy_(source.modules_to_genes.spread_scale)
    if source.held_out is not None and source.config.held_out is not None:
        kept = target.add_held_out(source.config.held_out)
        kept.load_state_dict(source.held_out.state_dict())


def reliability_classes(pcc: ArrayLike, low: ArrayLike, ceiling: ArrayLike) -> NDArray[np.str_]:
    """Sort genes by what may be read off their prediction.

    ``A``: the interval's lower end is above 0.3, and the correlation at least half of its ceiling;
    ``B``: above 0.1, and at least a quarter; ``C``: above 0, a trend at best; ``refuse``: not shown
    to be better than nothing, or never held out.

    Parameters
    ----------
    pcc, low, ceiling
        (genes,): held-out correlation, lower end of its 95 % interval, noise ceiling; NaN where
        unknown.

    Returns
    -------
    ndarray
        (genes,) text.
    """
    value, least, most = (np.asarray(each, np.float64) for each in (pcc, low, ceiling))
    share = np.divide(value, most, out=np.full(len(value), np.nan), where=most > 0)
    found = np.where(least > 0, "C", "refuse")
    for name in ("B", "A"):
        above, reached = _LEAST[name]
        found = np.where((least > above) & (share >= reached), name, found)
    return found


def _spread_scale(errors: Sequence[NDArray[np.float32]], apart: bool) -> tuple[float, str]:
    """Return by what the spread is multiplied, and what that rests on."""
    scale = conformal_scale(errors, ONE_SIGMA) if apart else np.inf
    if np.isfinite(scale):
        return scale, f"conformal by patient ({len(errors)} patients)"
    return float(np.quantile(np.concatenate(errors), ONE_SIGMA)), EMPIRICAL


def _resampled(
    truth: NDArray[np.float32],
    mean: NDArray[np.float32],
    measured: NDArray[np.bool_],
    blocks: NDArray[np.int64],
    weights: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Resample blocks of spots: (replicates, genes) of Pearson's correlation."""
    found = np.full((len(weights), len(measured)), np.nan, np.float32)
    known, level = np.flatnonzero(measured), np.zeros(len(truth))
    for start in range(0, len(known), _GENES_AT_ONCE):
        part = known[start : start + _GENES_AT_ONCE]
        moments = BlockMoments(truth[:, part], mean[:, part], level, blocks)
        found[:, part] = moments.metrics(weights)["pearson"]
    return found


def _at_most(ratio: NDArray[np.float32], bound: float) -> Floats:
    """Share of spots within a bound, by gene; NaN where a gene was not measured."""
    within: Floats = (ratio <= bound).mean(axis=0)
    return np.where(np.isnan(ratio).any(axis=0), np.nan, within)


def fit_reference(model: HyperGene, encoded: Sequence[EncodedSection]) -> None:
    """Remember what the training tissue looks like: features before slide-centring, and dyes."""
    raw = [one.context.features + one.context.mean for one in encoded]
    model.reference.fit(torch.from_numpy(np.concatenate(raw)))
    stains = [one.section.stains for one in encoded if one.section.stains is not None]
    if stains:
        model.add_stains(torch.from_numpy(np.stack(stains)))


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
