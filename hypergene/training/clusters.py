"""Soft clusters of niches by their expression: what the image is asked to tell (KL)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from hypergene.errors import UsageError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MOST_FITTED = 20_000
"""Centres are fitted on at most so many niches of all sections; all niches are then assigned."""
_PASSES = 50


def soft_clusters(
    niches: Sequence[Floats], number: int, temperature: float, *, seed: int
) -> list[Floats]:
    r"""Cluster the niches of all sections together, and say softly who belongs where.

    .. math:: q_{ik} \propto \exp\Big(-\frac{|y_i - \mu_k|^2}{T\,\Delta}\Big)

    with the centres of k-means (started by k-means++) and :math:`\Delta` the mean over niches of
    the squared distance to the second nearest centre less that to the nearest: at T = 1 the
    cluster of a typical niche is e times as likely as the next one, whatever the units and the
    dimension.

    Parameters
    ----------
    niches
        One (n, u) float32 a section, mean expression around each spot, slide-centred.
    number
        Clusters, >= 2.
    temperature
        T, > 0; smaller is harder.
    seed
        Of the start and of the niches the centres are fitted on.

    Returns
    -------
    list of ndarray
        One (n, number) float32 a section; rows sum to 1.

    Raises
    ------
    UsageError
        There are fewer different niches than clusters.

    Notes
    -----
    Soft clusters of expression as targets for the image, after arXiv 2604.09076.
    """
    rng = np.random.default_rng(seed)
    points = np.concatenate(list(niches)).astype(np.float64)
    if len(points) > MOST_FITTED:
        points = points[np.sort(rng.choice(len(points), MOST_FITTED, replace=False))]
    different = len(np.unique(points, axis=0))
    if different < number:
        raise UsageError(
            f"{number} clusters cannot be made of {different} different niches.",
            hint="Lower loss.clusters.number, or set loss.clusters.weight=0.",
        )
    centres = _start(points, number, rng)
    with warnings.catch_warnings():
        # A cluster that loses its last niche keeps its centre: no harm in a soft assignment.
        warnings.simplefilter("ignore")
        centres, _ = kmeans2(points, centres, iter=_PASSES, minit="matrix")
    nearest = np.partition(cdist(points, centres, "sqeuclidean"), 1, axis=1)
    gap = max(float((nearest[:, 1] - nearest[:, 0]).mean()), np.finfo(np.float64).tiny)
    return [_assigned(section, centres, temperature * gap) for section in niches]


def _start(points: Doubles, number: int, rng: np.random.Generator) -> Doubles:
    """Draw centres far from one another (k-means++, Arthur and Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(points)))]
    squared = np.full(len(points), np.inf)
    for _ in range(number - 1):
        squared = np.minimum(squared, np.square(points - points[chosen[-1]]).sum(1))
        chosen.append(int(rng.choice(len(points), p=squared / squared.sum())))
    return points[chosen]


def _assigned(niches: Floats, centres: Doubles, scale: float) -> Floats:
    logits = -cdist(niches.astype(np.float64), centres, "sqeuclidean") / scale
    likely = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(likely / likely.sum(1, keepdims=True), np.float32)
