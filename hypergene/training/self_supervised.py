"""What an encoder can learn of tissue without any expression: Barlow Twins within slides.

Two views of one place are to agree in every dimension of an embedding, and different dimensions
are to say different things. Both are read off one matrix: how each dimension of the first view
correlates with each dimension of the second. Correlations are taken after each slide's mean is
off, so telling slides apart, which stain and scanner make easy, pays nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

_EPSILON = 1e-5


class TwinsLoss(NamedTuple):
    """The two terms, scalars float32.

    Attributes
    ----------
    disagreement
        Mean over dimensions of (1 - correlation of a dimension with itself)².
    redundancy
        Sum of squared correlations of a dimension with all others, mean over dimensions.
    """

    disagreement: Tensor
    redundancy: Tensor


def barlow_twins(first: Tensor, second: Tensor) -> TwinsLoss:
    """Correlate two views of places within groups.

    Parameters
    ----------
    first, second
        (groups, n, dim), embeddings of two views of n places of each group, n > 1; a group is of
        one slide.

    Returns
    -------
    TwinsLoss
        Neither term changes when a group's embeddings are shifted, or a dimension is scaled.

    References
    ----------
    J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow Twins: self-supervised learning via
    redundancy reduction", ICML 2021, equations 1 and 2. There the batch has one mean; here each
    group has its own.
    """
    left, right = (_standardised(view.float()) for view in (first, second))
    correlation = left.T @ right
    own = correlation.diagonal()
    dim = len(own)
    return TwinsLoss(
        disagreement=(1 - own).square().mean(),
        redundancy=(correlation.square().sum() - own.square().sum()) / dim,
    )


def _standardised(view: Tensor) -> Tensor:
    """Take off each group's mean and divide by the norm of each dimension, (groups * n, dim)."""
    centred = (view - view.mean(1, keepdim=True)).flatten(0, 1)
    return centred / (centred.square().sum(0) + _EPSILON).sqrt()


class Expander(nn.Sequential):
    """Two layers that carry the loss and are thrown away afterwards.

    Parameters
    ----------
    features
        Length of the encoder's vector of one crop.
    width
        Length of the embedding, in which the loss is taken.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__(
            nn.Linear(features, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
        )
