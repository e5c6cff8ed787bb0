from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.run import tiny_recipe
from tiny.sections import tiny_config

from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training.objective import Objective
from hypergene.training.optimiser import (
    average_decay,
    average_into,
    parameter_groups,
    rate_factor,
)


def test_geometry_scalars_biases_and_norms_are_not_decayed(config: ModelConfig) -> None:
    model = HyperGene(config)
    decayed, spared = parameter_groups(model, tiny_recipe())
    assert decayed["weight_decay"] > 0 and spared["weight_decay"] == 0
    spared_ids = {id(parameter) for parameter in spared["params"]}
    space = model.space
    scalars = (
        *(space.log_curvature, space.log_inverse_temperature),
        *(space.log_scale_image, space.log_scale_gene),
    )
    assert {id(scalar) for scalar in scalars} <= spared_ids
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert biases and {id(p) for p in biases} <= spared_ids
    assert any(id(model.project[0].weight) == id(p) for p in decayed["params"])


def test_an_anchor_is_not_pulled_to_zero() -> None:
    recipe = tiny_recipe("readout.anchor=true", "train.encoder=frozen")
    model = HyperGene(tiny_config(readout=recipe.readout))
    _, spared = parameter_groups(model, recipe)
    assert any(p is model.anchor_scale for p in spared["params"])


def test_a_frozen_encoder_is_in_no_group(config: ModelConfig) -> None:
    model = HyperGene(config)
    groups = parameter_groups(model, tiny_recipe("train.encoder=frozen"))
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert not any(id(parameter) in trained for parameter in model.encoder.parameters())
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_what_only_training_needs_is_optimised_too_and_everything_once(config: ModelConfig) -> None:
    recipe = tiny_recipe("loss.clusters.weight=1", "loss.regression.kind=negative-binomial")
    model = HyperGene(config)
    objective = Objective(model, recipe.loss)
    groups = parameter_groups(model, recipe, objective)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert {id(p) for p in objective.parameters()} <= set(ids)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_full_value_and_falls_to_one_percent(
    steps: int, warmup: float
) -> None:
    factors = [rate_factor(step, steps, warmup) for step in range(steps + 1)]
    top = max(range(steps + 1), key=factors.__getitem__)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[top] == pytest.approx(1.0)
    warm = max(1, round(warmup * steps))
    if warm < steps:
        assert factors[-1] == pytest.approx(0.01)
        assert factors[warm - 1] == pytest.approx(1.0)


def test_young_averages_forget_fast_and_old_ones_as_told() -> None:
    assert average_decay(0, 0.995) == pytest.approx(0.1)
    assert average_decay(10**6, 0.995) == 0.995


def test_averages_follow_weights_and_statistics_but_no_fitted_readout(config: ModelConfig) -> None:
    model = HyperGene(config)
    average = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
        for buffer in model.encoder.buffers():
            buffer.add_(2)
        average.ridge.weight.fill_(3.0)
    before = copy.deepcopy(average)
    average_into(average, model, 0.75, frozenset())
    for name, now in average.named_parameters():
        then = before.get_parameter(name)
        torch.testing.assert_close(now, then + 0.25)
    for name, now in average.encoder.named_buffers():
        then = before.encoder.get_buffer(name)
        moved = 0.5 if now.dtype.is_floating_point else 2
        torch.testing.assert_close(now, then + moved)
    assert bool((average.ridge.weight == 3.0).all())


def test_what_is_fixed_is_not_averaged(config: ModelConfig) -> None:
    model = HyperGene(config)
    average = copy.deepcopy(model)
    name, weights = next(iter(model.encoder.named_parameters()))
    with torch.no_grad():
        weights.add_(1.0)
    before = average.encoder.get_parameter(name).clone()
    average_into(average, model, 0.5, {f"encoder.{name}"})
    assert torch.equal(average.encoder.get_parameter(name), before)
