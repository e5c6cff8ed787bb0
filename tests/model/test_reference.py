"""How unusual a spot is, as a percentile of the training spots."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypergene.model.reference import DIRECTIONS, QUANTILES, Reference

FEATURES = 48


def tissue(n: int, seed: int = 0) -> Tensor:
    """Features with a few strong directions, an offset, and two that never fire."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, FEATURES + 1).float() ** -0.7
    features = 3 + torch.randn(n, FEATURES, generator=generator) * spread
    features[:, :2] = 0
    return features


def fitted(features: Tensor) -> Reference:
    reference = Reference(features.shape[1])
    reference.fit(features)
    return reference


def test_training_spots_are_spread_evenly_over_0_to_1():
    features = tissue(3000)
    scores = fitted(features)(features)
    assert scores.dtype == torch.float32 and scores.shape == (3000,)
    share = torch.histc(scores - 0.005, bins=10, min=0, max=1) / 3000
    torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.012, rtol=0)
    assert scores.min() == 0 and scores.max() == 1


def test_other_spots_of_the_same_tissue_are_about_as_usual():
    scores = fitted(tissue(3000))(tissue(1000, seed=1))
    assert 0.45 < scores.mean() < 0.55


def test_the_center_is_the_most_usual_place():
    features = tissue(500)
    assert fitted(features)(features.mean(0, keepdim=True)).item() == 0


@pytest.mark.parametrize("feature", [2, FEATURES - 1, 0])
def test_a_spot_far_away_is_as_unusual_as_can_be_in_whatever_direction(feature: int):
    """Along the strongest direction, the weakest, and one that training never used."""
    features = tissue(500)
    spot = features.mean(0)
    steps = torch.linspace(0, 20, 30)[:, None] * torch.eye(FEATURES)[feature]
    scores = fitted(features)(spot + steps)
    assert scores[0] == 0 and scores[-1] == 1
    assert (scores.diff() >= 0).all()


def test_the_unit_of_the_features_does_not_matter():
    features, others = tissue(400), tissue(100, seed=2)
    scores = fitted(features)(others)
    for unit in (1e-3, 1e4):
        assert (fitted(unit * features)(unit * others) - scores).abs().max() <= 0.011


@pytest.mark.parametrize("n", [1, 2, 5, DIRECTIONS - 1])
def test_fewer_spots_than_directions_make_a_reference(n: int):
    features = tissue(n)
    reference = fitted(features)
    assert all(buffer.isfinite().all() for buffer in reference.buffers())
    scores = reference(features)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert reference(features + 100).tolist() == [1.0] * n
    # One by one as all together: the scores are not rounding errors.
    one_by_one = torch.cat([reference(spot[None]) for spot in features])
    assert (one_by_one - scores).abs().max() <= 0.011


def test_training_spots_that_are_all_alike_make_a_reference():
    features = tissue(1).repeat(50, 1)
    reference = fitted(features)
    assert reference(features).max() == 0
    assert reference(features[:1] + 1).item() == 1


def test_the_distance_is_that_of_mahalanobis_where_all_directions_are_kept():
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 0.2], [0.0, 0.0, 10.0]])
    features = 20 + torch.randn(500, 3, generator=generator) @ mix
    exact = features.double() - features.double().mean(0)
    distance = (exact @ torch.linalg.inv(exact.T.cov()) * exact).sum(1)
    share_nearer = distance.argsort().argsort() / 500
    torch.testing.assert_close(fitted(features)(features), share_nearer, atol=0.012, rtol=0)


def test_a_reference_is_fitted_where_it_lies_from_features_of_any_precision():
    features = tissue(200)
    reference = Reference(FEATURES)
    reference.fit(features.double())
    assert {buffer.dtype for buffer in reference.buffers()} == {torch.float32}
    assert torch.equal(reference(features.double()), fitted(features)(features))


def holding(features: Tensor, others: Tensor) -> Reference:
    """A reference of `features` with the distances of `others`."""
    reference = fitted(features)
    reference.hold(torch.quantile(reference.ratios(others), torch.linspace(0, 1, QUANTILES)))
    return reference


def test_held_out_spots_are_spread_evenly_over_0_to_1_however_far_they_lie():
    others = 3 * tissue(3000, seed=1) + 2
    assert (fitted(tissue(3000))(others) == 1).all()
    scores = holding(tissue(3000), others)(others)
    share = torch.histc(scores, bins=10, min=0, max=1) / 3000
    torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.012, rtol=0)
    assert 0.005 < (scores >= 0.99).float().mean() < 0.015


def test_beyond_all_held_out_spots_farther_is_more_unusual_and_never_saturates():
    reference = holding(tissue(500), tissue(500, seed=1))
    direction = torch.eye(FEATURES)[5]
    steps = torch.logspace(-2, 3, 60)[:, None]
    scores = reference(tissue(500).mean(0) + steps * direction)
    assert scores[-1] < 1 and scores[-1] > 0.9999
    far = scores >= 0.99
    assert far.sum() > 20
    assert (scores.diff() >= 0).all() and (scores[far].diff() > 0).all()
    others = torch.linspace(0, 1, 500)
    assert (reference(tissue(500) * others[:, None]) >= 0).all()


def test_ratios_hold_for_a_reference_of_other_units():
    features, others, new = tissue(500), tissue(500, seed=1) * 1.3, tissue(100, seed=2) * 1.2
    ratios = torch.quantile(fitted(features).ratios(others), torch.linspace(0, 1, QUANTILES))
    scaled = fitted(7 * features)
    scaled.hold(ratios)
    torch.testing.assert_close(scaled(7 * new), holding(features, others)(new), atol=0.011, rtol=0)


def test_without_held_out_spots_the_tensors_are_those_of_old_models():
    assert "held_out" not in fitted(tissue(50)).state_dict()
    held = holding(tissue(50), tissue(50, seed=1))
    again = Reference(FEATURES, held_out=True)
    again.load_state_dict(held.state_dict())
    assert torch.equal(again(tissue(20, seed=2)), held(tissue(20, seed=2)))
