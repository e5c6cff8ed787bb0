"""What an embedding must not become: a meter of depth, a mark of slides, or a few dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.hyperbolic import at_least_float32

_SQUARED_FLOOR = 1e-8
_VARIANCE_FLOOR = 1e-6


@at_least_float32
def radius_dependence(radius: Tensor, log_depth: Tensor, slide: Tensor) -> Tensor:
    r"""Measure what the radius tells of depth within slides, plus what it tells of slides.

    .. math:: \operatorname{corr}(r, \log l)^2 + \frac{\sum_s n_s (\bar r_s - \bar r)^2}
        {\sum_i (r_i - \bar r)^2}

    with the correlation over values centred by slide, so that the first part knows nothing of
    slides and the second nothing of spots (methods.md, section 3.7). The radius stands for how
    specific a spot is; depth and slide are what it would find easiest to stand for instead.

    Parameters
    ----------
    radius
        Distance to the origin, (b,).
    log_depth
        Natural log of the total counts, (b,).
    slide
        Integer slide ids, (b,).

    Returns
    -------
    Tensor
        In 0..2, 0-d; a part without variance counts 0. By chance alone the parts are about
        1/(b - m) and (m - 1)/(b - 1) for m slides.
    """
    inside, between = _by_slide(radius, slide)
    depth, _ = _by_slide(log_depth, slide)
    covariance = (inside * depth).mean()
    spread, depths = inside.square().mean(), depth.square().mean()
    correlation = covariance.square() / (spread * depths + _SQUARED_FLOOR)
    share = between.square().mean() / (spread + between.square().mean() + _SQUARED_FLOOR)
    return correlation + share


@at_least_float32
def collapse(tangent: Tensor, slide: Tensor, floor: float = 0.5) -> Tensor:
    r"""Hinge on the spread of each dimension within a slide (after VICReg, arXiv 2105.04906).

    .. math:: \operatorname{mean}_{s,k} \max(0, \phi - \sqrt d\,\operatorname{sd}_{i \in s} v_{ik})

    The standard deviation is measured in units of :math:`d^{-1/2}`, the scale at which the lift
    starts: a floor of 0.5 then asks the vectors of a slide to lie about 0.5, in units of the space,
    off their mean, shared evenly by all dimensions, whatever their number. The unit does not move
    with the learned scale of the lift, or shrinking that would be a way to collapse.

    Parameters
    ----------
    tangent
        v, tangent vectors at the origin, (b, d).
    slide
        Integer slide ids, (b,).
    floor
        phi, spread below which a dimension costs, > 0, in units of d^-1/2.

    Returns
    -------
    Tensor
        In 0..floor, 0-d, the mean over slides with two spots or more; 0 without any.
    """
    hinges = []
    for number in slide.unique():
        rows = (slide == number).nonzero().squeeze(1)
        if len(rows) > 1:
            variance = tangent.shape[1] * tangent[rows].var(dim=0)
            # The root has no gradient at 0; the floor under it does not change what is above 1e-3.
            hinges.append((floor - (variance + _VARIANCE_FLOOR).sqrt()).relu().mean())
    return torch.stack(hinges).mean() if hinges else 0.0 * tangent.sum()


def _by_slide(values: Tensor, slide: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations (b,) of values from their slide's mean, and of that from the mean of all."""
    _, place, size = slide.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(size)).index_add(0, place, values)
    means = (sums / size)[place]
    return values - means, means - values.mean()
