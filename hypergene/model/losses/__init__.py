"""Training objectives, one idea a file; each takes plain tensors and returns a scalar."""

from hypergene.model.losses.contrast import (
    Geometry,
    contrastive_loss,
    hierarchical_contrastive_alignment,
)
from hypergene.model.losses.entailment import (
    LevelParent,
    entailment_loss,
    hierarchical_entailment_alignment,
)
from hypergene.model.losses.regression import gaussian_nll, huber, mse

__all__ = [
    "Geometry",
    "LevelParent",
    "contrastive_loss",
    "entailment_loss",
    "gaussian_nll",
    "hierarchical_contrastive_alignment",
    "hierarchical_entailment_alignment",
    "huber",
    "mse",
]
