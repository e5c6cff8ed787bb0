"""A model small enough for a test, with weights that are not zero, and surroundings for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny.config import TINY, tiny_config

from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene, Surroundings
from hypergene.model.niche import Neighbours

GENES = len(TINY["genes"])
SPOTS, CONTEXT, NEAREST = 7, 20, 5


@pytest.fixture
def make_config() -> Callable[..., ModelConfig]:
    """The configuration of a tiny model, with whole sections replaced."""
    return tiny_config


@pytest.fixture
def make_model(make_config: Callable[..., ModelConfig]) -> Callable[..., HyperGene]:
    """A tiny model in evaluation mode; what is zero at first is drawn at random."""

    def make(seed: int = 0, **sections: Any) -> HyperGene:
        torch.manual_seed(seed)
        model = HyperGene(make_config(**sections)).eval()
        with torch.no_grad():
            if model.reader is not None:
                model.reader.bias.logit.weight.normal_()
            for drawn in (
                model.head.mean.weight,
                model.head.log_variance.weight,
                model.ridge.weight,
                model.modules_to_genes.loadings,
            ):
                drawn.normal_(0, 0.3)
            model.modules_to_genes.mean.uniform_(0.5, 2.0)
            model.ridge.share.fill_(0.4)
        return model

    return make


@pytest.fixture
def features() -> torch.Tensor:
    """(SPOTS, 16) slide-centred features."""
    return torch.randn(SPOTS, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def around() -> Surroundings:
    """Surroundings of SPOTS spots, each with neighbours in each of three rings and single ones."""
    generator = torch.Generator().manual_seed(2)
    rings = []
    for _ in range(3):
        near = torch.rand(SPOTS, CONTEXT, generator=generator) < 0.3
        near[:, 0] = True
        rings.append((near / near.sum(1, keepdim=True)).to_sparse().coalesce())
    context = torch.randn(CONTEXT, 16, generator=generator)
    mask = torch.rand(SPOTS, NEAREST, generator=generator) < 0.7
    mask[:, 0] = True
    nearest = Neighbours(
        torch.randint(0, CONTEXT, (SPOTS, NEAREST), generator=generator),
        100 + 550 * torch.rand(SPOTS, NEAREST, generator=generator),
        mask,
    )
    return Surroundings(context, tuple(rings), nearest)
