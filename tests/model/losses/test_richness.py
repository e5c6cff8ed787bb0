"""A rich profile hangs below the sparser one that is most like it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypergene.hyperbolic import exp0, exterior_angle, half_aperture
from hypergene.model.losses import richness_entailment, richness_parents

SEEDS = st.integers(0, 2**32 - 1)


def naive_parents(
    richness: np.ndarray, profiles: np.ndarray, slide: np.ndarray, levels: int
) -> list[int]:
    def level(i: int) -> int:
        return min(levels - 1, math.floor(levels * richness[i]))

    def cosine(i: int, j: int) -> float:
        return float(profiles[i] @ profiles[j]) / float(
            np.linalg.norm(profiles[i]) * np.linalg.norm(profiles[j])
        )

    parents = []
    for i in range(len(richness)):
        sparser = [j for j in range(len(richness)) if level(j) < level(i)]
        siblings = [j for j in sparser if slide[j] == slide[i]]
        among = siblings or sparser
        parents.append(max(among, key=lambda j, i=i: cosine(i, j)) if among else -1)
    return parents


@given(SEEDS, st.integers(1, 12), st.integers(2, 5))
def test_parents_are_those_of_the_definition(seed: int, spots: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    richness, profiles = rng.random(spots), rng.normal(size=(spots, 3))
    slide = rng.integers(0, 3, spots)
    ours = richness_parents(*map(torch.from_numpy, (richness, profiles, slide)), levels)
    assert ours.tolist() == naive_parents(richness, profiles, slide, levels)


def test_parents_known_by_hand() -> None:
    richness = torch.tensor([0.1, 0.2, 0.3, 0.6, 1.0])
    profiles = torch.tensor([[1.0, 0], [0, 1], [0.1, 1], [1, 1.1], [1, 0.1]])
    one = torch.zeros(5, dtype=torch.long)
    assert richness_parents(richness, profiles, one, 4).tolist() == [-1, -1, 1, 2, 0]
    assert richness_parents(richness, 100 * profiles, one, 4).tolist() == [-1, -1, 1, 2, 0]
    # The last spot's like is on another slide; its own slide has only one sparser spot.
    slide = torch.tensor([1, 0, 0, 0, 0])
    assert richness_parents(richness, profiles, slide, 4).tolist() == [-1, -1, 1, 2, 3]
    # A spot alone on its slide takes what there is.
    alone = torch.tensor([0, 0, 0, 0, 1])
    assert richness_parents(richness, profiles, alone, 4).tolist() == [-1, -1, 1, 2, 0]


def test_equal_richness_has_no_parents() -> None:
    parents = richness_parents(torch.full((6,), 0.5), torch.randn(6, 2), torch.zeros(6), 4)
    assert (parents == -1).all()


@given(SEEDS)
def test_the_loss_is_half_the_violations_of_both_sides(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image, gene = exp0(0.5 * torch.randn(2, 8, 4, generator=generator).double(), 0.7)
    parent = torch.randint(-1, 8, (8,), generator=generator)
    terms = []
    for child, above in enumerate(parent.tolist()):
        if above >= 0:
            excess = [
                exterior_angle(side[above], side[child], 0.7)
                - 1.2 * half_aperture(side[above], 0.7)
                for side in (image, gene)
            ]
            terms.append(0.5 * sum(max(0.0, angle.item()) for angle in excess))
    loss = richness_entailment(image, gene, parent, curvature=0.7)
    assert loss.item() == pytest.approx(np.mean(terms) if terms else 0.0, rel=1e-9, abs=1e-12)


def test_without_parents_it_is_nothing_and_can_be_differentiated() -> None:
    points = torch.randn(3, 2, requires_grad=True)
    none = torch.full((3,), -1)
    loss = richness_entailment(points, points, none, curvature=1.0)
    loss.backward()
    assert loss == 0
    assert points.grad is not None
    assert (points.grad == 0).all()


def test_coincident_points_have_finite_gradients() -> None:
    for point in (torch.zeros(3), torch.ones(3)):
        image, gene = (point.expand(4, 3).clone().requires_grad_() for _ in range(2))
        parent = torch.tensor([-1, 0, 0, 1])
        richness_entailment(image, gene, parent, curvature=1.0).backward()
        for side in (image, gene):
            assert side.grad is not None
            assert torch.isfinite(side.grad).all()
