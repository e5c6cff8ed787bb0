"""The likelihood of counts is the textbook's, and a bad prediction can come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.model.losses import negative_binomial


def naive(x: np.ndarray, c: np.ndarray, depth: np.ndarray, log_alpha: np.ndarray) -> np.ndarray:
    """The negative log-probability of every count by scipy."""
    mu = np.expm1(x) / 1e4 * depth[:, None]
    theta = np.exp(-log_alpha)
    return np.asarray(-nbinom.logpmf(c, theta, theta / (theta + mu)))


def drawn(seed: int, spots: int, genes: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = np.log1p(rng.uniform(0.2, 300, (spots, genes)))
    return (
        x,
        rng.poisson(2, (spots, genes)).astype(float),
        rng.integers(50, 20_000, spots).astype(float),
        rng.uniform(-3, 2, genes),
    )


def tensors(*arrays: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, c, depth, log_alpha = map(torch.from_numpy, arrays)
    return x, c, depth.log(), log_alpha


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
def test_it_is_the_mean_over_what_was_measured(seed: int, spots: int, genes: int) -> None:
    arrays = drawn(seed, spots, genes)
    measured = np.random.default_rng(seed).random((spots, genes)) < 0.7
    expected = naive(*arrays)
    every = negative_binomial(*tensors(*arrays))
    assert every.item() == pytest.approx(expected.mean(), rel=1e-8)
    some = negative_binomial(*tensors(*arrays), measured=torch.from_numpy(measured))
    wanted = expected[measured].mean() if measured.any() else 0.0
    assert some.item() == pytest.approx(wanted, rel=1e-8, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_float32_keeps_four_digits(seed: int) -> None:
    arrays = drawn(seed, 4, 4)
    single = negative_binomial(*(tensor.float() for tensor in tensors(*arrays)))
    assert single.item() == pytest.approx(naive(*arrays).mean(), rel=1e-4, abs=1e-4)


def test_a_value_known_by_hand() -> None:
    """With alpha = 1 it is geometric: P(c) = mu^c / (1 + mu)^(c + 1)."""
    x = torch.tensor([[math.log(11.0)]]).double()  # 10 CP10k in a spot of 1,000: mu = 1
    for count in (0.0, 1.0, 5.0):
        loss = negative_binomial(
            x, torch.tensor([[count]]), torch.tensor([math.log(1000.0)]), torch.zeros(1)
        )
        assert loss.item() == pytest.approx((count + 1) * math.log(2), rel=1e-6)


def test_the_mean_is_the_best_prediction_whatever_the_dispersion() -> None:
    counts = torch.tensor([[3.0], [0.0], [6.0], [1.0]]).double()
    depth = torch.full((4,), 1e4).double().log()
    for log_alpha in (-4.0, 0.0, 2.0):
        x = counts.mean().log1p().requires_grad_()
        loss = negative_binomial(x.expand(4, 1), counts, depth, torch.tensor([log_alpha]).double())
        (slope,) = torch.autograd.grad(loss, x)
        assert abs(slope.item()) < 1e-12


def test_gradients_reach_prediction_and_dispersion_and_are_right() -> None:
    x, c, log_depth, log_alpha = tensors(*drawn(0, 3, 4))
    x.requires_grad_(), log_alpha.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: negative_binomial(a, c, log_depth, b), [x, log_alpha]
    )


@pytest.mark.parametrize("far", [-1e4, -3.0, 0.0, 40.0, 1e4])
def test_predictions_out_of_bounds_stay_finite_and_come_back(far: float) -> None:
    x = torch.full((1, 1), far, requires_grad=True)
    log_alpha = torch.full((1,), far, requires_grad=True)
    loss = negative_binomial(x, torch.full((1, 1), 30.0), torch.tensor([7.0]), log_alpha)
    loss.backward()
    assert x.grad is not None and log_alpha.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()
    assert torch.isfinite(log_alpha.grad).all()
    assert x.grad.sign().item() == (-1.0 if far < 5 else 1.0), "descent moves towards the count"


def test_nothing_measured_is_no_loss_and_zero_counts_are_one() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    arguments = (x, torch.zeros(2, 3), torch.zeros(2), torch.zeros(3))
    assert negative_binomial(*arguments, measured=nothing) == 0
    loss = negative_binomial(*arguments)
    loss.backward()
    assert loss > 0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="counts"):
        negative_binomial(torch.zeros(3, 2), torch.zeros(2), torch.zeros(3), torch.zeros(2))


def test_the_level_of_a_gene_on_a_slide_is_not_to_be_learnt() -> None:
    generator = torch.Generator().manual_seed(0)
    cp10k = 20 + 400 * torch.rand(6, 5, generator=generator).double()
    depth = torch.full((6,), 1e5).double()
    counts = (cp10k * 10).round()
    slide = torch.tensor([0, 0, 0, 1, 1, 1])
    level = torch.tensor([1.0, 1.0, 1.0, 3.0, 3.0, 3.0]).double()[:, None]
    alpha = torch.full((5,), -4.0).double()

    def loss(rate: torch.Tensor, slide: torch.Tensor | None) -> float:
        return negative_binomial(rate.log1p(), counts, depth.log(), alpha, slide=slide).item()

    right, off = loss(cp10k, slide), loss(cp10k * level, slide)
    assert abs(off - right) < 1e-3
    assert loss(cp10k * level, None) > right + 0.1
    shuffled = cp10k[[1, 2, 0, 4, 5, 3]]
    assert loss(shuffled, slide) > right + 0.1
