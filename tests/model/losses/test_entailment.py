"""Entailment asks for cones, and pulls children into them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import exp0, exterior_angle, half_aperture
from hypergene.model.losses import (
    LevelParent,
    entailment_loss,
    hierarchical_entailment_alignment,
)

B, D = 10, 5
LEVELS = pytest.mark.parametrize("level_parent", ["spot", "niche"])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image spot and niche, gene spot and niche."""
    generator = torch.Generator().manual_seed(0)
    views = exp0(0.5 * torch.randn(4, B, D, dtype=torch.float64, generator=generator), 0.7)
    return views[0], views[1], views[2], views[3]


def loop(parent: Tensor, child: Tensor, eta: float) -> float:
    total = 0.0
    for p, q in zip(parent, child, strict=True):
        excess = exterior_angle(p, q, 0.7).item() - eta * half_aperture(p, 0.7).item()
        total += max(0.0, excess)
    return total / len(parent)


def test_one_term_is_its_definition(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    loss = entailment_loss(batch[0], batch[2], curvature=0.7, eta=0.7)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(loop(batch[0], batch[2], 0.7), rel=1e-12)


@LEVELS
def test_alignment_is_half_the_sum_of_four_terms(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], level_parent: LevelParent
) -> None:
    image, image_niche, gene, gene_niche = batch
    levels = [(image_niche, image), (gene_niche, gene)]
    if level_parent == "spot":
        levels = [(spot, niche) for niche, spot in levels]
    pairs = [(image, gene), (image_niche, gene_niche), *levels]
    for etas in ((0.7, 0.7, 1.2, 1.2), (1.0, 0.8, 0.5, 0.2)):
        expected = 0.5 * sum(
            loop(parent, child, eta) for (parent, child), eta in zip(pairs, etas, strict=True)
        )
        names = ("eta_spot", "eta_niche", "eta_image", "eta_gene")
        loss = hierarchical_entailment_alignment(
            *batch,
            curvature=0.7,
            level_parent=level_parent,
            **dict(zip(names, etas, strict=True)),
        )
        assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_niche_is_the_parent_and_the_etas_are_those_of_hyperst_by_default(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    etas = {"eta_spot": 0.7, "eta_niche": 0.7, "eta_image": 1.2, "eta_gene": 1.2}
    spelled_out: dict[str, Any] = {"level_parent": "niche", **etas}
    default = hierarchical_entailment_alignment(*batch, curvature=0.7)
    assert default == hierarchical_entailment_alignment(*batch, curvature=0.7, **spelled_out)


def test_the_order_of_spots_does_not_matter(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    order = torch.randperm(B)
    torch.testing.assert_close(
        hierarchical_entailment_alignment(*batch, curvature=0.7),
        hierarchical_entailment_alignment(*(view[order] for view in batch), curvature=0.7),
    )


@LEVELS
def test_a_chain_outwards_costs_nothing_and_one_inwards_much(level_parent: LevelParent) -> None:
    directions = torch.nn.functional.normalize(torch.randn(B, D).double(), dim=1)
    one, two, three, four = (exp0(r * directions, 1.0) for r in (0.5, 1.0, 1.5, 2.0))
    # image spot, image niche, gene spot, gene niche
    spot_first, niche_first = (one, two, three, four), (two, one, four, three)
    outwards, inwards = (
        (spot_first, niche_first) if level_parent == "spot" else (niche_first, spot_first)
    )
    options: dict[str, Any] = {"curvature": 1.0, "level_parent": level_parent}
    assert hierarchical_entailment_alignment(*outwards, **options) == 0
    assert hierarchical_entailment_alignment(*inwards, **options) > 1


def test_a_child_in_the_cone_feels_nothing() -> None:
    parent = torch.tensor([[0.5, 0.0]], requires_grad=True)
    child = torch.tensor([[1.5, 0.1]], requires_grad=True)
    loss = entailment_loss(parent, child, curvature=1.0, eta=0.7)
    assert loss == 0
    loss.backward()
    assert parent.grad is not None and child.grad is not None
    assert (parent.grad == 0).all() and (child.grad == 0).all()


def test_gradient_descent_brings_a_child_into_the_cone() -> None:
    parent = torch.tensor([[0.5, 0.0], [0.0, 1.0]])
    child = torch.tensor([[0.2, 0.9], [0.5, -0.3]], requires_grad=True)
    losses = []
    for _ in range(400):
        loss = entailment_loss(parent, child, curvature=1.0, eta=0.7)
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, child)
        with torch.no_grad():
            child -= 0.1 * gradient
    assert losses[0] > 0.5
    assert losses[1] < losses[0]
    assert losses[-1] == 0


@LEVELS
def test_collapse_has_finite_gradients(level_parent: LevelParent) -> None:
    for point in (torch.zeros(D), torch.ones(D), torch.full((D,), 1e-8)):
        views = [point.expand(B, D).clone().requires_grad_() for _ in range(4)]
        curvature = torch.tensor(1.0, requires_grad=True)
        hierarchical_entailment_alignment(
            *views, curvature=curvature, level_parent=level_parent
        ).backward()
        for tensor in (*views, curvature):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


def test_half_precision_views_under_autocast_are_measured_in_float32() -> None:
    views = [torch.randn(B, D).bfloat16() for _ in range(4)]
    expected = hierarchical_entailment_alignment(*(v.float() for v in views), curvature=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = hierarchical_entailment_alignment(*views, curvature=1.0)
    assert loss.dtype == torch.float32
    assert loss == expected


def test_a_level_that_does_not_exist_is_refused(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    wrong: Any = "slide"
    with pytest.raises(UsageError, match="slide"):
        hierarchical_entailment_alignment(*batch, curvature=1.0, level_parent=wrong)
