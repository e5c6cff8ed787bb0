"""Likelihood of counts, for a regression that lets every count weigh what it knows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import at_least_float32

CP10K_RANGE = (0.1, 1e4)
"""Bounds of a predicted rate, counts per 10,000: what a spot can show, and all of its counts."""
LOG_DISPERSION_RANGE = (-5.0, 5.0)
"""Bounds of the log dispersion: variance from nearly Poisson to 148 times the squared mean."""


@at_least_float32
def negative_binomial(
    prediction: Tensor,
    counts: Tensor,
    log_depth: Tensor,
    log_dispersion: Tensor,
    *,
    measured: Tensor | None = None,
    slide: Tensor | None = None,
) -> Tensor:
    r"""Negative log-likelihood of counts under a negative binomial (NB2).

    .. math::

        \mu = l\,\frac{e^x - 1}{10^4},\quad \operatorname{Var} c = \mu + \alpha \mu^2,\quad
        -\log P(c) = \log\Gamma(\theta) + \log\Gamma(c + 1) - \log\Gamma(c + \theta)
        + (c + \theta) \log(1 + \alpha\mu) - c \log(\alpha\mu),\quad \theta = 1/\alpha

    Parameters
    ----------
    prediction
        x, natural log1p of counts per 10,000, (b, g). Bounded in value so that the rate stays in
        0.1..10,000 CP10k; a gradient passes even beyond, so a prediction can come back.
    counts
        c >= 0, (b, g).
    log_depth
        log l, natural log of the total counts of each spot, (b,).
    log_dispersion
        log alpha of each gene, (g,); bounded in the same way.
    measured
        Bool, (b, g): whether the spot's slide measured the gene; None = all did.
    slide
        Integer slide ids, (b,). If given, the rates of a gene on a slide are first brought to the
        level of its counts there, so that only differences within the slide are to be learnt: an
        image read relative to its slide cannot tell the level, and the mean of logarithms lies
        below the logarithm of the mean. The factor passes no gradient.

    Returns
    -------
    Tensor
        Nats an element, 0-d, the mean over measured elements; 0 if nothing was measured.

    Raises
    ------
    UsageError
        If counts do not have the shape of the prediction.
    """
    if counts.shape != prediction.shape:
        raise UsageError(
            f"The likelihood of counts needs as many as predictions, {tuple(prediction.shape)}, "
            f"not {tuple(counts.shape)}."
        )
    low, high = (math.log1p(rate) for rate in CP10K_RANGE)
    x = _bounded(prediction, low, high)
    log_alpha = _bounded(log_dispersion, *LOG_DISPERSION_RANGE)
    # log(alpha mu); softplus of it is log(1 + alpha mu).
    log_rate = x.expm1().log() + (log_depth - math.log(1e4))[:, None]
    if slide is not None:
        log_rate = log_rate + _log_level(log_rate, counts, slide)
    log_ratio = log_rate + log_alpha
    theta = (-log_alpha).exp()
    nll = (
        theta.lgamma()
        + (counts + 1).lgamma()
        - (counts + theta).lgamma()
        + (counts + theta) * torch.nn.functional.softplus(log_ratio)
        - counts * log_ratio
    )
    if measured is None:
        return nll.mean()
    return (nll * measured).sum() / measured.sum().clamp_min(1)


@torch.no_grad()
def _log_level(log_rate: Tensor, counts: Tensor, slide: Tensor) -> Tensor:
    """Log of counts seen over counts expected, (b, g), alike for all spots of a slide.

    One count more on either side keeps it finite, and near 0 where little was seen.
    """
    here = (slide[:, None] == slide[None, :]).to(log_rate.dtype)
    return ((here @ counts + 1) / (here @ log_rate.exp() + 1)).log()


def _bounded(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp in value only: with the gradient of a clamp, what is outside would stay there."""
    return x + (x.clamp(low, high) - x).detach()
