"""What is optimised how: weight decay, the learning rate's course, the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn

from hypergene.model.network import HyperGene
from hypergene.training.recipe import Recipe

FINAL_SHARE = 0.01
"""Of the learning rate that is left at the end."""


def parameter_groups(
    model: HyperGene, recipe: Recipe, objective: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Weights with decay; biases, norms and the scalars of the geometry without.

    A frozen encoder is in neither, and gets no gradient; of one with adapters, they alone are.

    Parameters
    ----------
    model
        Its encoder's ``requires_grad`` is set here, unless adapters have set it.
    recipe
        Says what becomes of the encoder, and how much decay.
    objective
        Parameters that only training needs are among its own; those of the model may be, too.

    Returns
    -------
    list of dict
        As ``torch.optim`` takes them, with decay first; every parameter in one of them, once.
    """
    if recipe.train.encoder != "lora":
        model.encoder.requires_grad_(recipe.train.encoder == "train")
    modules = [model] if objective is None else [model, objective]
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    trained = list(parameters.values())
    return [
        {
            "params": [p for p in trained if p.dim() > 1],
            "weight_decay": recipe.train.weight_decay,
        },
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine down to 1 %.

    Parameters
    ----------
    step
        Steps taken so far.
    steps
        Steps of the whole schedule.
    warmup
        Share of them in which the rate rises.
    """
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def average_decay(step: int, ema: float) -> float:
    """Return how much of the averaged weights stays at a step.

    Young averages forget fast, or the random start would stay in them for long.
    """
    return min(ema, (1 + step) / (10 + step))


@torch.no_grad()
def average_into(average: HyperGene, model: HyperGene, decay: float, fixed: Container[str]) -> None:
    """Move the averaged weights towards those of now by 1 - `decay`.

    Averaged is what steps change: parameters, and the statistics that the encoder gathers. What is
    fitted in closed form belongs to one of the two models alone.

    Parameters
    ----------
    average, model
        Two models of one configuration.
    decay
        Share of the average that stays.
    fixed
        Names in the state dict that no step changes.
    """
    means = moving(average, fixed)
    now = moving(model, fixed)
    weights = [name for name, value in now.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_(
        [means[name] for name in weights], [now[name] for name in weights], 1 - decay
    )
    for name in now.keys() - weights:
        means[name].copy_(now[name])


def moving(model: HyperGene, fixed: Container[str]) -> dict[str, Tensor]:
    """Return by name what steps change in a model: parameters and the encoder's buffers."""
    parts: dict[str, Tensor] = dict(model.named_parameters())
    parts |= {f"encoder.{name}": value for name, value in model.encoder.named_buffers()}
    return {name: value for name, value in parts.items() if name not in fixed}
