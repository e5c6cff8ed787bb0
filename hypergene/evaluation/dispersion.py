"""Highly variable genes as scanpy and Seurat pick them, for the rules of published gene lists."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 20


def normalised_dispersion(mean: npt.ArrayLike, variance: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Standardise each gene's dispersion among genes of a like mean.

    The dispersion ``ln(variance / mean)`` less the mean over its bin, by the standard deviation
    over its bin; 20 bins of equal width of ``ln(1 + mean)`` (Satija et al. 2015, which is scanpy's
    default). A gene alone in its bin gets 1.

    Parameters
    ----------
    mean, variance
        (genes,), of values that are no logarithms: counts, or counts per 10,000; the variance with
        n - 1.

    Returns
    -------
    ndarray
        float64 (genes,); NaN where a gene does not vary.
    """
    level = np.asarray(mean, np.float64)
    spread = np.asarray(variance, np.float64)
    varies = (spread > 0) & (level > 0)
    dispersion = np.full(len(level), np.nan)
    dispersion[varies] = np.log(spread[varies] / level[varies])
    table = pd.DataFrame({"dispersion": dispersion, "bin": pd.cut(np.log1p(level), BINS)})
    bins = table.groupby("bin", observed=True)["dispersion"]
    centre, scale = bins.transform("mean"), bins.transform("std")
    # Without others to compare with, as scanpy has it.
    alone = scale.isna()
    scale, centre = scale.where(~alone, centre), centre.where(~alone, 0.0)
    found: npt.NDArray[np.float64] = ((table["dispersion"] - centre) / scale).to_numpy(np.float64)
    return found


def by_dispersion(dispersion: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """Return the places of the `n` genes of highest dispersion, falling; genes without one last."""
    known = np.nan_to_num(np.asarray(dispersion, np.float64), nan=-np.inf)
    return np.argsort(-known, kind="stable")[:n].astype(np.int64)
