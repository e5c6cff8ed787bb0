"""Controls that tell what neighbours are worth, and an oracle that knows only spots' depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]


def with_rings(
    features: npt.ArrayLike,
    ring_matrices: Sequence[sparse.csr_matrix],
    context: npt.ArrayLike | None = None,
) -> Floats:
    """Lay the means of each ring beside a spot's own features.

    Parameters
    ----------
    features
        (n, features) of the spots.
    ring_matrices
        One (n, m) averaging matrix a ring (:func:`hypergene.spots.rings`).
    context
        (m, features) of what the rings average; None = the spots themselves.

    Returns
    -------
    ndarray
        float64 (n, features × (1 + rings)); zeros for a ring without spots.
    """
    own = np.asarray(features, np.float64)
    other = own if context is None else np.asarray(context, np.float64)
    return np.hstack([own, *(matrix @ other for matrix in ring_matrices)])


def permuted(context: npt.NDArray[np.floating], seed: int = 0) -> npt.NDArray[np.floating]:
    """Shuffle the rows (m, features) of one slide's context: every spot gets strangers around it.

    A model whose figures stay as they are does not use its neighbours.
    """
    order = np.random.default_rng(seed).permutation(len(context))
    shuffled: npt.NDArray[np.floating] = context[order]
    return shuffled


def smoothed(prediction: npt.ArrayLike, kernel: sparse.csr_matrix) -> Floats:
    """Average a prediction (n, genes) made without neighbours over a kernel (n, n), afterwards.

    What a niche gains beyond this it has learned; the rest is smoothing.
    """
    return np.asarray(kernel @ np.asarray(prediction, np.float64))


def library_size_oracle(
    log_depth: npt.ArrayLike,
    targets: Sequence[npt.ArrayLike],
    train_log_depth: Sequence[npt.ArrayLike],
) -> Floats:
    """Predict each gene from the depth of the test's own spots, which no model may see.

    A line per gene, ``level + slope * (log depth - mean log depth of its slide)``, fitted by least
    squares on slides; how much of a score is nothing but sequencing depth.

    Parameters
    ----------
    log_depth
        (n,) log of the total counts of the spots to predict.
    targets
        One (spots, genes) array a slide to fit on, log1p CP10k.
    train_log_depth
        One (spots,) array a slide.

    Returns
    -------
    ndarray
        float64 (n, genes).

    Raises
    ------
    ValueError
        Without slides.
    """
    if not targets:
        raise ValueError("there are no slides to fit on")
    tables = [np.asarray(slide, np.float64) for slide in targets]
    depths = [np.asarray(depth, np.float64) for depth in train_log_depth]
    level = np.mean([table.mean(axis=0) for table in tables], axis=0)
    centred = [depth - depth.mean() for depth in depths]
    square = sum(float(depth @ depth) for depth in centred)
    product = np.sum([d @ t for d, t in zip(centred, tables, strict=True)], axis=0)
    slope = product / square if square > 0 else np.zeros_like(level)
    asked = np.asarray(log_depth, np.float64)
    return level + np.outer(asked - asked.mean(), slope)
