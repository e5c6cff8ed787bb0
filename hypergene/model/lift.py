"""From tangent vectors to points of the shared space, and what can be read there."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.config import GeometryConfig

MAX_INVERSE_TEMPERATURE = 100.0
CURVATURE_RANGE = (0.1, 10.0)
"""Bounds of c, where -c is the curvature."""
DISTANCE_FLOOR = 1e-6
"""Of Euclidean distances, as in the Lorentz model: below it a root has no usable gradient."""


class SharedSpace(nn.Module):
    """The space in which images and genes meet: Lorentz, or its Euclidean twin.

    Holds the few scalars of the geometry: log curvature, one scale per modality and the
    temperature of the contrast (MERU, arXiv 2304.09172, section 3). None of them is decayed.
    In the Euclidean twin the lift is the identity, distances are Euclidean and a centroid is a
    mean; everything else stays the same, so that only the geometry differs.

    Points and distances are float32, whatever precision the tangent vectors come in.

    Parameters
    ----------
    config
        Kind and dimension of the space.
    """

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        self.hyperbolic = config.kind == "lorentz"
        self.kind = config.kind
        self.log_curvature = nn.Parameter(torch.zeros(()), requires_grad=self.hyperbolic)
        start = math.log(config.dim**-0.5)
        self.log_scale_image = nn.Parameter(torch.tensor(start))
        self.log_scale_gene = nn.Parameter(torch.tensor(start))
        self.log_inverse_temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def curvature(self) -> Tensor:
        """The c of the curvature -c, 0-d, kept in 0.1..10."""
        low, high = (math.log(bound) for bound in CURVATURE_RANGE)
        return self.log_curvature.clamp(low, high).exp()

    @property
    def temperature(self) -> Tensor:
        """Temperature of the contrast, 0-d, at least 0.01."""
        return (-self.log_inverse_temperature.clamp(max=math.log(MAX_INVERSE_TEMPERATURE))).exp()

    def lift_image(self, tangent: Tensor) -> Tensor:
        """Lift image tangent vectors (n, dim) to points (n, dim)."""
        return self._lift(tangent, self.log_scale_image)

    def lift_gene(self, tangent: Tensor) -> Tensor:
        """Lift gene tangent vectors (n, dim) to points (n, dim)."""
        return self._lift(tangent, self.log_scale_gene)

    def _lift(self, tangent: Tensor, log_scale: Tensor) -> Tensor:
        return self.lift(tangent.float() * log_scale.clamp(max=0.0).exp())

    def lift(self, tangent: Tensor) -> Tensor:
        """Lift tangent vectors at the origin (n, dim) as they are: the inverse of `unlift`."""
        return hyperbolic.exp0(tangent, self.curvature) if self.hyperbolic else tangent

    def unlift(self, points: Tensor) -> Tensor:
        """Return the tangent vectors at the origin (n, dim) that lift to points (n, dim)."""
        return hyperbolic.log0(points, self.curvature) if self.hyperbolic else points

    def distance(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the distances (...) of paired points, (..., dim) each, broadcast."""
        if self.hyperbolic:
            return hyperbolic.distance(left, right, self.curvature)
        return _length(left - right)

    def radius(self, points: Tensor) -> Tensor:
        """Return the distances (n,) of points (n, dim) to the origin."""
        if self.hyperbolic:
            return hyperbolic.radius(points, self.curvature)
        return _length(points)


def _length(vectors: Tensor) -> Tensor:
    return vectors.square().sum(-1).clamp_min(DISTANCE_FLOOR**2).sqrt()
