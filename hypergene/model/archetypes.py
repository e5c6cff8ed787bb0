"""Archetypes: named states of tissue, points of the shared space that spots are likened to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.config import GeometryConfig

QUANTILES = 101
ON_HYPERBOLOID = 1e-4
"""How far a time part may be off, as a share of itself: many times the rounding of float32."""


class Assignment(NamedTuple):
    """How spots stand to the archetypes.

    Attributes
    ----------
    weights
        (n, archetypes) float32, soft assignment; rows add up to 1.
    nearest
        (n,) float32, distance to the nearest archetype, in units of 1/sqrt(c) (Euclidean twin: as
        it is).
    """

    weights: Tensor
    nearest: Tensor


class Archetypes(nn.Module):
    r"""Points that stand for tissue states, each with the mean expression of what is like it.

    A spot at distances :math:`d_k` belongs to archetype k by :math:`\operatorname{softmax}_k(-d_k
    /\tau)`. In the Lorentz model the archetypes are a ``geoopt.ManifoldParameter`` on the
    hyperboloid of curvature -1, full vectors with the time first; spots are scaled to it by
    sqrt(c), so that they keep their place whatever the learned c. In the Euclidean twin they are
    plain vectors.

    They are fitted after training (:func:`hypergene.training.archetypes.fit_archetypes`), which
    alone lets gradients reach them; until then all lie at the origin. They are numbered from 0, the
    one that most training spots are most like first.

    Parameters
    ----------
    config
        Kind and dimension of the space, number of archetypes (> 0).
    modules
        Number of gene modules.
    """

    def __init__(self, config: GeometryConfig, modules: int) -> None:
        super().__init__()
        self.hyperbolic = config.kind == "lorentz"
        start = torch.zeros(config.archetypes, config.dim)
        if self.hyperbolic:
            # First, because it imports geoopt without its warnings.
            manifold = hyperbolic.geoopt_lorentz(1.0)
            import geoopt

            full = hyperbolic.to_full(start, 1.0)
            self.points: nn.Parameter = geoopt.ManifoldParameter(
                full, manifold=manifold, requires_grad=False
            )
        else:
            self.points = nn.Parameter(start, requires_grad=False)
        self.register_buffer("scores", torch.zeros(config.archetypes, modules))
        self.register_buffer("tau", torch.ones(()))
        self.register_buffer("quantiles", torch.zeros(QUANTILES))
        self.scores: Tensor
        self.tau: Tensor
        self.quantiles: Tensor

    def __len__(self) -> int:
        """Return the number of archetypes."""
        return len(self.points)

    @property
    def space_parts(self) -> Tensor:
        """The archetypes without their time part, (archetypes, dim)."""
        return hyperbolic.from_full(self.points) if self.hyperbolic else self.points

    @hyperbolic.at_least_float32
    def scaled(self, points: Tensor, curvature: Tensor) -> Tensor:
        """Bring points (n, dim) of the space of curvature -c to that of the archetypes."""
        return points * curvature.sqrt() if self.hyperbolic else points

    @hyperbolic.at_least_float32
    def distances(self, scaled: Tensor) -> Tensor:
        """Distances (n, archetypes) of points (n, dim) that :meth:`scaled` gave."""
        if self.hyperbolic:
            return hyperbolic.pairwise_distance(scaled, self.space_parts, 1.0)
        return torch.cdist(scaled, self.points, compute_mode="donot_use_mm_for_euclid_dist")

    def forward(self, points: Tensor, curvature: Tensor) -> Assignment:
        """Assign spots to the archetypes.

        Parameters
        ----------
        points
            (n, dim) float32, image points of spots.
        curvature
            The c of the curvature -c of their space, 0-d.
        """
        distances = self.distances(self.scaled(points, curvature))
        return Assignment((-distances / self.tau).softmax(1), distances.amin(1))

    def percentile(self, nearest: Tensor) -> Tensor:
        """Tell how far from all archetypes spots are, beside the training spots.

        Parameters
        ----------
        nearest
            (n,) float32, of an :class:`Assignment`.

        Returns
        -------
        Tensor
            (n,) float32 in 0..1: the share of training spots that lie nearer to an archetype, to
            the next percent.
        """
        return torch.searchsorted(self.quantiles, nearest).float().div(QUANTILES - 1).clamp_max(1.0)

    def damage(self) -> str | None:
        """Return what cannot be true of loaded values, as the end of a sentence; None = nothing."""
        if not bool(self.tau > 0) or not bool(self.tau.isfinite()):
            return "a tau that is not a positive number"
        if not bool(self.points.isfinite().all()):
            return "points that are not finite"
        if self.hyperbolic:
            time = hyperbolic.time(self.space_parts, 1.0)
            near = (self.points[:, 0] - time).abs() <= ON_HYPERBOLOID * time
            if not bool((near & time.isfinite()).all()):
                return "points that are not on the hyperboloid"
        if not bool(self.quantiles.isfinite().all() and (self.quantiles.diff() >= 0).all()):
            return "quantiles that do not rise"
        return None if bool(self.scores.isfinite().all()) else "scores that are not finite"
