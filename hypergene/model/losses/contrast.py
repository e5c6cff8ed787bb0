r"""Contrast between the image and the gene side of spots, over one batch.

.. math:: L_{con}(A, B) = \operatorname{mean}_i\,CE(\operatorname{softmax}_j(-d(A_i, B_j)/\tau), i)

Sources: HyperST (arXiv 2511.22107) for the hierarchical alignment; MERU (arXiv 2304.09172) for the
softmax over negative Lorentz distances; HESCAPE (arXiv 2508.01490) for what goes wrong when
negatives come from other slides: whatever tells slides apart then tells pairs apart, and the loss
is paid with the batch effect. ``same_slide`` takes that way out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import at_least_float32, pairwise_distance

Geometry = Literal["lorentz", "euclidean"]


@at_least_float32
def contrastive_loss(
    anchor: Tensor,
    candidate: Tensor,
    *,
    curvature: float | Tensor,
    temperature: float | Tensor,
    geometry: Geometry = "lorentz",
    same_slide: Tensor | None = None,
    ignore: Tensor | None = None,
    soft_targets: Tensor | None = None,
) -> Tensor:
    """One direction of the contrast: find the own candidate of every anchor.

    Parameters
    ----------
    anchor, candidate
        Space parts (lorentz) or plain vectors (euclidean), (b, d); row i of both is spot i.
    curvature
        Negative curvature, > 0; a float or a 0-d tensor. Not used when euclidean.
    temperature
        tau, > 0, in units of distance.
    geometry
        The distance in the softmax.
    same_slide
        Integer slide ids, (b,). If given, only spots of the anchor's slide are candidates.
    ignore
        Bool, (b, b): pairs (anchor i, candidate j) left out of the softmax, such as spots nearer
        than two pitches (in µm), which share tissue. The own pair always stays.
    soft_targets
        Weights >= 0, (b, b): what the softmax of anchor i should be, instead of its own candidate
        alone. Each row is scaled to sum 1 over the candidates that are left; a row without any
        contributes 0.

    Returns
    -------
    Tensor
        Nats, 0-d, the mean over anchors. An anchor with no candidate but its own contributes 0.

    Raises
    ------
    UsageError
        If the geometry is unknown or an option does not have the shape of the batch.
    """
    kept = _candidates(anchor, same_slide, ignore, soft_targets)
    distances = _distances(anchor, candidate, curvature, geometry)
    return _cross_entropy(distances, temperature, kept, soft_targets)


@at_least_float32
def hierarchical_contrastive_alignment(
    image_spot: Tensor,
    image_niche: Tensor,
    gene_spot: Tensor,
    gene_niche: Tensor,
    *,
    curvature: float | Tensor,
    temperature: float | Tensor,
    geometry: Geometry = "lorentz",
    same_slide: Tensor | None = None,
    ignore: Tensor | None = None,
    soft_targets: Tensor | None = None,
) -> Tensor:
    r"""Hierarchical contrastive alignment of spots and niches (HCA of HyperST).

    .. math::

        \tfrac14 [L_{con}(I_s, G_s) + L_{con}(G_s, I_s) + L_{con}(I_n, G_s) + L_{con}(G_n, I_s)]

    The niche terms go one way only: a spot lies in several niches, so a spot cannot be asked for
    *the* niche it belongs to.

    Parameters
    ----------
    image_spot, image_niche, gene_spot, gene_niche
        Space parts (lorentz) or plain vectors (euclidean), (b, d); row i of each is spot i.
    curvature, temperature, geometry, same_slide, ignore, soft_targets
        As in :func:`contrastive_loss`; i is the anchor's spot and j the candidate's in all terms.

    Returns
    -------
    Tensor
        Nats, 0-d.

    Raises
    ------
    UsageError
        If the geometry is unknown or an option does not have the shape of the batch.
    """
    kept = _candidates(image_spot, same_slide, ignore, soft_targets)
    spots = _distances(image_spot, gene_spot, curvature, geometry)
    terms = [
        _cross_entropy(distances, temperature, kept, soft_targets)
        for distances in (
            spots,
            spots.T,
            _distances(image_niche, gene_spot, curvature, geometry),
            _distances(gene_niche, image_spot, curvature, geometry),
        )
    ]
    return torch.stack(terms).mean()


def _distances(
    anchor: Tensor, candidate: Tensor, curvature: float | Tensor, geometry: Geometry
) -> Tensor:
    if geometry == "lorentz":
        return pairwise_distance(anchor, candidate, curvature)
    if geometry == "euclidean":
        return torch.cdist(anchor, candidate, compute_mode="donot_use_mm_for_euclid_dist")
    raise UsageError(
        f"There is no contrast in the geometry '{geometry}'.",
        hint="Choose 'lorentz' or 'euclidean'.",
    )


def _candidates(
    anchor: Tensor,
    same_slide: Tensor | None,
    ignore: Tensor | None,
    soft_targets: Tensor | None,
) -> Tensor:
    """Pairs that stay in the softmax, bool (b, b)."""
    b = anchor.shape[0]
    for name, option, shape in (
        ("same_slide", same_slide, (b,)),
        ("ignore", ignore, (b, b)),
        ("soft_targets", soft_targets, (b, b)),
    ):
        if option is not None and option.shape != shape:
            raise UsageError(
                f"The contrast of {b} spots needs {name} of shape {shape}, "
                f"not {tuple(option.shape)}."
            )
    kept = torch.ones(b, b, dtype=torch.bool, device=anchor.device)
    if same_slide is not None:
        kept &= same_slide.unsqueeze(1) == same_slide
    if ignore is not None:
        kept &= ~ignore
    return kept.fill_diagonal_(True)


def _cross_entropy(
    distances: Tensor, temperature: float | Tensor, kept: Tensor, soft_targets: Tensor | None
) -> Tensor:
    logits = (-distances / temperature).masked_fill(~kept, -torch.inf)
    log_p = logits.log_softmax(dim=1)
    if soft_targets is None:
        return -log_p.diagonal().mean()
    targets = soft_targets * kept
    targets = targets / targets.sum(1, keepdim=True).clamp_min(torch.finfo(targets.dtype).tiny)
    # A pair left out has log p = -inf and target 0; their product must be 0, not NaN.
    return -(targets * log_p.masked_fill(~kept, 0.0)).sum(1).mean()
