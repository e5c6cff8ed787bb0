"""Where the lifts start: at a radius where cones have a shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection

Scores = Sequence[NDArray[np.float32]]


@torch.no_grad()
def start_at_unit_radius(
    model: HyperGene, encoded: Sequence[EncodedSection], scores: Scores, niche_scores: Scores
) -> None:
    """Scale the last layers before the lifts so that tangent vectors have unit variance, in place.

    The lift multiplies by ``d^-1/2`` at first, which is meant for vectors whose d components vary
    by 1 (MERU, arXiv 2304.09172, section 3.2): they land at radius 1. Those of a freshly drawn
    projection of slide-centred features are far shorter; their images start so near the origin
    that every cone is as wide as it can be, and entailment has no gradient there.

    Parameters
    ----------
    model
        A fresh model.
    encoded
        Training sections, encoded by it.
    scores, niche_scores
        One (n, modules) float32 a section, standardised module scores of spots and of niches.
    """
    device = model.space.log_curvature.device
    features = _joined([one.features for one in encoded], device)
    if model.two_crops:
        features = torch.cat(features.chunk(2, dim=1))
    _scale(model.project, model.project[-1], features)
    _scale(model.gene_spot, model.gene_spot.leave, _joined(scores, device))
    _scale(model.gene_niche, model.gene_niche.leave, _joined(niche_scores, device))


def _joined(tables: Scores, device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(tables)).to(device)


def _scale(network: nn.Module, last: nn.Module, inputs: Tensor) -> None:
    """Divide a last layer by the root mean square of what the network gives."""
    size = network(inputs).square().mean().sqrt().clamp_min(1e-6)
    for weights in last.parameters():
        weights.div_(size)
