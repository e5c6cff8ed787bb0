"""Whether embeddings know slides better than tissue.

Silhouettes and probes are scikit-learn's. iLISI is written out here from its definition: the
package that has it (scib-metrics) brings JAX, some 300 MB, for what are ten lines over a KD-tree.
kBET, the same question with a test's threshold, is left out: on thousands of spots it rejects
nearly everywhere, and iLISI says how much.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]

PERPLEXITY = 30
_FOLDS = 4
_MOST_SPOTS = 5_000
_STEPS = 50


def silhouette(embedding: npt.ArrayLike, labels: Sequence[Hashable], *, seed: int = 0) -> float:
    """Return the mean silhouette (Rousseeuw 1987) of labels in an embedding, -1..1.

    By slide, near 0 (or below) says that slides are mixed; by annotation, higher says that tissue
    is told apart. At most 5,000 spots are looked at.

    Parameters
    ----------
    embedding
        (n, dim).
    labels
        One a spot.
    seed
        Of the choice of spots.

    Returns
    -------
    float
        NaN with one label only, or as many as spots.
    """
    from sklearn.metrics import silhouette_score

    points, codes = _sampled(embedding, labels, seed)
    if not 1 < len(np.unique(codes)) < len(codes):
        return float("nan")
    return float(silhouette_score(points, codes))


def ilisi(
    embedding: npt.ArrayLike,
    labels: Sequence[Hashable],
    *,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
) -> float:
    """Return the integration LISI: how many slides a spot's neighbourhood effectively holds.

    The inverse Simpson index of the labels among a spot's neighbours, weighted by a Gaussian whose
    width gives the neighbourhood the wanted perplexity (Korsunsky et al. 2019), mean over spots,
    scaled so that 0 = one slide only and 1 = all slides alike.

    Parameters
    ----------
    embedding
        (n, dim).
    labels
        The slide of each spot.
    perplexity
        Effective number of neighbours; three times as many are looked at.
    seed
        Of the choice of at most 5,000 spots.

    Returns
    -------
    float
        0..1 (a little above by chance); NaN with one slide only.
    """
    points, codes = _sampled(embedding, labels, seed)
    batches = len(np.unique(codes))
    if batches < 2:
        return float("nan")
    k = min(int(3 * perplexity), len(points) - 1)
    distance, index = cKDTree(points).query(points, k + 1)
    # The spot itself is among its neighbours, but not always the first of equal ones.
    own = index == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True
    distance = distance[~own].reshape(len(points), k)
    neighbours = codes[index[~own].reshape(len(points), k)]
    weights = _perplexity_weights(distance**2, min(perplexity, k / 1.5))
    share = np.stack(
        [np.where(neighbours == batch, weights, 0.0).sum(axis=1) for batch in range(batches)],
        axis=1,
    )
    effective = 1 / (share**2).sum(axis=1)
    return float((effective.mean() - 1) / (batches - 1))


def slide_identity(
    embedding: npt.ArrayLike,
    slides: Sequence[Hashable],
    blocks: npt.ArrayLike,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Tell how well a linear probe reads the slide off a spot: balanced accuracy, and chance.

    Cross-validated over blocks of tissue (spots next to each other are never on both sides), with
    standardised features and scikit-learn's logistic regression.

    Parameters
    ----------
    embedding
        (n, dim).
    slides
        The slide of each spot.
    blocks
        int (n,): the block of tissue of each spot within its slide.
    seed
        Of the choice of at most 5,000 spots, and of the folds.

    Returns
    -------
    accuracy, chance
        Both 0..1; NaN with one slide, or too few blocks for two folds of each slide.
    """
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    codes = pd.factorize(pd.Series(list(slides), dtype=object))[0]
    chance = 1 / (codes.max() + 1)
    groups = pd.factorize(pd.Series(list(zip(codes, np.asarray(blocks), strict=True))))[0]
    fewest = pd.Series(groups).groupby(codes).nunique().min()
    folds = min(_FOLDS, int(fewest))
    if codes.max() < 1 or folds < 2:
        return float("nan"), chance
    chosen = _choose(len(codes), seed)
    points = np.asarray(embedding, np.float64)[chosen]
    truth = codes[chosen]
    told = cross_val_predict(
        linear_probe(seed),
        points,
        truth,
        groups=groups[chosen],
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
    )
    accuracy = np.mean([(told[truth == code] == code).mean() for code in np.unique(truth)])
    return float(accuracy), chance


def linear_probe(seed: int = 0) -> Any:
    """Return scikit-learn's logistic regression behind standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(),
        LogisticRegression(max_iter=1000, class_weight="balanced", random_state=seed),
    )


def _choose(n: int, seed: int) -> npt.NDArray[np.int64]:
    if n <= _MOST_SPOTS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, _MOST_SPOTS, replace=False))


def _sampled(
    embedding: npt.ArrayLike, labels: Sequence[Hashable], seed: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    points = np.asarray(embedding, np.float64)
    if points.ndim != 2 or len(points) != len(labels):
        raise ValueError(f"an embedding of shape {points.shape} has no {len(labels)} labels")
    chosen = _choose(len(points), seed)
    codes = pd.factorize(pd.Series(list(labels), dtype=object).iloc[chosen])[0]
    return points[chosen], codes.astype(np.int64)


def _perplexity_weights(squared: Floats, perplexity: float) -> Floats:
    """Return Gaussian weights (n, k), rows of sum 1, of the wanted perplexity, by bisection."""
    low = np.zeros(len(squared))
    high = np.full(len(squared), np.inf)
    nearest = squared - squared.min(axis=1, keepdims=True)
    scale = nearest.mean(axis=1)
    precision = 1 / np.where(scale > 0, scale, 1.0)
    for _ in range(_STEPS):
        weights = np.exp(-nearest * precision[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low = np.where(wide, precision, low)
        high = np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + high) / 2)
    return np.asarray(weights)
