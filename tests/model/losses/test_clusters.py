"""The divergence from soft clusters is that of Kullback and Leibler."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypergene.model.losses import cluster_divergence


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 5))
def test_it_is_its_definition_and_never_below_0(seed: int, spots: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    z, q = rng.normal(size=(spots, clusters)), rng.dirichlet(np.ones(clusters), spots)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    expected = (q * (np.log(q) - np.log(p))).sum(1).mean()
    ours = cluster_divergence(torch.from_numpy(z), torch.from_numpy(q))
    assert ours.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert ours.item() >= -1e-12


def test_values_known_by_hand() -> None:
    hard = torch.eye(4)
    assert cluster_divergence(torch.zeros(4, 4), hard).item() == pytest.approx(math.log(4))
    soft = torch.tensor([[0.7, 0.2, 0.1]])
    assert cluster_divergence(soft.log() + 3, soft).item() == pytest.approx(0, abs=1e-7)


def test_gradients_are_right_and_finite_for_targets_of_0() -> None:
    targets = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0]]).double()
    logits = torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cluster_divergence(z, targets), [logits])
    far = torch.tensor([[-1e4, 1e4, 0.0]] * 2, requires_grad=True)
    cluster_divergence(far, targets.float()).backward()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()
