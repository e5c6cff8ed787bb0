"""Gene modules: the few directions in which genes move together within slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ModuleFit:
    """Modules of training expression.

    Attributes
    ----------
    mean
        (genes,) float32, mean over slides of each slide's mean, log1p CP10k.
    loadings
        (modules, genes) float32: expression is ``slide mean + scores @ loadings``, with scores of
        unit variance over all training spots.
    residual_variance
        (genes,) float32, variance within slides that no module explains.
    """

    mean: Floats
    loadings: Floats
    residual_variance: Floats

    def scores(self, expression: Floats) -> Floats:
        """Standardised module scores (n, modules) of one slide's expression (n, genes).

        The slide's own mean is taken off, so neither depth nor batch of a slide is a score.
        """
        centered = expression - expression.mean(0)
        energy = np.square(self.loadings).sum(1).clip(1e-12)
        scores: Floats = centered @ (self.loadings / energy[:, None]).T
        return scores


def fit_modules(expression: Sequence[Floats], modules: int, *, seed: int = 0) -> ModuleFit:
    """Fit modules by principal components of slide-centred expression.

    Parameters
    ----------
    expression
        One (n_i, genes) float32 array a slide, log1p CP10k.
    modules
        How many; fewer are fitted (and the rest left empty) when spots or genes are fewer.
    seed
        Of the start of the iteration.
    """
    mean = np.mean([slide.mean(0) for slide in expression], axis=0)
    centered = np.concatenate([slide - slide.mean(0) for slide in expression])
    n, genes = centered.shape
    rank = min(modules, n - 1, genes - 1)
    start = np.random.default_rng(seed).standard_normal(min(n, genes))
    _, singular, directions = svds(centered, rank, v0=start.astype(np.float32))
    largest_first = np.argsort(-singular)
    singular, directions = singular[largest_first], directions[largest_first]
    loadings = np.zeros((modules, genes), np.float32)
    loadings[:rank] = directions * (singular / np.sqrt(n))[:, None]
    explained = np.square(loadings).sum(0)
    residual = (centered.var(0) - explained).clip(1e-4)
    return ModuleFit(mean.astype(np.float32), loadings, residual.astype(np.float32))
