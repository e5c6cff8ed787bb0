"""Distillation: the image tells to which soft cluster the expression of its niche belongs."""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.hyperbolic import at_least_float32


@at_least_float32
def cluster_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of predicted from target clusters (arXiv 2604.09076).

    .. math:: \operatorname{mean}_i \sum_k q_{ik} (\log q_{ik} - \log p_{ik}),\quad
        p_i = \operatorname{softmax}(z_i)

    Parameters
    ----------
    logits
        z, (b, k).
    targets
        q >= 0, rows sum to 1, (b, k).

    Returns
    -------
    Tensor
        Nats, 0-d; 0 when every row agrees.
    """
    return (torch.xlogy(targets, targets) - targets * logits.log_softmax(dim=1)).sum(1).mean()
