"""Metrics per gene over the spots of one slide, and their summary over sets of genes.

Arrays are (spots, genes) in natural log1p CP10k; results are float64 (genes,). NaN says that a
number is not defined for a gene; :func:`summarise` counts those genes and never drops them unsaid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]

# A spread below this share of the largest value is rounding of float32, not variance.
_ROUNDING = 1e-6
# Variance of log1p CP10k below which a ratio of variances says nothing (0.1 squared).
VARIANCE_FLOOR = 0.01
_GENES_AT_ONCE = 1024

CORRELATIONS = ("pearson", "spearman", "pearson_beyond_depth", "spearman_beyond_depth")
SCALED = ("mse", "mae", "r2", "variance_distance", "mse_beyond_depth")
METRICS = (*CORRELATIONS, *SCALED)
"""All metrics; those of ``SCALED`` mean something only if both sides have the same units."""

COUNTS = ("genes", "genes_missing", "truth_constant", "prediction_constant")
"""Columns of :func:`summarise` that say how many genes a mean is of, and of how many it is not."""


def pearson_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Pearson correlation of each gene over spots.

    Parameters
    ----------
    truth, prediction
        Shape (spots, genes).

    Returns
    -------
    ndarray
        float64 (genes,), in [-1, 1]; NaN where either side has no variance.

    Raises
    ------
    ValueError
        If the shapes differ, are not two-dimensional, hold no spots, or values are not finite.
    """
    a, b = _pair(truth, prediction)
    return _correlate(_centred(a), _centred(b))


def spearman_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Spearman correlation of each gene over spots: Pearson of the ranks, ties sharing theirs.

    Parameters, result and errors as in :func:`pearson_per_gene`.
    """
    a, b = _pair(truth, prediction)
    constant = ~(_varies(a) & _varies(b))
    correlation = _correlate(_centred(rankdata(a, axis=0)), _centred(rankdata(b, axis=0)))
    correlation[constant] = np.nan
    return correlation


def partial_pearson_per_gene(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, log_depth: npt.ArrayLike
) -> Floats:
    """Pearson correlation over spots with the spots' log depth partialled out of both sides.

    The correlation of the residuals of ``truth ~ 1 + log_depth`` and of
    ``prediction ~ 1 + log_depth``: what a prediction knows beyond how much was sequenced where.

    Parameters
    ----------
    truth, prediction
        Shape (spots, genes).
    log_depth
        Log of the total counts of each spot over all genes, shape (spots,).

    Returns
    -------
    ndarray
        float64 (genes,); NaN where either side has no variance left.

    Raises
    ------
    ValueError
        As in :func:`pearson_per_gene`, or if `log_depth` has another length or is not finite.
    """
    a, b = _pair(truth, prediction)
    depth = _direction(log_depth, len(a))
    return _correlate(_beyond(_centred(a), depth), _beyond(_centred(b), depth))


def partial_spearman_per_gene(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, log_depth: npt.ArrayLike
) -> Floats:
    """Spearman correlation with the spots' depth partialled out: all three as ranks.

    Parameters, result and errors as in :func:`partial_pearson_per_gene`.
    """
    a, b = _pair(truth, prediction)
    depth = _direction(rankdata(_checked_depth(log_depth, len(a))), len(a))
    constant = ~(_varies(a) & _varies(b))
    ranks = (_beyond(_centred(rankdata(side, axis=0)), depth) for side in (a, b))
    correlation = _correlate(*ranks)
    correlation[constant] = np.nan
    return correlation


def partial_mse_per_gene(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, log_depth: npt.ArrayLike
) -> Floats:
    """Mean squared error of each gene after the error's own trend with log depth is taken off.

    The mean square of the residuals of ``truth - prediction ~ 1 + log_depth``: the error that is
    neither one of level nor one of depth. Parameters and errors as in
    :func:`partial_pearson_per_gene`.
    """
    a, b = _pair(truth, prediction)
    error = a - b
    rest = _beyond(error - error.mean(axis=0), _direction(log_depth, len(a)))
    return np.mean(rest**2, axis=0)


def mse_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Mean squared error of each gene; parameters and errors as in :func:`pearson_per_gene`."""
    a, b = _pair(truth, prediction)
    return np.mean((a - b) ** 2, axis=0)


def mae_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Mean absolute error of each gene; parameters and errors as in :func:`pearson_per_gene`."""
    a, b = _pair(truth, prediction)
    return np.mean(np.abs(a - b), axis=0)


def r2_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Coefficient of determination, 1 - SSE / SST, about the mean of the truth on this slide.

    Parameters and errors as in :func:`pearson_per_gene`.

    Returns
    -------
    ndarray
        float64 (genes,), at most 1; NaN where the truth has no variance.
    """
    a, b = _pair(truth, prediction)
    total = np.sum(_centred(a) ** 2, axis=0)
    error = np.sum((a - b) ** 2, axis=0)
    return 1 - np.divide(error, total, out=np.full(len(total), np.nan), where=total > 0)


