"""The score of one prediction of one slide, and its bootstrap over blocks of spots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hypergene.evaluation.bootstrap import REPLICATES, bounds, draw_weights, spot_blocks
from hypergene.evaluation.calibration import CURVE, LEVELS, coverage, expected_calibration_error
from hypergene.evaluation.ceiling import noise_ceiling
from hypergene.evaluation.metrics import METRICS, SCALED, score_slide, summarise
from hypergene.evaluation.moments import BlockMoments
from hypergene.evaluation.optimism import HeldOut
from hypergene.st.normalise import log1p_cp10k

Floats = npt.NDArray[np.float64]

CEILING_SPLITS = 4
_GENES_AT_ONCE = 1024
COVERED = tuple(f"coverage_{round(100 * level)}" for level in LEVELS)
TABLED = (*METRICS, "ceiling", "pearson_over_ceiling", *COVERED, "ece")
"""Columns of figures in the tables of slides and of sets."""


@dataclass(frozen=True, eq=False)
class MeasuredSlide:
    """What was measured on one slide.

    Attributes
    ----------
    name, patient
        The sample, and whose it is.
    xy_um
        float64 (n, 2), spot centres in µm.
    genes
        Unique names of the genes scored.
    log
        float32 (n, genes), unsmoothed log1p CP10k over all genes measured.
    counts
        Integer CSR (n, all genes measured).
    columns
        int64 (genes,): where the genes are in `counts`.
    held_out
        What of this sample was kept out of training.
    gene_sets
        Its own sets, name -> genes, where each fold chooses them on its training samples.
    note
        What must be said beside every figure of it, such as that a published protocol made `log`
        (:mod:`hypergene.evaluation.protocols`).
    normalise, kernel
        What made `log` of `counts`: a function of counts over all genes, CSR of both; and a matrix
        (n, n) that averages spots afterwards, None = single spots. The noise ceiling is of that.
    """

    name: str
    patient: str | None
    xy_um: Floats
    genes: tuple[str, ...]
    log: npt.NDArray[np.float32]
    counts: sparse.csr_matrix
    columns: npt.NDArray[np.int64]
    held_out: HeldOut = "unknown"
    gene_sets: Mapping[str, Sequence[str]] | None = None
    note: str = ""
    normalise: Callable[[sparse.csr_matrix], sparse.csr_matrix] = log1p_cp10k
    kernel: sparse.csr_matrix | None = None

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.xy_um)

    @property
    def log_depth(self) -> Floats:
        """Log of the total counts of each spot over all genes, float64 (n,)."""
        totals = np.asarray(self.counts.sum(axis=1), dtype=np.float64).ravel()
        return np.log(np.maximum(totals, 1.0))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one method says of one slide.

    Attributes
    ----------
    mean
        (n, genes), log1p CP10k, or in other units if not `scaled`.
    std
        (n, genes), predicted standard deviation of a measured value; None = the method has none.
    columns
        int64 (genes,): which of the slide's genes these are; None = all.
    scaled
        Whether the units are those of the truth; if not, only correlations are reported.
    note
        What must be said beside its figures, such as that it is an oracle.
    held_out
        What of the slide was kept out of this method's training, where that is not the slide's own
        ``held_out``: a control may be fitted on other samples than the method it stands beside.
    """

    mean: npt.ArrayLike
    std: npt.ArrayLike | None = None
    columns: npt.NDArray[np.int64] | None = None
    scaled: bool = True
    note: str = ""
    held_out: HeldOut | None = None


@dataclass(frozen=True, eq=False)
class SlideScores:
    """One method on one slide.

    Attributes
    ----------
    slide, patient, held_out, spots, blocks
        Whose figures these are; spots scored; blocks of 1 mm that were resampled.
    own_held_out, note
        Of the prediction; and what is said of the slide.
    by_gene
        Index gene: all metrics, ``pearson_low``, ``pearson_high`` (spot-block bootstrap; of genes
        in a set only), ceiling, pearson_over_ceiling, coverage.
    by_set
        Index gene set: as :func:`summarise` gives it, with the means of ceiling, coverage ...
    replicates
        Gene set -> float64 (replicates, metrics) of its means, in the order of ``METRICS``.
    gene_replicates
        float32 (replicates, genes of the sets): Pearson's correlation.
    set_genes
        Their names.
    curves
        Gene set -> (levels of ``CURVE``,) coverage; empty without a spread.
    """

    slide: str
    patient: str | None
    held_out: HeldOut
    own_held_out: HeldOut
    note: str
    spots: int
    blocks: int
    by_gene: pd.DataFrame
    by_set: pd.DataFrame
    replicates: Mapping[str, Floats]
    gene_replicates: npt.NDArray[np.float32]
    set_genes: tuple[str, ...]
    curves: Mapping[str, Floats]


def ceilings(slide: MeasuredSlide, *, seed: int = 0) -> Floats:
    """Return the noise ceiling of a slide's genes, float64 (genes,)."""
    return noise_ceiling(
        slide.counts,
        slide.columns,
        splits=CEILING_SPLITS,
        seed=seed,
        normalise=slide.normalise,
        read=None if slide.kernel is None else slide.kernel.__matmul__,
    )


