"""The training objective: every term by name, and their weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.model.config import LayoutConfig
from hypergene.model.losses.contrast import hierarchical_contrastive_alignment
from hypergene.model.losses.entailment import hierarchical_entailment_alignment
from hypergene.model.losses.regression import gaussian_nll, huber, mse
from hypergene.model.network import HyperGene, Reading
from hypergene.training.recipe import Losses


def objective(
    model: HyperGene,
    reading: Reading,
    scores: Tensor,
    niche_scores: Tensor,
    slide: Tensor,
    xy_um: Tensor,
    losses: Losses,
) -> dict[str, Tensor]:
    """Every weighted term of the loss of one batch; their sum is what is minimised.

    A term of weight 0 is not computed.

    Parameters
    ----------
    model
        For its shared space and gene encoders.
    reading
        What the model read off the batch.
    scores, niche_scores
        (b, modules) standardised module scores of the spots, and of their gene niches.
    slide
        (b,) int64, the slide of each spot.
    xy_um
        (b, 2) spot centres, µm.
    losses
        Kinds and weights.

    Returns
    -------
    dict
        Term name -> weighted scalar.
    """
    weights = model.modules_to_genes.module_variance
    kind = losses.regression
    head = reading.head
    terms = {
        "regression": huber(head.mean, scores, delta=kind.delta, weights=weights)
        if kind.kind == "huber"
        else mse(head.mean, scores, weights=weights)
    }
    if kind.spread:
        std = (0.5 * head.log_variance).exp()
        terms["spread"] = kind.spread * gaussian_nll(
            head.mean, std, scores, weights=weights, detach_mean=True
        )
    hca, hea = losses.hca, losses.hea
    if not (hca.weight or hea.weight):
        return terms
    space = model.space
    gene_spot = space.lift_gene(model.gene_spot(scores))
    gene_niche = space.lift_gene(model.gene_niche(niche_scores))
    points = (reading.image.spot, reading.image.niche, gene_spot, gene_niche)
    if hca.weight:
        terms["hca"] = hca.weight * hierarchical_contrastive_alignment(
            *points,
            curvature=space.curvature,
            temperature=space.temperature,
            geometry=space.kind,
            same_slide=slide if hca.same_slide else None,
            ignore=too_near(slide, xy_um, hca.apart_pitch, model.config.layout),
        )
    if hea.weight and space.hyperbolic:
        terms["hea"] = hea.weight * hierarchical_entailment_alignment(
            *points,
            curvature=space.curvature,
            level_parent=hea.level_parent,
            eta_modality=hea.eta_modality,
            eta_level=hea.eta_level,
        )
    return terms


def too_near(slide: Tensor, xy_um: Tensor, apart_pitch: float, layout: LayoutConfig) -> Tensor:
    """Pairs (b, b) bool of one slide that share tissue, and so are no fair negatives."""
    near = torch.cdist(xy_um, xy_um) < apart_pitch * layout.pitch_um
    return near & (slide[:, None] == slide[None, :])
