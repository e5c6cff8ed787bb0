"""The contrast finds pairs, and cannot be paid with what tells slides apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import distance, exp0, from_full, to_full
from hypergene.model.losses import (
    Geometry,
    branch_contrast,
    contrastive_loss,
    expression_targets,
    hierarchical_contrastive_alignment,
    pair_distances,
)

B, D = 12, 6
GEOMETRIES = pytest.mark.parametrize("geometry", ["lorentz", "euclidean", "cosine"])
WITH_DISTANCES = pytest.mark.parametrize("geometry", ["lorentz", "euclidean"])
SLIDES = torch.tensor([0, 1, 2] * 4)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image spot and niche, gene spot and niche; gene and image of a spot are related."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(B, D, dtype=torch.float64, generator=generator)
    noise = torch.randn(4, B, D, dtype=torch.float64, generator=generator)
    views = exp0(0.4 * (shared + 0.5 * noise), 0.7)
    return views[0], views[1], views[2], views[3]


def apart(x: Tensor, y: Tensor, geometry: Geometry) -> float:
    if geometry == "cosine":
        return 1 - float(x @ y) / math.hypot(*x.tolist()) / math.hypot(*y.tolist())
    return ((x - y).norm() if geometry == "euclidean" else distance(x, y, 0.7)).item()


def loop(
    a: Tensor,
    b: Tensor,
    temperature: float,
    geometry: Geometry,
    kept: Tensor | None = None,
    targets: Tensor | None = None,
) -> float:
    """L_con by its definition, one pair at a time."""
    total = 0.0
    for i in range(len(a)):
        scores = {}
        for j in range(len(b)):
            if i == j or kept is None or kept[i, j]:
                scores[j] = math.exp(-apart(a[i], b[j], geometry) / temperature)
        wanted = {j: float(i == j) if targets is None else targets[i, j].item() for j in scores}
        partition, mass = sum(scores.values()), sum(wanted.values())
        if mass > 0:
            total -= sum(w / mass * math.log(scores[j] / partition) for j, w in wanted.items())
    return total / len(a)


@GEOMETRIES
def test_one_direction_is_its_definition(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    image, _, gene, _ = batch
    ours = contrastive_loss(image, gene, curvature=0.7, temperature=0.2, geometry=geometry)
    assert ours.shape == ()
    assert ours.item() == pytest.approx(loop(image, gene, 0.2, geometry), rel=1e-9)


@GEOMETRIES
def test_alignment_is_the_mean_of_four_terms_the_niche_ones_one_way(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    image, image_niche, gene, gene_niche = batch
    terms = ((image, gene), (gene, image), (image_niche, gene), (gene_niche, image))
    expected = sum(loop(a, b, 0.2, geometry) for a, b in terms) / 4
    ours = hierarchical_contrastive_alignment(
        *batch, curvature=0.7, temperature=0.2, geometry=geometry
    )
    assert ours.item() == pytest.approx(expected, rel=1e-9)


@GEOMETRIES
def test_masks_and_soft_targets_are_their_definition(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    image, image_niche, gene, gene_niche = batch
    generator = torch.Generator().manual_seed(1)
    ignore = torch.rand(B, B, generator=generator) < 0.3
    soft = torch.rand(B, B, dtype=torch.float64, generator=generator)
    soft[3] = 0
    kept = (SLIDES[:, None] == SLIDES) & ~ignore
    options: dict[str, Any] = {"same_slide": SLIDES, "ignore": ignore}
    for targets in (None, soft):
        expected = [
            loop(a, b, 0.2, geometry, kept, targets)
            for a, b in ((image, gene), (gene, image), (image_niche, gene), (gene_niche, image))
        ]
        common = {"curvature": 0.7, "temperature": 0.2, "geometry": geometry, **options}
        one = contrastive_loss(image, gene, soft_targets=targets, **common)
        assert one.item() == pytest.approx(expected[0], rel=1e-9)
        four = hierarchical_contrastive_alignment(*batch, soft_targets=targets, **common)
        assert four.item() == pytest.approx(sum(expected) / 4, rel=1e-9)


def test_hard_targets_are_soft_targets_of_one(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    hard = hierarchical_contrastive_alignment(*batch, curvature=0.7, temperature=0.1)
    soft = hierarchical_contrastive_alignment(
        *batch, curvature=0.7, temperature=0.1, soft_targets=torch.eye(B).double()
    )
    torch.testing.assert_close(hard, soft)


@GEOMETRIES
def test_the_order_of_spots_does_not_matter(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    order = torch.randperm(B)
    ignore = torch.rand(B, B) < 0.2
    soft = torch.rand(B, B).double()
    common: dict[str, Any] = {"curvature": 0.7, "temperature": 0.2, "geometry": geometry}
    straight = hierarchical_contrastive_alignment(
        *batch, same_slide=SLIDES, ignore=ignore, soft_targets=soft, **common
    )
    shuffled = hierarchical_contrastive_alignment(
        *(view[order] for view in batch),
        same_slide=SLIDES[order],
        ignore=ignore[order][:, order],
        soft_targets=soft[order][:, order],
        **common,
    )
    torch.testing.assert_close(straight, shuffled)


@WITH_DISTANCES
def test_perfect_alignment_costs_little_and_broken_alignment_much(geometry: Geometry) -> None:
    x = 3 * torch.eye(B, dtype=torch.float64)
    options: dict[str, Any] = {"curvature": 0.7, "temperature": 0.07, "geometry": geometry}
    assert hierarchical_contrastive_alignment(x, x, x, x, **options) < 1e-6
    wrong = x.roll(1, dims=0)
    assert hierarchical_contrastive_alignment(x, x, wrong, wrong, **options) > math.log(B)


@GEOMETRIES
def test_collapse_costs_the_log_of_the_batch_with_finite_gradients(geometry: Geometry) -> None:
    for point in (torch.zeros(D), torch.ones(D)):
        views = [point.expand(B, D).clone().requires_grad_() for _ in range(4)]
        temperature = torch.tensor(0.07, requires_grad=True)
        curvature = torch.tensor(1.0, requires_grad=True)
        loss = hierarchical_contrastive_alignment(
            *views, curvature=curvature, temperature=temperature, geometry=geometry
        )
        assert loss.item() == pytest.approx(math.log(B), rel=1e-5)
        loss.backward()
        for tensor in (*views, temperature):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


def test_spots_of_other_slides_and_ignored_spots_have_no_say(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    image, _, gene, _ = batch
    others = SLIDES.ne(SLIDES[0])
    ignore = torch.zeros(B, B, dtype=torch.bool)
    ignore[:, 3] = True
    gene = gene.clone().requires_grad_()
    distances_of_the_first = contrastive_loss(
        image, gene, curvature=0.7, temperature=0.2, same_slide=SLIDES, ignore=ignore,
        soft_targets=torch.eye(B).double() * (torch.arange(B) == 0),
    )  # fmt: skip
    distances_of_the_first.backward()
    assert gene.grad is not None
    assert (gene.grad[others] == 0).all()
    assert (gene.grad[3] == 0).all()
    assert (gene.grad[6].abs() > 0).any(), "a spot of the slide that is not ignored has a say"


def test_the_own_pair_is_kept_although_ignored(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    own = torch.eye(B, dtype=torch.bool)
    with_own, without = (
        hierarchical_contrastive_alignment(*batch, curvature=0.7, temperature=0.2, ignore=ignore)
        for ignore in (own, None)
    )
    assert with_own == without


def test_a_spot_alone_contributes_nothing(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    image, _, gene, _ = batch
    gene = gene.clone().requires_grad_()
    alone = contrastive_loss(
        image, gene, curvature=0.7, temperature=0.2, ignore=torch.ones(B, B, dtype=torch.bool)
    )
    assert alone == 0
    alone.backward()
    assert gene.grad is not None
    assert (gene.grad == 0).all()
    ignore = torch.zeros(B, B, dtype=torch.bool)
    ignore[0] = True
    some = contrastive_loss(image, gene, curvature=0.7, temperature=0.2, ignore=ignore)
    kept = ~ignore
    assert some.item() == pytest.approx(loop(image, gene, 0.2, "lorentz", kept), rel=1e-9)


def shifted(x: Tensor, slides: Tensor, size: float, geometry: Geometry) -> Tensor:
    """Every slide moved by its own constant, along its own axis, by an isometry of the space."""
    moved = x.clone()
    for slide in slides.unique().tolist():
        rows, axis = slides == slide, slide
        if geometry == "euclidean":
            moved[rows, axis] += size
            continue
        turn = torch.eye(x.shape[1] + 1, dtype=x.dtype)
        turn[0, 0] = turn[axis + 1, axis + 1] = math.cosh(size)
        turn[0, axis + 1] = turn[axis + 1, 0] = math.sinh(size)
        moved[rows] = from_full(to_full(x[rows], 0.7) @ turn)
    return moved


@WITH_DISTANCES
def test_a_batch_effect_pays_the_pooled_contrast_but_not_that_within_slides(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    """The point of HESCAPE: an offset a slide, the same on both sides, says nothing of spots."""
    options: dict[str, Any] = {"curvature": 0.7, "temperature": 0.2, "geometry": geometry}
    pooled, within = [], []
    for size in (0.0, 0.5, 1.0, 2.0):
        moved = [shifted(view, SLIDES, size, geometry) for view in batch]
        pooled.append(hierarchical_contrastive_alignment(*moved, **options).item())
        within.append(
            hierarchical_contrastive_alignment(*moved, same_slide=SLIDES, **options).item()
        )
    assert pooled == sorted(pooled, reverse=True)
    assert pooled[-1] < 0.8 * pooled[0]
    assert within == pytest.approx([within[0]] * 4, rel=1e-6)
    assert pooled[-1] == pytest.approx(within[0], rel=0.05), "nothing but slides was learned"


def test_without_curvature_lorentz_is_euclidean(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    flat = hierarchical_contrastive_alignment(*batch, curvature=1e-8, temperature=0.2)
    euclidean = hierarchical_contrastive_alignment(
        *batch, curvature=1.0, temperature=0.2, geometry="euclidean"
    )
    torch.testing.assert_close(flat, euclidean, rtol=1e-5, atol=0)


def test_gradients_reach_views_temperature_and_curvature_and_are_right() -> None:
    generator = torch.Generator().manual_seed(2)
    views = [torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(4)]
    tensors = [*views, torch.tensor(0.5).double(), torch.tensor(0.7).double()]
    for tensor in tensors:
        tensor.requires_grad_()

    def loss(*t: Tensor) -> Tensor:
        return hierarchical_contrastive_alignment(
            t[0], t[1], t[2], t[3], temperature=t[4], curvature=t[5]
        )

    assert torch.autograd.gradcheck(loss, tensors)


@GEOMETRIES
def test_half_precision_views_under_autocast_are_compared_in_float32(geometry: Geometry) -> None:
    views = [torch.randn(B, D).bfloat16() for _ in range(4)]
    options: dict[str, Any] = {"curvature": 1.0, "temperature": 0.1, "geometry": geometry}
    expected = hierarchical_contrastive_alignment(*(v.float() for v in views), **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = hierarchical_contrastive_alignment(*views, **options)
    assert loss.dtype == torch.float32
    assert loss == expected


def test_options_of_another_shape_or_name_are_refused(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    wrong: list[dict[str, Any]] = [
        {"geometry": "spherical"},
        {"same_slide": torch.zeros(B + 1)},
        {"ignore": torch.zeros(B, dtype=torch.bool)},
        {"soft_targets": torch.zeros(B, 1)},
    ]
    for option in wrong:
        with pytest.raises(UsageError, match=str(option.get("geometry", next(iter(option))))):
            hierarchical_contrastive_alignment(*batch, curvature=1.0, temperature=0.1, **option)


@GEOMETRIES
def test_branches_are_contrasted_each_by_itself_and_both_ways(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    image, image_niche, gene, gene_niche = batch
    spots, niches = (
        0.5 * (loop(a, b, 0.2, geometry) + loop(b, a, 0.2, geometry))
        for a, b in ((image, gene), (image_niche, gene_niche))
    )
    options: dict[str, Any] = {"curvature": 0.7, "temperature": 0.2, "geometry": geometry}
    for query, neighbour in ((1.0, 0.5), (0.3, 0.0), (0.0, 2.0), (0.0, 0.0)):
        loss = branch_contrast(*batch, query=query, neighbour=neighbour, **options)
        assert loss.item() == pytest.approx(query * spots + neighbour * niches, rel=1e-9)
    assert branch_contrast(*batch, **options).item() == pytest.approx(spots + 0.5 * niches)


def test_a_branch_of_weight_0_feels_nothing(
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    views = [view.clone().requires_grad_() for view in batch]
    loss = branch_contrast(
        views[0], views[1], views[2], views[3], curvature=0.7, temperature=0.2, neighbour=0.0
    )
    gradients = torch.autograd.grad(loss, views, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, True, False, True]


@GEOMETRIES
def test_distances_known_already_change_nothing_but_the_work(
    batch: tuple[Tensor, Tensor, Tensor, Tensor], geometry: Geometry
) -> None:
    known = pair_distances(batch[0], batch[2], 0.7, geometry)
    options: dict[str, Any] = {"curvature": 0.7, "temperature": 0.2, "geometry": geometry}
    for loss in (hierarchical_contrastive_alignment, branch_contrast):
        assert loss(*batch, spot_distances=known, **options) == loss(*batch, **options)
        assert loss(*batch, spot_distances=2 * known, **options) != loss(*batch, **options)


def test_the_cosine_reads_directions_alone_and_has_finite_gradients_at_the_origin() -> None:
    x = torch.tensor([[2.0, 0.0], [0.0, 0.1], [-3.0, 0.0]])
    expected = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    torch.testing.assert_close(pair_distances(x, 7 * x, 1.0, "cosine"), expected)
    origin = torch.zeros(2, 2, requires_grad=True)
    pair_distances(origin, x, 1.0, "cosine").sum().backward()
    assert origin.grad is not None
    assert torch.isfinite(origin.grad).all()


def naive_targets(u: np.ndarray, kept: np.ndarray, share: float) -> np.ndarray:
    """The formula of methods.md 3.7, one row at a time."""
    n = len(u)
    targets = np.zeros((n, n))
    for i in range(n):
        likely = {j: math.exp(-((u[i] - u[j]) ** 2).sum() / 2) for j in range(n) if kept[i, j]}
        for j, value in likely.items():
            targets[i, j] = (1 - share) * (i == j) + share * value / sum(likely.values())
    return targets


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0, 1))
def test_soft_targets_are_their_formula(seed: int, spots: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(spots, 3))
    slide, near = rng.integers(0, 2, spots), rng.random((spots, spots)) < 0.3
    kept = ((slide[:, None] == slide) & ~near) | np.eye(spots, dtype=bool)
    ours = expression_targets(
        torch.from_numpy(u),
        share,
        same_slide=torch.from_numpy(slide),
        ignore=torch.from_numpy(near),
    )
    np.testing.assert_allclose(ours, naive_targets(u, kept, share), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.sum(1), 1, rtol=1e-12)


def test_spots_of_like_expression_get_the_share_that_others_do_not() -> None:
    u = torch.tensor([[0.0], [0.0], [100.0]])
    expected = torch.tensor([[0.85, 0.15, 0.0], [0.15, 0.85, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(expression_targets(u, 0.3), expected)
    own = expression_targets(torch.randn(4, 2), 0.0)
    torch.testing.assert_close(own, torch.eye(4))
