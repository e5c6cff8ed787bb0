r"""Listwise loss on counts: which spots of a slide have more of a gene, and how much more.

For a gene and the n spots of one slide, with counts c, depths l and predictions f,

.. math::

    p_i = \frac{l_i e^{f_i}}{\sum_j l_j e^{f_j}},\quad
    L = -\frac{\sum_i c_i \log p_i}{\sum_i c_i}

which is the cross-entropy of the multinomial by which a gene's counts fall on the spots of a slide.
What all spots of a slide share (the gene's level there, the slide's depth) cancels, so a batch
effect costs nothing. Source: STRank (NeurIPS 2025).
"""

from __future__ import annotations

from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import at_least_float32


@at_least_float32
def listwise(
    prediction: Tensor,
    counts: Tensor,
    log_depth: Tensor,
    slide: Tensor,
    *,
    measured: Tensor | None = None,
) -> Tensor:
    r"""Mean cross-entropy over lists, one list a gene and slide.

    Predictions are log1p of counts per 10,000, so :math:`e^f` is 1 + CP10k, not the rate itself.
    Far above 1 CP10k a ratio of :math:`e^f` is a ratio of rates, as in the source. Far below, all
    rates look alike: p then follows the depth alone, and to give a spot twice the weight of another
    the prediction must exceed it by log 2 whatever the true rates. A gene that is rare everywhere
    thus asks for little, instead of for ratios that a few counts cannot tell; and the loss agrees
    with a regression on log1p CP10k in what is large and what is small.

    Parameters
    ----------
    prediction
        f, natural log1p of counts per 10,000, (b, g); may be negative.
    counts
        c >= 0, (b, g).
    log_depth
        log l, natural log of the total counts of each spot, (b,).
    slide
        Integer slide ids, (b,).
    measured
        Bool, (b, g): whether the spot's slide measured the gene; None = all did.

    Returns
    -------
    Tensor
        Nats, 0-d, the mean over lists; every list weighs the same. Lists without a count, or of a
        single spot, say nothing and are left out; 0 when none is left.

    Raises
    ------
    UsageError
        If counts do not have the shape of the prediction.
    """
    if counts.shape != prediction.shape:
        raise UsageError(
            f"The listwise loss needs as many counts as predictions, {tuple(prediction.shape)}, "
            f"not {tuple(counts.shape)}."
        )
    if measured is not None:
        counts = counts * measured
    total, lists = 0.0 * prediction.sum(), prediction.new_zeros(())
    for number in slide.unique():
        rows = (slide == number).nonzero().squeeze(1)
        if len(rows) < 2:
            continue
        log_p = (prediction[rows] + log_depth[rows, None]).log_softmax(dim=0)
        seen = counts[rows]
        mass = seen.sum(dim=0)
        total = total - (seen / mass.where(mass > 0, 1.0) * log_p).sum()
        lists = lists + (mass > 0).sum()
    return total / lists.clamp_min(1.0)
