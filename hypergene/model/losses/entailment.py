r"""Entailment: the general representation of a spot has the specific one in its cone.

.. math:: E_\eta(p, q) = \operatorname{mean}_i \max(0, ext(p_i, q_i) - \eta\,aper(p_i))

Sources: HyperST (arXiv 2511.22107) for the hierarchical alignment; MERU (arXiv 2304.09172) for the
loss; HyCoCLIP (arXiv 2410.06912) for the factor eta, below 1 between modalities and above 1 within.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import at_least_float32, cone_violation

LevelParent = Literal["spot", "niche"]


@at_least_float32
def entailment_loss(
    parent: Tensor, child: Tensor, *, curvature: float | Tensor, eta: float
) -> Tensor:
    """Mean violation of the parents' cones by their children.

    Parameters
    ----------
    parent, child
        Space parts, (b, d); row i of the parent should entail row i of the child.
    curvature
        Negative curvature, > 0; a float or a 0-d tensor.
    eta
        Factor on the half-aperture of the cones.

    Returns
    -------
    Tensor
        Radians, 0-d; 0 when every child lies in its parent's cone.
    """
    return cone_violation(parent, child, curvature, eta).mean()


@at_least_float32
def hierarchical_entailment_alignment(
    image_spot: Tensor,
    image_niche: Tensor,
    gene_spot: Tensor,
    gene_niche: Tensor,
    *,
    curvature: float | Tensor,
    level_parent: LevelParent = "niche",
    eta_spot: float = 0.7,
    eta_niche: float = 0.7,
    eta_image: float = 1.2,
    eta_gene: float = 1.2,
) -> Tensor:
    r"""Hierarchical entailment alignment of spots and niches (HEA of HyperST).

    .. math::

        \tfrac12 [E_{0.7}(I_s, G_s) + E_{0.7}(I_n, G_n) + E_{1.2}(I_n, I_s) + E_{1.2}(G_n, G_s)]

    An image entails its genes, which say more. Between levels the field argues both ways: the
    formula has the niche as the parent, HyperST's released code the spot
    (:math:`E_{1.2}(I_s, I_n) + E_{1.2}(G_s, G_n)`); ``level_parent`` chooses.

    Parameters
    ----------
    image_spot, image_niche, gene_spot, gene_niche
        Space parts, (b, d); row i of each is spot i.
    curvature
        Negative curvature, > 0; a float or a 0-d tensor.
    level_parent
        Which level entails the other.
    eta_spot, eta_niche
        Factors on the half-aperture between the modalities, of the spots and of the niches.
    eta_image, eta_gene
        Factors on the half-aperture between the levels, of the image and of the genes.

    Returns
    -------
    Tensor
        Radians, 0-d.

    Raises
    ------
    UsageError
        If ``level_parent`` is neither "spot" nor "niche".
    """
    image_levels, gene_levels = (image_niche, image_spot), (gene_niche, gene_spot)
    if level_parent == "spot":
        image_levels, gene_levels = image_levels[::-1], gene_levels[::-1]
    elif level_parent != "niche":
        raise UsageError(
            f"There is no level '{level_parent}' that could be the parent of the other.",
            hint="Choose 'spot' or 'niche'.",
        )

    def entails(parent: Tensor, child: Tensor, eta: float) -> Tensor:
        return entailment_loss(parent, child, curvature=curvature, eta=eta)

    return 0.5 * (
        entails(image_spot, gene_spot, eta_spot)
        + entails(image_niche, gene_niche, eta_niche)
        + entails(*image_levels, eta_image)
        + entails(*gene_levels, eta_gene)
    )
