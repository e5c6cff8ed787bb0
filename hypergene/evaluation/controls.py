"""Controls that stand beside every model: the training mean, and ridge on the spot's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALPHAS: Floats = np.logspace(-2, 6, 33)
_TARGETS_AT_ONCE = 512


def training_mean(targets: Sequence[npt.ArrayLike], n_spots: int) -> Floats:
    """Predict the mean of all training spots for every spot.

    Parameters
    ----------
    targets
        One (spots, genes) array a training slide.
    n_spots
        Spots to predict.

    Returns
    -------
    ndarray
        float64 (n_spots, genes), all rows equal.
    """
    pooled = np.concatenate([np.asarray(slide, dtype=np.float64) for slide in targets])
    return np.tile(pooled.mean(axis=0), (n_spots, 1))


def ridge_loo(
    X: npt.ArrayLike, Y: npt.ArrayLike, alphas: npt.ArrayLike = ALPHAS
) -> tuple[Floats, Floats, Floats]:
    """Fit ridge regression with an intercept, alpha chosen per target by leave-one-out.

    With the centred ``X = U S V'`` and ``d = S^2 / (S^2 + alpha)`` the leverage of spot i is
    ``h_i = 1/n + sum_k U_ik^2 d_k`` and its leave-one-out residual ``(y_i - f_i) / (1 - h_i)``
    (Golub, Heath and Wahba 1979; exact, intercept included, which is not penalised), so all alphas
    cost one decomposition.

    Parameters
    ----------
    X
        Features, shape (spots, features).
    Y
        Targets, shape (spots, targets).
    alphas
        Penalties to choose from, all above 0. Of equally good ones the largest is taken.

    Returns
    -------
    coef
        float64 (features, targets).
    intercept
        float64 (targets,); the prediction is ``X @ coef + intercept``.
    alpha
        float64 (targets,), the penalty chosen for each target.

    Raises
    ------
    ValueError
        Fewer than two spots, shapes that do not fit, values that are not finite, or alphas that
        are not above 0.
    """
    x, y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    penalties = np.sort(np.atleast_1d(np.asarray(alphas, dtype=np.float64)))[::-1]
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise ValueError(f"ridge needs (spots, features) and (spots, targets), not {x.shape} and "
                         f"{y.shape}, of at least two spots")  # fmt: skip
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features and targets must be finite")
    if not penalties.size or not (np.isfinite(penalties).all() and penalties[-1] > 0):
        raise ValueError("alphas must be above 0")
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = np.linalg.svd(x - x_mean, full_matrices=False)
    coef = np.empty((x.shape[1], y.shape[1]))
    alpha = np.empty(y.shape[1])
    for start in range(0, y.shape[1], _TARGETS_AT_ONCE):
        block = slice(start, start + _TARGETS_AT_ONCE)
        centred = y[:, block] - y_mean[block]
        projected = u.T @ centred
        chosen = np.argmin(_loo_errors(u, s, centred, projected, penalties), axis=0)
        alpha[block] = penalties[chosen]
        shrunk = projected * (s[:, None] / (s[:, None] ** 2 + alpha[block]))
        coef[:, block] = vt.T @ shrunk
    return coef, y_mean - x_mean @ coef, alpha


def _loo_errors(
    u: Floats, s: Floats, centred: Floats, projected: Floats, penalties: Floats
) -> Floats:
    """Return the mean squared leave-one-out residual, shape (penalties, targets)."""
    errors = np.empty((len(penalties), centred.shape[1]))
    for i, penalty in enumerate(penalties):
        shrink = s**2 / (s**2 + penalty)
        leverage = 1 / len(u) + (u**2) @ shrink
        residuals = (centred - u @ (shrink[:, None] * projected)) / (1 - leverage)[:, None]
        errors[i] = np.mean(residuals**2, axis=0)
    return errors


@dataclass(frozen=True)
class RidgeControl:
    """Ridge regression on principal components of the spots' features: the bar for every model.

    Slide-centred, features lose the mean of their own slide and targets the mean of theirs in
    training, so slide identity can neither be learned nor be used; a prediction then stands on the
    mean level of the training slides. Only the features of the slide itself are needed to predict.

    Attributes
    ----------
    slide_centred
        Whether features are centred on each slide.
    centre, scale
        float64 (features,): taken off (unless slide-centred) and divided by.
    axes
        float64 (features, components): principal axes of the scaled training features.
    coef, intercept, alpha
        As in :func:`ridge_loo`, over the components.
    """

    slide_centred: bool
    centre: Floats
    scale: Floats
    axes: Floats
    coef: Floats
    intercept: Floats
    alpha: Floats

    @classmethod
    def fit(
        cls,
        features: Sequence[npt.ArrayLike],
        targets: Sequence[npt.ArrayLike],
        *,
        slide_centred: bool,
        components: int = 60,
        alphas: npt.ArrayLike = ALPHAS,
    ) -> RidgeControl:
        """Fit on training slides.

        Parameters
        ----------
        features
            One (spots, features) array a slide.
        targets
            One (spots, genes) array a slide, log1p CP10k.
        slide_centred
            Centre features and targets on each slide.
        components
            Principal components kept (fewer if there are fewer).
        alphas
            Penalties to choose from, per gene.

        Raises
        ------
        ValueError
            As in :func:`ridge_loo`, or without slides.
        """
        x = [np.asarray(slide, dtype=np.float64) for slide in features]
        y = [np.asarray(slide, dtype=np.float64) for slide in targets]
        if not x or [len(slide) for slide in x] != [len(slide) for slide in y]:
            raise ValueError("features and targets must be of the same slides, at least one")
        level = np.mean([slide.mean(axis=0) for slide in y], axis=0)
        if slide_centred:
            x = [slide - slide.mean(axis=0) for slide in x]
            y = [slide - slide.mean(axis=0) + level for slide in y]
        pooled = np.concatenate(x)
        centre, scale = pooled.mean(axis=0), pooled.std(axis=0)
        scale[scale == 0] = 1.0
        scaled = (pooled - centre) / scale
        _, s, vt = np.linalg.svd(scaled, full_matrices=False)
        rank = int((s > s[0] * max(scaled.shape) * np.finfo(np.float64).eps).sum())
        axes = vt[: min(components, rank)].T
        coef, intercept, alpha = ridge_loo(scaled @ axes, np.concatenate(y), alphas)
        return cls(slide_centred, centre, scale, axes, coef, intercept, alpha)

    def predict(self, features: npt.ArrayLike) -> Floats:
        """Predict one slide.

        Parameters
        ----------
        features
            All tissue spots of *one* slide, shape (spots, features); their mean is the slide's.

        Returns
        -------
        ndarray
            float64 (spots, genes), log1p CP10k.
        """
        x = np.asarray(features, dtype=np.float64)
        x = x - (x.mean(axis=0) if self.slide_centred else self.centre)
        return x / self.scale @ self.axes @ self.coef + self.intercept
