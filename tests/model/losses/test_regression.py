"""Regression losses are the means they say they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.model.losses import gaussian_nll, huber, mse

B, G = 5, 7


@pytest.fixture
def values() -> tuple[Tensor, Tensor, Tensor]:
    """Mean, spread and target."""
    generator = torch.Generator().manual_seed(0)
    mean, raw, target = torch.randn(3, B, G, dtype=torch.float64, generator=generator)
    return mean, raw.exp(), 3 * target


def nll(mean: float, std: float, target: float) -> float:
    y, mu, sigma = torch.tensor([target, mean, std], dtype=torch.float64)
    return -torch.distributions.Normal(mu, sigma).log_prob(y).item()


def huber_element(error: float, delta: float) -> float:
    return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)


def loop(element: Callable[[int, int], float], weights: Tensor | None) -> float:
    total = mass = 0.0
    for i in range(B):
        for j in range(G):
            weight = 1.0 if weights is None else weights.expand(B, G)[i, j].item()
            total, mass = total + weight * element(i, j), mass + weight
    return total / mass


@pytest.mark.parametrize("shape", [None, (G,), (B, 1), (B, G)], ids=str)
def test_losses_are_weighted_means_of_their_definitions(
    values: tuple[Tensor, Tensor, Tensor], shape: tuple[int, ...] | None
) -> None:
    mean, std, target = values
    weights = None if shape is None else torch.rand(shape, dtype=torch.float64)
    error = mean - target
    expected = {
        "nll": loop(
            lambda i, j: nll(mean[i, j].item(), std[i, j].item(), target[i, j].item()), weights
        ),
        "huber": loop(lambda i, j: huber_element(error[i, j].item(), 0.8), weights),
        "mse": loop(lambda i, j: error[i, j].item() ** 2, weights),
    }
    ours = {
        "nll": gaussian_nll(mean, std, target, weights=weights),
        "huber": huber(mean, target, delta=0.8, weights=weights),
        "mse": mse(mean, target, weights=weights),
    }
    for name, loss in ours.items():
        assert loss.shape == ()
        assert loss.item() == pytest.approx(expected[name], rel=1e-9), name


def test_elements_of_weight_zero_have_no_say_and_no_weight_is_no_loss(
    values: tuple[Tensor, Tensor, Tensor],
) -> None:
    mean, std, target = values
    weights = torch.ones(G)
    weights[2:] = 0
    for loss, given_values in ((mse, (mean, target)), (gaussian_nll, (mean, std, target))):
        some = loss(*given_values, weights=weights)
        torch.testing.assert_close(some, loss(*(value[:, :2] for value in given_values)))
        assert loss(*given_values, weights=torch.zeros(G)) == 0


def test_a_detached_mean_trains_the_spread_alone_and_keeps_the_value(
    values: tuple[Tensor, Tensor, Tensor],
) -> None:
    mean, std, target = (value.clone().requires_grad_() for value in values)
    detached = gaussian_nll(mean, std, target, detach_mean=True)
    assert detached == gaussian_nll(mean, std, target)
    in_mean, in_std = torch.autograd.grad(detached, (mean, std), allow_unused=True)
    assert in_mean is None
    (expected,) = torch.autograd.grad(gaussian_nll(mean, std, target), std)
    torch.testing.assert_close(in_std, expected)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3))
def test_the_best_spread_is_the_size_of_the_error(mean: float, target: float, std: float) -> None:
    best = max(abs(target - mean), 1e-3)
    at_best, elsewhere = (
        gaussian_nll(*(torch.tensor(value).double() for value in (mean, spread, target)))
        for spread in (best, std)
    )
    assert at_best <= elsewhere + 1e-12


def test_a_vanishing_spread_stays_finite_and_can_grow_again() -> None:
    for spread in (0.0, 1e-9):
        std = torch.tensor([spread], requires_grad=True)
        loss = gaussian_nll(torch.zeros(1), std, torch.ones(1))
        loss.backward()
        assert torch.isfinite(loss)
        assert std.grad is not None
        assert torch.isfinite(std.grad).all()
        assert std.grad < 0, "descent widens it"


def test_half_precision_predictions_under_autocast_are_compared_in_float32() -> None:
    mean, target = torch.randn(2, B, G).bfloat16()
    std = torch.rand(B, G).bfloat16() + 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = (gaussian_nll(mean, std, target), huber(mean, target), mse(mean, target))
    assert {loss.dtype for loss in losses} == {torch.float32}
    torch.testing.assert_close(losses[2], mse(mean.float(), target.float()))
