"""Regression of expression: every loss is the mean over elements, or the weighted mean.

Expression is natural log1p of counts per 10,000; losses are in its units, squared where the name
says so. ``weights`` >= 0 broadcast with the elements: (g,) weighs genes, (b, 1) spots, (b, g) both.
Weights that are all zero give a loss of 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hypergene.hyperbolic import at_least_float32

MIN_STD = 1e-3
"""Floor of a predicted spread: below it one element could outweigh all others."""


@at_least_float32
def gaussian_nll(
    mean: Tensor,
    std: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None = None,
    detach_mean: bool = False,
) -> Tensor:
    r"""Negative log-likelihood of a Gaussian.

    .. math:: \tfrac12 \Big(\frac{y - \mu}{\sigma}\Big)^2 + \log\sigma + \tfrac12\log 2\pi

    Parameters
    ----------
    mean, std, target
        Predicted mean and spread (standard deviation, > 0) and measured value, (b, g) or any one
        shape.
    weights
        Weights >= 0 that broadcast with the elements.
    detach_mean
        Train the spread alone. Where the spread is large the likelihood gives the mean almost no
        gradient, so genes that are hard at first stay hard; with this option the mean is left to
        another loss, and the spread learns to say how far off it is.

    Returns
    -------
    Tensor
        Nats an element, 0-d.
    """
    if detach_mean:
        mean = mean.detach()
    # Clamped in value only: with the gradient of a clamp, a spread at the floor would stay there.
    std = std + (std.clamp_min(MIN_STD) - std).detach()
    squared = ((target - mean) / std).square()
    return _mean(0.5 * squared + std.log() + 0.5 * math.log(2 * math.pi), weights)


@at_least_float32
def huber(
    prediction: Tensor, target: Tensor, *, delta: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    r"""Huber loss: :math:`e^2/2` up to ``delta``, then :math:`\delta(|e| - \delta/2)`.

    Parameters
    ----------
    prediction, target
        Predicted and measured value, (b, g) or any one shape.
    delta
        Error at which the square turns into a line, > 0, in units of expression.
    weights
        Weights >= 0 that broadcast with the elements.

    Returns
    -------
    Tensor
        0-d.
    """
    return _mean(functional.huber_loss(prediction, target, reduction="none", delta=delta), weights)


@at_least_float32
def mse(prediction: Tensor, target: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean squared error.

    Parameters
    ----------
    prediction, target
        Predicted and measured value, (b, g) or any one shape.
    weights
        Weights >= 0 that broadcast with the elements.

    Returns
    -------
    Tensor
        0-d.
    """
    return _mean((prediction - target).square(), weights)


def _mean(elements: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return elements.mean()
    weights = weights.to(elements.dtype).expand_as(elements)
    total = weights.sum().clamp_min(torch.finfo(elements.dtype).tiny)
    return (weights * elements).sum() / total