def variance_distance_per_gene(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Floats:
    """Relative variance distance with a floor, ``(vp - vt)^2 / max(vt, 0.01)^2``.

    0 where the prediction varies as much as the truth, 1 where it is flat. The floor keeps genes
    that hardly vary from ruling the mean.

    Parameters, result and errors as in :func:`mse_per_gene`.
    """
    a, b = _pair(truth, prediction)
    variance = a.var(axis=0)
    return (b.var(axis=0) - variance) ** 2 / np.maximum(variance, VARIANCE_FLOOR) ** 2


def score_slide(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    genes: Sequence[str],
    log_depth: npt.ArrayLike,
) -> pd.DataFrame:
    """Compute every metric for every gene of one slide.

    Parameters
    ----------
    truth, prediction
        Shape (spots, genes), unsmoothed log1p CP10k.
    genes
        Their names, unique.
    log_depth
        Log of the total counts of each spot over all genes, shape (spots,).

    Returns
    -------
    pandas.DataFrame
        Index `genes`; the columns of ``METRICS`` (those that end in ``_beyond_depth`` have the log
        depth partialled out), and ``truth_varies`` and ``prediction_varies`` (bool).

    Raises
    ------
    ValueError
        As in :func:`partial_pearson_per_gene`, or if `genes` do not fit or are not unique.
    """
    a, b = _pair(truth, prediction)
    index = pd.Index(genes)
    if len(index) != a.shape[1] or not index.is_unique:
        raise ValueError(f"{a.shape[1]} columns need as many unique gene names, not {len(index)}")
    parts = []
    for start in range(0, a.shape[1], _GENES_AT_ONCE):
        t, p = a[:, start : start + _GENES_AT_ONCE], b[:, start : start + _GENES_AT_ONCE]
        parts.append(
            pd.DataFrame(
                {
                    "pearson": pearson_per_gene(t, p),
                    "spearman": spearman_per_gene(t, p),
                    "pearson_beyond_depth": partial_pearson_per_gene(t, p, log_depth),
                    "spearman_beyond_depth": partial_spearman_per_gene(t, p, log_depth),
                    "mse": mse_per_gene(t, p),
                    "mae": mae_per_gene(t, p),
                    "r2": r2_per_gene(t, p),
                    "variance_distance": variance_distance_per_gene(t, p),
                    "mse_beyond_depth": partial_mse_per_gene(t, p, log_depth),
                    "truth_varies": _varies(t),
                    "prediction_varies": _varies(p),
                }
            )
        )
    return pd.concat(parts).set_axis(index, axis=0)


def summarise(scores: pd.DataFrame, gene_sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Average the metrics of one slide over sets of genes.

    A gene that varies in the truth but not in the prediction has no correlation; it counts as 0,
    since a model must not gain by staying silent on genes it cannot predict. A gene that does not
    vary in the truth has neither a correlation nor R2 and is left out of those means, and counted.

    Parameters
    ----------
    scores
        From :func:`score_slide`.
    gene_sets
        Name -> genes, chosen from training spots.

    Returns
    -------
    pandas.DataFrame
        A row a set; columns ``genes`` (in the set), ``genes_missing`` (not scored on this slide),
        ``truth_constant``, ``prediction_constant`` (how many have no variance), and the means of
        ``METRICS`` (NaN if no gene is left).
    """
    correlations = list(CORRELATIONS)
    filled = scores.copy()
    silent = filled[correlations].isna() & filled[["truth_varies"]].to_numpy()
    filled[correlations] = filled[correlations].mask(silent, 0.0)
    rows = {}
    for name, genes in gene_sets.items():
        found = filled.loc[filled.index.intersection(pd.Index(list(genes), dtype=object))]
        rows[name] = {
            "genes": len(genes),
            "genes_missing": len(genes) - len(found),
            "truth_constant": int((~found["truth_varies"]).sum()),
            "prediction_constant": int((~found["prediction_varies"]).sum()),
            **found[list(METRICS)].mean().to_dict(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _pair(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> tuple[Floats, Floats]:
    a = np.asarray(truth, dtype=np.float64)
    b = np.asarray(prediction, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"truth {a.shape} and prediction {b.shape} must be one (spots, genes)")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("truth and prediction must be finite")
    return a, b


def _checked_depth(log_depth: npt.ArrayLike, spots: int) -> Floats:
    depth = np.asarray(log_depth, dtype=np.float64)
    if depth.shape != (spots,) or not np.isfinite(depth).all():
        raise ValueError(f"log_depth must be finite and of shape ({spots},), is {depth.shape}")
    return depth


def _direction(log_depth: npt.ArrayLike, spots: int) -> Floats:
    """Return the centred depth at length 1; zero if it does not vary."""
    depth = _centred(_checked_depth(log_depth, spots)[:, None])[:, 0]
    norm = np.linalg.norm(depth)
    return depth / norm if norm else depth


def _beyond(centred: Floats, direction: Floats) -> Floats:
    """Take the direction out of centred columns; what it explains fully becomes exactly zero."""
    rest = centred - np.outer(direction, direction @ centred)
    explained = np.linalg.norm(rest, axis=0) <= _ROUNDING * np.linalg.norm(centred, axis=0)
    rest[:, explained] = 0
    return rest


def _varies(values: Floats) -> npt.NDArray[np.bool_]:
    """Tell which columns vary by more than rounding."""
    return np.ptp(values, axis=0) > _ROUNDING * np.abs(values).max(axis=0)


def _centred(values: Floats) -> Floats:
    """Subtract column means; a column that does not vary becomes exactly zero."""
    return np.where(_varies(values), values - values.mean(axis=0), 0.0)


def _correlate(a: Floats, b: Floats) -> Floats:
    """Correlate centred columns; NaN where one of them is zero."""
    # Scaling first keeps the squares of very small or large values in range.
    a = _scaled(a)
    b = _scaled(b)
    norm = np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))
    dot = np.sum(a * b, axis=0)
    return np.clip(np.divide(dot, norm, out=np.full(len(norm), np.nan), where=norm > 0), -1, 1)


def _scaled(values: Floats) -> Floats:
    largest = np.abs(values).max(axis=0)
    return values / np.where(largest > 0, largest, 1.0)
