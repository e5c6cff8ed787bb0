r"""Contrast between the image and the gene side of spots, over one batch.

.. math:: L_{con}(A, B) = \operatorname{mean}_i\,CE(\operatorname{softmax}_j(-d(A_i, B_j)/\tau), i)

Sources: HyperST (arXiv 2511.22107) for the hierarchical alignment; MERU (arXiv 2304.09172) for the
softmax over negative Lorentz distances; HESCAPE (arXiv 2508.01490) for what goes wrong when
negatives come from other slides: whatever tells slides apart then tells pairs apart, and the loss
is paid with the batch effect. ``same_slide`` takes that way out. NH2ST (arXiv 2506.23827) for the
contrast of each branch by itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import at_least_float32, pairwise_distance

Geometry = Literal["lorentz", "euclidean", "cosine"]

_ORIGIN_BELOW = 1e-6


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
        The distance in the softmax (:func:`pair_distances`).
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
    distances = pair_distances(anchor, candidate, curvature, geometry)
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
    spot_distances: Tensor | None = None,
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
    spot_distances
        Distances of image and gene spots, (b, b), if they are known already
        (:func:`pair_distances`).

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
    if spot_distances is None:
        spot_distances = pair_distances(image_spot, gene_spot, curvature, geometry)
    terms = [
        _cross_entropy(distances, temperature, kept, soft_targets)
        for distances in (
            spot_distances,
            spot_distances.T,
            pair_distances(image_niche, gene_spot, curvature, geometry),
            pair_distances(gene_niche, image_spot, curvature, geometry),
        )
    ]
    return torch.stack(terms).mean()


@at_least_float32
def branch_contrast(
    image_spot: Tensor,
    image_niche: Tensor,
    gene_spot: Tensor,
    gene_niche: Tensor,
    *,
    curvature: float | Tensor,
    temperature: float | Tensor,
    query: float = 1.0,
    neighbour: float = 0.5,
    geometry: Geometry = "lorentz",
    same_slide: Tensor | None = None,
    ignore: Tensor | None = None,
    soft_targets: Tensor | None = None,
    spot_distances: Tensor | None = None,
) -> Tensor:
    r"""Contrast of each branch by itself (NH2ST), in both directions.

    .. math::

        \tfrac{w_q}{2} [L_{con}(I_s, G_s) + L_{con}(G_s, I_s)] +
        \tfrac{w_n}{2} [L_{con}(I_n, G_n) + L_{con}(G_n, I_n)]

    The embeddings are those before any mixing of spot and neighbours: mixed ones carry the same
    neighbours on both sides, which is all that the contrast would then find.

    Parameters
    ----------
    image_spot, image_niche, gene_spot, gene_niche
        Space parts (lorentz) or plain vectors (euclidean), (b, d); row i of each is spot i.
    query, neighbour
        Weights of the branch of the spot and of that of its niche; a branch of weight 0 is not
        computed.
    curvature, temperature, geometry, same_slide, ignore, soft_targets, spot_distances
        As in :func:`hierarchical_contrastive_alignment`.

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
    total = 0.0 * image_spot.sum()
    for weight, image, gene, known in (
        (query, image_spot, gene_spot, spot_distances),
        (neighbour, image_niche, gene_niche, None),
    ):
        if weight:
            distances = known
            if distances is None:
                distances = pair_distances(image, gene, curvature, geometry)
            there = _cross_entropy(distances, temperature, kept, soft_targets)
            back = _cross_entropy(distances.T, temperature, kept, soft_targets)
            total = total + 0.5 * weight * (there + back)
    return total


@at_least_float32
def expression_targets(
    likeness: Tensor,
    share: float,
    *,
    same_slide: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    r"""Soft targets: spots of like expression are no clean negatives of each other.

    .. math:: q_{ij} = (1 - e)[i = j] + e \operatorname{softmax}_j(-|u_i - u_j|^2/2)

    over the candidates that the contrast keeps, the own one among them.

    Parameters
    ----------
    likeness
        u: expression in units of a typical distance between spots, (b, u). No gradient flows.
    share
        e, in 0..1.
    same_slide, ignore
        As in :func:`contrastive_loss`.

    Returns
    -------
    Tensor
        (b, b); rows sum to 1, and pairs left out have 0.

    Raises
    ------
    UsageError
        If an option does not have the shape of the batch.
    """
    likeness = likeness.detach()
    kept = _candidates(likeness, same_slide, ignore, None)
    distances = torch.cdist(likeness, likeness, compute_mode="donot_use_mm_for_euclid_dist")
    alike = (-0.5 * distances.square()).masked_fill(~kept, -torch.inf).softmax(dim=1)
    own = torch.eye(len(likeness), dtype=alike.dtype, device=alike.device)
    return (1 - share) * own + share * alike


@at_least_float32
def pair_distances(
    anchor: Tensor, candidate: Tensor, curvature: float | Tensor, geometry: Geometry
) -> Tensor:
    """Distances that the contrast compares, of every anchor to every candidate.

    Parameters
    ----------
    anchor, candidate
        Space parts (lorentz) or plain vectors, (b, d).
    curvature
        Negative curvature, > 0; a float or a 0-d tensor. Used by lorentz alone.
    geometry
        ``"lorentz"`` for geodesics, ``"euclidean"``, or ``"cosine"`` for 1 less the cosine of the
        angle at the origin. The lift is radial, so the cosine of points is that of their tangent
        vectors.

    Returns
    -------
    Tensor
        (b, b). A vector nearer to the origin than 1e-6 has no direction: its cosine is near 0.

    Raises
    ------
    UsageError
        If the geometry is unknown.
    """
    if geometry == "lorentz":
        return pairwise_distance(anchor, candidate, curvature)
    if geometry == "euclidean":
        return torch.cdist(anchor, candidate, compute_mode="donot_use_mm_for_euclid_dist")
    if geometry == "cosine":
        return 1 - _direction(anchor) @ _direction(candidate).T
    raise UsageError(
        f"There is no contrast in the geometry '{geometry}'.",
        hint="Choose 'lorentz', 'euclidean' or 'cosine'.",
    )


def _direction(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(norm < _ORIGIN_BELOW, 1.0, norm)


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
