"""Place the archetypes of a trained model among the image points of its training spots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene import hyperbolic
from hypergene.errors import DataError
from hypergene.model.archetypes import QUANTILES, Archetypes
from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection

STARTS = 10
STEPS = 200
SPOTS_PER_STEP = 2048
MOST_SPOTS = 20_000
"""Spots that say where archetypes lie, at most; all say what lies around them."""
STEP_LENGTH = 0.1
"""Of a first step, as a share of the mean distance of the spots to their nearest archetype."""
SMALLEST_TAU = 1e-3
"""As a share of the mean distance: spots that all lie equally far out tell no width."""


@torch.no_grad()
def fit_archetypes(
    model: HyperGene,
    encoded: Sequence[EncodedSection],
    scores: Sequence[NDArray[np.float32]],
    device: torch.device,
    seed: int,
) -> None:
    """Fit the archetypes of `model` to its training spots, in place; nothing else is changed.

    A model without archetypes is left as it is.

    Parameters
    ----------
    model
        The trained model.
    encoded
        Training sections, encoded by this model.
    scores
        One (n, modules) float32 a section: standardised module scores of its spots.
    device
        Where the model is.
    seed
        Of the start and of the batches.

    Raises
    ------
    DataError
        There are fewer training spots than archetypes.
    """
    if model.archetypes is not None:
        points = torch.cat([_image_points(model, section, device) for section in encoded])
        expression = torch.from_numpy(np.concatenate(scores)).to(device)
        scaled = model.archetypes.scaled(points, model.space.curvature)
        place_archetypes(model.archetypes, scaled, expression, seed)


@torch.no_grad()
def place_archetypes(archetypes: Archetypes, spots: Tensor, scores: Tensor, seed: int) -> None:
    """Place archetypes among spots, in place.

    They start at spots far from each other (k-means++ in the tangent space) and move by Riemannian
    Adam until they are soft medians of the spots around them.

    Parameters
    ----------
    archetypes
        What is fitted.
    spots
        (n, dim) float32, as :meth:`Archetypes.scaled` gives them.
    scores
        (n, modules) float32, their standardised module scores.
    seed
        Of the start and of the batches.

    Raises
    ------
    DataError
        There are fewer spots than archetypes.
    """
    if len(spots) < len(archetypes):
        raise DataError(
            f"There are {len(spots):,} training spots, too few for {len(archetypes)} archetypes.",
            hint="Set geometry.archetypes to a smaller number.",
        )
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(spots), generator=generator)[:MOST_SPOTS].to(spots.device)
    # In double precision, for steps on the hyperboloid subtract squares of coordinates; and not on
    # a GPU, so that the seed means the same everywhere.
    archetypes.to("cpu", torch.float64)
    _move(archetypes, spots[some].to("cpu", torch.float64), generator)
    archetypes.to(spots.device, torch.float32)
    _remember(archetypes, spots, scores)


def _image_points(model: HyperGene, section: EncodedSection, device: torch.device) -> Tensor:
    features = torch.from_numpy(section.features).to(device)
    return model.view(features, section.around(device)).spot


def _move(archetypes: Archetypes, spots: Tensor, generator: torch.Generator) -> None:
    """Move archetypes from their start to where the soft assignment of all spots is best."""
    from geoopt.optim import RiemannianAdam

    _place(archetypes, _best_start(archetypes, spots, generator))
    scale = float(archetypes.distances(spots).amin(1).mean())
    # Of a parameter without manifold it is plain Adam.
    optimizer = RiemannianAdam([archetypes.points.requires_grad_(True)], lr=STEP_LENGTH * scale)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        batch = spots
        if len(spots) > SPOTS_PER_STEP:
            rows = torch.randint(len(spots), (SPOTS_PER_STEP,), generator=generator)
            batch = spots[rows]
        with torch.enable_grad():
            distances = archetypes.distances(batch)
            loss = assignment_loss(distances, _width(distances.detach().amin(1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    archetypes.points.requires_grad_(False)
    archetypes.points.grad = None
    _place(archetypes, archetypes.space_parts.clone())


def assignment_loss(distances: Tensor, tau: Tensor) -> Tensor:
    r"""Mean soft distance of spots to the archetypes, and a pull on archetypes without spots.

    .. math:: -\frac{\tau}{n}\sum_i \log \sum_k e^{-d_{ik}/\tau}
        - \frac{\tau}{K}\sum_k \log \frac{1}{n}\sum_i p_{ik}

    The first term is, but for a constant, tau times the negative log likelihood of a mixture of
    kernels exp(-d/tau) of equal weight; its minima are soft geometric medians. The second keeps
    every archetype in use: the fewer spots :math:`p` one has, the harder it is pulled to them.

    Parameters
    ----------
    distances
        (n, archetypes) of spots to archetypes.
    tau
        Width of the kernels, 0-d, > 0.

    Returns
    -------
    Tensor
        0-d, a length.
    """
    logits = -distances / tau
    mass = logits.log_softmax(1).logsumexp(0) - math.log(len(distances))
    return -tau * (logits.logsumexp(1).mean() + mass.mean())


def _width(nearest: Tensor) -> Tensor:
    """Width tau of kernels exp(-d/tau) that leaves spots at these distances, 0-d.

    In m dimensions such distances follow a gamma distribution of scale tau, whose variance is tau
    times its mean whatever m: no dimension of the cloud of spots has to be guessed.
    """
    mean = nearest.mean().clamp_min(1e-6)
    return (nearest.var(correction=0) / mean).maximum(SMALLEST_TAU * mean)


def _best_start(archetypes: Archetypes, spots: Tensor, generator: torch.Generator) -> Tensor:
    """Choose spots (archetypes, dim) to start from: of several draws the one of least loss.

    A draw may spend two archetypes on one state and none on another, or one on an outlier.
    """
    tangents = hyperbolic.log0(spots, 1.0) if archetypes.hyperbolic else spots
    starts = [spots[_far_apart(tangents, len(archetypes), generator)] for _ in range(STARTS)]

    def distances(start: Tensor) -> Tensor:
        _place(archetypes, start)
        return archetypes.distances(spots)

    # One width for all, or their losses could not be compared.
    tau = torch.stack([_width(distances(start).amin(1)) for start in starts]).median()
    return min(starts, key=lambda start: float(assignment_loss(distances(start), tau)))


def _far_apart(tangents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose rows by greedy k-means++, (count,) int64.

    Each next one is the best of a few drawn by squared distance to those chosen before (Arthur and
    Vassilvitskii 2007, *k-means++*, section 4.1).
    """
    tries = 2 + int(math.log(count))
    squared = torch.full((len(tangents),), torch.inf, dtype=tangents.dtype)
    chance = torch.ones_like(squared)
    chosen = []
    for _ in range(count):
        candidates = torch.multinomial(chance, tries, replacement=True, generator=generator)
        left = torch.cdist(tangents[candidates], tangents).square().minimum(squared)
        best = left.sum(1).argmin()
        chosen.append(candidates[best])
        squared = left[best]
        # Spots may coincide, and then nothing may be left to tell them apart.
        chance = squared.clamp_min(torch.finfo(squared.dtype).tiny)
    return torch.stack(chosen)


def _place(archetypes: Archetypes, space_parts: Tensor) -> None:
    """Put archetypes at points (archetypes, dim); their time parts follow."""
    full = hyperbolic.to_full(space_parts, 1.0) if archetypes.hyperbolic else space_parts
    archetypes.points.copy_(full)


def _remember(archetypes: Archetypes, spots: Tensor, scores: Tensor) -> None:
    """Keep width, distances and scores; the archetype with the most tissue becomes the first."""
    distances = archetypes.distances(spots)
    nearest = distances.amin(1)
    archetypes.tau.copy_(_width(nearest))
    weights = (-distances / archetypes.tau).softmax(1)
    members = weights.argmax(1).bincount(minlength=len(archetypes))
    order = members.argsort(descending=True, stable=True)
    _place(archetypes, archetypes.space_parts[order])
    weights = weights[:, order]
    archetypes.scores.copy_(weights.T @ scores / weights.sum(0).clamp_min(1e-12)[:, None])
    steps = np.linspace(0, 1, QUANTILES)
    # numpy's: torch.quantile refuses more than 2^24 values.
    quantiles = np.quantile(nearest.cpu().numpy(), steps)
    archetypes.quantiles.copy_(torch.from_numpy(quantiles))
