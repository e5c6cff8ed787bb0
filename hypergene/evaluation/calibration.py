"""Whether the predicted spread is honest: how often intervals hold what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

Floats = npt.NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9)
"""Intervals that are reported."""
CURVE = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Intervals of the coverage curve, .05 to .95."""


def coverage(
    truth: npt.ArrayLike,
    mean: npt.ArrayLike,
    std: npt.ArrayLike,
    levels: Sequence[float] = CURVE,
) -> Floats:
    """Return the share of spots whose measured value lies in the central Gaussian interval.

    Parameters
    ----------
    truth, mean, std
        Shape (spots, genes), log1p CP10k; the standard deviations not negative.
    levels
        Nominal shares, 0..1.

    Returns
    -------
    ndarray
        float64 (levels, genes), 0..1.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a spread is negative.
    """
    t, m, s = (np.asarray(table, np.float64) for table in (truth, mean, std))
    if t.ndim != 2 or not (t.shape == m.shape == s.shape) or not len(t):
        raise ValueError(f"truth {t.shape}, mean {m.shape}, std {s.shape} must be one shape")
    if not all(np.isfinite(table).all() for table in (t, m, s)) or (s < 0).any():
        raise ValueError("truth, mean and std must be finite, and std not negative")
    distance = np.abs(t - m)
    return np.stack([(distance <= norm.ppf(0.5 + level / 2) * s).mean(axis=0) for level in levels])


def expected_calibration_error(covered: npt.ArrayLike, levels: Sequence[float] = CURVE) -> Floats:
    """Return the mean distance of the coverage from its nominal share.

    The regression form of Kuleshov, Fenner and Ermon (ICML 2018), with the absolute distance and
    all levels of equal weight.

    Parameters
    ----------
    covered
        Shape (levels, ...), from :func:`coverage`, of genes or of means over genes.
    levels
        The nominal shares.

    Returns
    -------
    ndarray
        float64 (...,), 0..1.
    """
    found = np.asarray(covered, np.float64)
    nominal = np.asarray(levels).reshape(-1, *[1] * (found.ndim - 1))
    distance: Floats = np.abs(found - nominal).mean(axis=0)
    return distance


def flag_auroc(error: npt.ArrayLike, unusual: npt.ArrayLike) -> float:
    """Return how well a score of unusualness tells the worse half of the spots from the better.

    Parameters
    ----------
    error
        Error of each spot, shape (spots,).
    unusual
        Score of each spot, shape (spots,); higher is more unusual.

    Returns
    -------
    float
        Area under the ROC curve (Mann and Whitney 1947), 0..1; 0.5 says the flag knows nothing;
        NaN if one of the halves is empty.
    """
    errors, scores = np.asarray(error, np.float64), np.asarray(unusual, np.float64)
    worse = errors > np.median(errors)
    positive, negative = int(worse.sum()), int((~worse).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[worse].sum() - positive * (positive + 1) / 2) / (positive * negative))


def conformal_scale(scores: Sequence[npt.ArrayLike], level: float) -> float:
    """Return the bound that a score of a new group's member stays within, at a given share.

    Hierarchical conformal prediction (Lee, Barber and Willett 2023, arXiv 2306.06342): each of K
    groups weighs 1 / (K + 1), however many members it has, and the group to come the rest. If
    groups are exchangeable, a member drawn from a new one is within the bound with a probability
    of at least `level`, whatever the scores' distribution.

    Parameters
    ----------
    scores
        One array a group, such as |error| / spread over a patient's spots; finite, not negative.
    level
        0..1.

    Returns
    -------
    float
        Infinite where K groups are too few: below level / (1 - level).
    """
    groups = [np.sort(np.asarray(group).ravel()) for group in scores]
    needed = level * (len(groups) + 1)
    if len(groups) < needed or not all(len(group) for group in groups):
        return float("inf")
    low, high = 0.0, max(float(group[-1]) for group in groups)
    for _ in range(60):
        middle = (low + high) / 2
        within = sum(np.searchsorted(group, middle, "right") / len(group) for group in groups)
        low, high = (low, middle) if within >= needed else (middle, high)
    return high
