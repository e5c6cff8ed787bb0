"""What validation says about every gene, and about the spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from hypergene.evaluation import noise_ceiling, pearson_per_gene
from hypergene.evaluation.bootstrap import (
    REPLICATES,
    average,
    bounds,
    draw_weights,
    spot_blocks,
)
from hypergene.evaluation.calibration import conformal_scale
from hypergene.evaluation.classes import RELIABLE_ABOVE
from hypergene.evaluation.moments import BlockMoments
from hypergene.model.config import HeldOutConfig
from hypergene.model.network import HyperGene
from hypergene.model.reference import QUANTILES, Reference
from hypergene.training.assess import EncodedSection, predict_section
from hypergene.training.scales import COARSE, measure_scales

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
    What coarser scales and gene modules are worth is measured by
    :func:`hypergene.training.scales.measure_scales`.

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
        HeldOutConfig(
            interval=level,
            units=found.units,
            calibration=calibration,
            scales=tuple(COARSE),
        )
    )
    kept.low.copy_(torch.from_numpy(low))
    kept.high.copy_(torch.from_numpy(high))
    within = [_at_most(ratio, scale * float(norm.ppf(0.9))) for ratio in coverage.values()]
    kept.coverage_80.copy_(torch.from_numpy(_nan_mean(within)))
    measure_scales(model, held_out, device, apart=apart, seed=seed)


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
    """Remember what the training tissue looks like: features before centring, dyes, spectra."""
    model.reference.fit(_raw(encoded))
    stains = [one.section.stains for one in encoded if one.section.stains is not None]
    if stains:
        model.add_stains(torch.from_numpy(np.stack(stains)))
    spectra = [one.section.spectrum for one in encoded if one.section.spectrum is not None]
    if spectra:
        model.add_spectra(torch.from_numpy(np.stack(spectra)))


def held_out_ratios(
    model: HyperGene, trained: Sequence[EncodedSection], held_out: Sequence[EncodedSection]
) -> Tensor:
    """Tell how much farther held-out spots lie from the training tissue than its own do.

    Parameters
    ----------
    model
        That was trained on the first sections and not on the others; its reference is left alone.
    trained, held_out
        Encoded by this model.

    Returns
    -------
    Tensor
        (QUANTILES,) float32, quantiles of :meth:`hypergene.model.reference.Reference.ratios` over
        held-out spots, in which every section counts alike.
    """
    reference = Reference(model.encoder.features)
    reference.fit(_raw(trained))
    steps = torch.linspace(0, 1, QUANTILES)
    sections = [torch.quantile(reference.ratios(_raw([one])), steps) for one in held_out]
    return torch.quantile(torch.cat(sections), steps)


def hold_out_reference(
    model: HyperGene, ratios: Tensor, level: Literal["patient", "section"]
) -> None:
    """Make ``ood_score`` a percentile of held-out distances, see :func:`held_out_ratios`."""
    if model.config.held_out is None:
        raise ValueError("nothing was held out of this model")
    how = model.config.held_out.model_copy(update={"distances": level})
    model.config = model.config.model_copy(update={"held_out": how})
    model.reference.hold(ratios)


def _raw(encoded: Sequence[EncodedSection]) -> Tensor:
    raw = [one.context.features + one.context.mean for one in encoded]
    return torch.from_numpy(np.concatenate(raw))


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
