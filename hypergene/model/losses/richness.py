r"""Entailment within a modality: a sparse expression profile entails the rich ones like it.

.. math:: \tfrac12 \operatorname{mean}_i [E_\eta(G_{p(i)}, G_i) + E_\eta(I_{p(i)}, I_i)]

over the spots i that have a parent p(i) in the batch. After DELST (arXiv 2503.00804), which takes
its hierarchy from the number of genes with a count; only its abstract and total loss are public, so
the parents are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.hyperbolic import at_least_float32, cone_violation

_NORM_FLOOR = 1e-12
_SAME_SLIDE = 4.0


@at_least_float32
def richness_parents(richness: Tensor, profiles: Tensor, slide: Tensor, levels: int) -> Tensor:
    """Find the sparser spot of the batch that each spot is to be entailed by.

    The parent is the spot of a lower level whose expression has the highest cosine with the
    spot's, of the same slide if that has one.

    Parameters
    ----------
    richness
        Rank within the slide of the number of genes with a count, in 0..1, (b,).
    profiles
        Slide-centred expression, or leading components of it, (b, u); its scale does not matter.
    slide
        Integer slide ids, (b,).
    levels
        The level of a spot is floor(levels * richness).

    Returns
    -------
    Tensor
        (b,) int64; -1 for a spot without any sparser one in the batch.
    """
    level = (levels * richness).floor().clamp(max=levels - 1)
    norm = torch.linalg.vector_norm(profiles, dim=1, keepdim=True)
    direction = profiles / norm.clamp_min(_NORM_FLOOR)
    # A cosine spans 2, so the worst of the same slide still comes before the best of another.
    preference = direction @ direction.T + _SAME_SLIDE * (slide[:, None] == slide)
    sparser = level < level[:, None]
    parent = preference.masked_fill(~sparser, -torch.inf).argmax(dim=1)
    return torch.where(sparser.any(dim=1), parent, -1)


@at_least_float32
def richness_entailment(
    image: Tensor, gene: Tensor, parent: Tensor, *, curvature: float | Tensor, eta: float = 1.2
) -> Tensor:
    """Mean violation of the cones of the sparser spots by the richer ones, on both sides.

    Parameters
    ----------
    image, gene
        Space parts, (b, d); row i of both is spot i.
    parent
        Row of the parent of each spot, int64 (b,); -1 = none (:func:`richness_parents`).
    curvature
        Negative curvature, > 0; a float or a 0-d tensor.
    eta
        Factor on the half-aperture of the cones.

    Returns
    -------
    Tensor
        Radians, 0-d, the mean over spots with a parent; 0 if no spot has one.
    """
    child = (parent >= 0).nonzero().squeeze(1)
    above = parent[child]
    violations = torch.stack(
        [cone_violation(side[above], side[child], curvature, eta) for side in (image, gene)]
    )
    return violations.sum() / max(1, violations.numel())
