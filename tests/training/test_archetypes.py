"""Archetypes settle where the spots are, each with some, and the same every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hypergene.errors import DataError
from hypergene.hyperbolic import exp0, log0
from hypergene.model.archetypes import Archetypes
from hypergene.model.config import GeometryConfig, ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training.archetypes import assignment_loss, fit_archetypes, place_archetypes
from hypergene.training.assess import EncodedSection, encode_sections
from hypergene.training.section import Section

DIM, MODULES = 6, 3
ONE = torch.tensor(1.0)
CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize("kind", ["lorentz", "euclidean"])


def clusters(kind: str, sizes: tuple[int, ...], width: float = 0.1) -> tuple[Tensor, Tensor]:
    """Spots (n, DIM) around axes of the tangent space at radius 1.5, and whose they are."""
    generator = torch.Generator().manual_seed(0)
    label = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    tangents = 1.5 * torch.eye(DIM)[label] + width * torch.randn(
        len(label), DIM, generator=generator
    )
    return (exp0(tangents, 1.0) if kind == "lorentz" else tangents), label


def placed(kind: str, spots: Tensor, count: int, seed: int = 0) -> Archetypes:
    archetypes = Archetypes(GeometryConfig(kind=kind, dim=DIM, archetypes=count), MODULES)
    scores = torch.randn(len(spots), MODULES, generator=torch.Generator().manual_seed(5))
    place_archetypes(archetypes, spots, scores, seed)
    return archetypes


@KINDS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_find_clusters_of_any_size(kind: str, seed: int) -> None:
    spots, label = clusters(kind, (400, 150, 60, 25))
    archetypes = placed(kind, spots, 4, seed)
    weights = archetypes(spots, ONE).weights
    assert weights.argmax(1).tolist() == label.tolist(), "one a cluster, the largest first"
    assert weights.amax(1).mean() > 0.99
    tangents = log0(archetypes.space_parts, 1.0) if kind == "lorentz" else archetypes.points
    centres = torch.stack([spots[label == k].mean(0) for k in range(4)])
    centres = log0(centres, 1.0) if kind == "lorentz" else centres
    torch.testing.assert_close(tangents, centres, rtol=0, atol=0.06)


@KINDS
@pytest.mark.parametrize("count", [3, 12])
def test_in_one_cloud_every_archetype_has_some_tissue(kind: str, count: int) -> None:
    spots, _ = clusters(kind, (600,), width=0.4)
    weights = placed(kind, spots, count)(spots, ONE).weights
    assert weights.mean(0).min() > 0.2 / count
    members = weights.argmax(1).bincount(minlength=count)
    assert members.min() > 0
    assert (members.diff() <= 0).all(), "numbered by how many spots are most like them"


def test_outliers_do_not_keep_an_archetype_to_themselves() -> None:
    spots, _ = clusters("lorentz", (500,), width=0.3)
    spots[:2] = exp0(torch.eye(DIM)[3:5] * 4.0, 1.0)
    share = placed("lorentz", spots, 4)(spots, ONE).weights.mean(0)
    assert share.min() > 0.05


@KINDS
def test_the_seed_alone_decides(kind: str) -> None:
    spots, _ = clusters(kind, (300,), width=0.4)
    torch.manual_seed(1)
    first = placed(kind, spots, 5, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = placed(kind, spots, 5, seed=3), placed(kind, spots, 5, seed=4)
    assert all(torch.equal(first[name], tensor) for name, tensor in again.state_dict().items())
    assert not torch.equal(first["points"], other.points)


@KINDS
def test_what_is_fitted_is_whole_and_single_precision(kind: str) -> None:
    archetypes = placed(kind, clusters(kind, (100, 100))[0], 2)
    assert archetypes.damage() is None
    assert {tensor.dtype for tensor in archetypes.state_dict().values()} == {torch.float32}
    assert not archetypes.points.requires_grad and archetypes.points.grad is None


def test_percentiles_are_even_on_the_training_spots() -> None:
    spots, _ = clusters("lorentz", (700, 300), width=0.3)
    archetypes = placed("lorentz", spots, 3)
    percentile = archetypes.percentile(archetypes(spots, ONE).nearest).sort().values
    even = (torch.arange(1000) + 0.5) / 1000
    assert (percentile - even).abs().max() < 0.02
    far = exp0(torch.full((1, DIM), -1.5), 1.0)
    assert archetypes.percentile(archetypes(far, ONE).nearest).item() == 1.0


def test_scores_are_means_over_the_spots_of_an_archetype() -> None:
    spots, label = clusters("lorentz", (200, 100))
    archetypes = Archetypes(GeometryConfig(dim=DIM, archetypes=2), MODULES)
    scores = torch.stack([label.float(), 1 - label.float(), torch.full((300,), 2.0)], 1)
    place_archetypes(archetypes, spots, scores, 0)
    wanted = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]])
    torch.testing.assert_close(archetypes.scores, wanted, rtol=0, atol=1e-2)


def test_spots_in_batches_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spots, label = clusters("lorentz", (300, 200, 100))
    monkeypatch.setattr("hypergene.training.archetypes.SPOTS_PER_STEP", 50)
    monkeypatch.setattr("hypergene.training.archetypes.MOST_SPOTS", 200)
    archetypes = placed("lorentz", spots, 3)
    assert archetypes(spots, ONE).weights.argmax(1).tolist() == label.tolist()


@KINDS
def test_spots_that_all_coincide_are_no_trouble(kind: str) -> None:
    spots = torch.full((30, DIM), 0.3)
    archetypes = placed(kind, spots, 3)
    assert archetypes.damage() is None
    torch.testing.assert_close(archetypes(spots, ONE).weights.sum(1), torch.ones(30))


def test_more_archetypes_than_spots_are_refused() -> None:
    with pytest.raises(DataError, match="5 training spots, too few for 8 archetypes"):
        placed("lorentz", clusters("lorentz", (5,))[0], 8)


def test_the_loss_pulls_on_archetypes_without_spots() -> None:
    distances = torch.tensor([[0.1, 5.0]] * 10, dtype=torch.float64, requires_grad=True)
    assignment_loss(distances, torch.tensor(0.1, dtype=torch.float64)).backward()
    assert distances.grad is not None
    pull = distances.grad.sum(0)
    assert pull[1] > 0.4, "nearer is better for the starved one"
    assert torch.autograd.gradcheck(
        lambda d: assignment_loss(d, torch.tensor(0.7, dtype=torch.float64)),
        torch.rand(6, 3, dtype=torch.float64, requires_grad=True),
    )


@pytest.fixture
def encoded(
    config: ModelConfig, make_section: Callable[..., Section]
) -> tuple[HyperGene, list[EncodedSection], list[Any]]:
    """A random model with archetypes, two sections that it encoded, and scores of their spots."""
    geometry = config.geometry.model_copy(update={"archetypes": 3})
    torch.manual_seed(0)
    model = HyperGene(config.model_copy(update={"geometry": geometry})).eval()
    sections = [make_section("A1", "A", 0), make_section("B1", "B", 1, offset=0.5)]
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(len(s), config.head.modules)).astype(np.float32) for s in sections]
    return model, encode_sections(model, sections, CPU), scores


def test_only_the_archetypes_of_a_model_are_changed(
    encoded: tuple[HyperGene, list[EncodedSection], list[Any]],
) -> None:
    model, sections, scores = encoded
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_archetypes(model, sections, scores, CPU, seed=0)
    changed = {
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor.nan_to_num(-1), before[name].nan_to_num(-1))
    }
    assert changed == {f"archetypes.{name}" for name in ("points", "scores", "tau", "quantiles")}
    assert model.archetypes is not None and model.archetypes.damage() is None


def test_a_model_without_archetypes_is_left_as_it_is(
    encoded: tuple[HyperGene, list[EncodedSection], list[Any]], config: ModelConfig
) -> None:
    _, sections, scores = encoded
    model = HyperGene(config).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_archetypes(model, sections, scores, CPU, seed=0)
    after = model.state_dict()
    assert all(torch.equal(before[n].nan_to_num(-1), after[n].nan_to_num(-1)) for n in before)
