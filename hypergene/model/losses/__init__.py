"""Training objectives, one idea a file; each takes plain tensors and returns a scalar."""

from hypergene.model.losses.clusters import cluster_divergence
from hypergene.model.losses.contrast import (
    Geometry,
    branch_contrast,
    contrastive_loss,
    expression_targets,
    hierarchical_contrastive_alignment,
    pair_distances,
)
from hypergene.model.losses.counts import negative_binomial
from hypergene.model.losses.entailment import (
    LevelParent,
    entailment_loss,
    hierarchical_entailment_alignment,
)
from hypergene.model.losses.regression import gaussian_nll, huber, mse
from hypergene.model.losses.regularisers import collapse, radius_dependence
from hypergene.model.losses.relative import listwise
from hypergene.model.losses.richness import richness_entailment, richness_parents

__all__ = [
    "Geometry",
    "LevelParent",
    "branch_contrast",
    "cluster_divergence",
    "collapse",
    "contrastive_loss",
    "entailment_loss",
    "expression_targets",
    "gaussian_nll",
    "hierarchical_contrastive_alignment",
    "hierarchical_entailment_alignment",
    "huber",
    "listwise",
    "mse",
    "negative_binomial",
    "pair_distances",
    "radius_dependence",
    "richness_entailment",
    "richness_parents",
]
