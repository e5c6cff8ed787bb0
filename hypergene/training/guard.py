"""The gradient guard: auxiliary terms may help the regression, but not work against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Gradients = Sequence[Tensor | None]
"""One gradient a parameter, of its shape; None = the loss does not reach the parameter."""


class Guarded(NamedTuple):
    """Gradient of the whole objective, and whether its two parts opposed each other.

    Attributes
    ----------
    gradients
        One a parameter; None = neither part reaches it.
    conflict
        0-d bool.
    """

    gradients: list[Tensor | None]
    conflict: Tensor


def guarded(regression: Gradients, auxiliary: Gradients) -> Guarded:
    """Add both gradients, without the part of the auxiliary one that opposes the regression.

    On the parameters that both reach, taken as one long vector, an auxiliary gradient a with
    a.r < 0 loses its component along the regression's gradient r:
    ``a - (a.r / r.r) r`` (the projection of PCGrad, Yu et al. 2020, arXiv 2001.06782, in one
    direction only: the regression always has its way). What remains is orthogonal to r, so to first
    order it cannot raise the regression loss through shared parameters. Parameters that only one
    of them reaches keep its gradient as it is.

    Parameters
    ----------
    regression, auxiliary
        Gradients of both parts of the objective, parameter by parameter.

    Returns
    -------
    Guarded
        Their guarded sum.
    """
    shared = [
        (r, a)
        for r, a in zip(regression, auxiliary, strict=True)
        if r is not None and a is not None
    ]
    if not shared:
        return Guarded(_sum(regression, auxiliary), torch.zeros((), dtype=torch.bool))
    product = torch.stack([(r * a).sum() for r, a in shared]).sum()
    length = torch.stack([r.square().sum() for r, _ in shared]).sum()
    conflict = product < 0
    # No branch on a tensor's value: that would wait for the GPU.
    opposing = torch.where(conflict, product / length, torch.zeros_like(product))
    kept = [
        a if r is None or a is None else a - opposing * r
        for r, a in zip(regression, auxiliary, strict=True)
    ]
    return Guarded(_sum(regression, kept), conflict)


def _sum(left: Gradients, right: Gradients) -> list[Tensor | None]:
    return [b if a is None else a if b is None else a + b for a, b in zip(left, right, strict=True)]