def score_prediction(
    slide: MeasuredSlide,
    prediction: Prediction,
    gene_sets: Mapping[str, Sequence[str]],
    ceiling: Floats,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> SlideScores:
    """Score one prediction of one slide.

    Parameters
    ----------
    slide
        What was measured.
    prediction
        What is scored.
    gene_sets
        Name -> genes.
    ceiling
        From :func:`ceilings`.
    replicates
        Of the bootstrap over blocks of spots.
    seed
        Of its draws; the same for all methods, so that their differences are paired.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    columns = np.arange(len(slide.genes)) if prediction.columns is None else prediction.columns
    genes = pd.Index(np.asarray(slide.genes, dtype=object)[columns])
    truth, mean = slide.log[:, columns], np.asarray(prediction.mean)
    std = None if prediction.std is None else np.asarray(prediction.std)
    by_gene = score_slide(truth, mean, genes.tolist(), slide.log_depth)
    if not prediction.scaled:
        by_gene[list(SCALED)] = np.nan
    by_gene["ceiling"] = ceiling[columns]
    by_gene["pearson_over_ceiling"] = by_gene["pearson"] / by_gene["ceiling"].where(
        by_gene["ceiling"] > 0
    )
    curve = None if std is None or not prediction.scaled else coverage(truth, mean, std)
    _add_coverage(by_gene, curve)

    at = {
        name: genes.get_indexer(pd.Index(list(members), dtype=object))
        for name, members in gene_sets.items()
    }
    at = {name: places[places >= 0] for name, places in at.items()}
    chosen = np.unique(np.concatenate([*at.values(), np.empty(0, np.intp)])).astype(np.intp)
    blocks = spot_blocks(slide.xy_um)
    weights = draw_weights(int(blocks.max()) + 1, replicates, seed)
    members = np.stack([np.isin(chosen, places) for places in at.values()], axis=1)
    pearson, means = _replicates(
        truth[:, chosen], mean[:, chosen], slide.log_depth, blocks, weights, members
    )
    if not prediction.scaled:
        means[:, :, [METRICS.index(name) for name in SCALED]] = np.nan
    value = by_gene["pearson"].fillna(0.0).to_numpy()[chosen]
    low, high = bounds(value, pearson) if weights.shape[1] > 1 else (np.nan, np.nan)
    for name, values in (("pearson_low", low), ("pearson_high", high)):
        by_gene[name] = pd.Series(values, index=genes[chosen]).reindex(genes)
    by_set, curves = _by_set(by_gene, gene_sets, at, curve)
    return SlideScores(
        slide=slide.name,
        patient=slide.patient,
        held_out=slide.held_out,
        own_held_out=prediction.held_out or slide.held_out,
        note="; ".join(said for said in (slide.note, prediction.note) if said),
        spots=len(slide),
        blocks=weights.shape[1],
        by_gene=by_gene,
        by_set=by_set,
        replicates=dict(zip(gene_sets, means, strict=True)),
        gene_replicates=pearson,
        set_genes=tuple(genes[chosen]),
        curves=curves,
    )


def _add_coverage(by_gene: pd.DataFrame, curve: Floats | None) -> None:
    for column, level in zip(COVERED, LEVELS, strict=True):
        by_gene[column] = np.nan if curve is None else curve[CURVE.index(level)]
    by_gene["ece"] = np.nan if curve is None else expected_calibration_error(curve)


def _by_set(
    by_gene: pd.DataFrame,
    gene_sets: Mapping[str, Sequence[str]],
    at: Mapping[str, npt.NDArray[np.intp]],
    curve: Floats | None,
) -> tuple[pd.DataFrame, dict[str, Floats]]:
    """Average over gene sets; return the table, and the coverage curve of each set."""
    by_set, curves = summarise(by_gene, gene_sets), {}
    by_set["ceiling"] = [by_gene["ceiling"].iloc[at[name]].mean() for name in gene_sets]
    by_set["pearson_over_ceiling"] = by_set["pearson"] / by_set["ceiling"]
    for name in gene_sets:
        covered = np.full(len(CURVE), np.nan)
        if curve is not None and len(at[name]):
            covered = curves[name] = curve[:, at[name]].mean(axis=1)
        for column, level in zip(COVERED, LEVELS, strict=True):
            by_set.loc[name, column] = covered[CURVE.index(level)]
        by_set.loc[name, "ece"] = float(expected_calibration_error(covered))
    return by_set, curves


def _replicates(
    truth: npt.NDArray[np.floating],
    mean: npt.NDArray[np.floating],
    log_depth: Floats,
    blocks: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int64],
    members: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Resample blocks, some genes at a time.

    `members` (genes, sets) says which genes are in which set. Returns Pearson's correlation of the
    genes, (replicates, genes), and means over each set, (sets, replicates, metrics).
    """
    pearson = np.empty((len(weights), truth.shape[1]), np.float32)
    shape = (members.shape[1], len(weights), len(METRICS))
    total, count = np.zeros(shape), np.zeros(shape)
    for start in range(0, truth.shape[1], _GENES_AT_ONCE):
        part = slice(start, start + _GENES_AT_ONCE)
        moments = BlockMoments(truth[:, part], mean[:, part], log_depth, blocks)
        within = members[part].astype(np.float64)
        for row, (name, values) in enumerate(moments.metrics(weights).items()):
            known = np.isfinite(values)
            total[:, :, row] += (np.where(known, values, 0.0) @ within).T
            count[:, :, row] += (known @ within).T
            if name == "pearson":
                pearson[:, part] = values
    return pearson, np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
