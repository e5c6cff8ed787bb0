"""From tangent vectors to points of the shared space, and what can be read there."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.config import GeometryConfig

MAX_INVERSE_TEMPERATURE = 100.0
CURVATURE_RANGE = (0.1, 10.0)


class SharedSpace(nn.Module):
    """The space in which images and genes meet: Lorentz, or its Euclidean twin.

    Holds the few scalars of the geometry: log curvature, one scale per modality and the
    temperature of the contrast (MERU, arXiv 2304.09172, section 3). None of them is decayed.
    In the Euclidean twin the lift is the identity, distances are Euclidean and a centroid is a
    mean; everything else stays the same, so that only the geometry differs.
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
        """c > 0 of the curvature -c, kept in 0.1..10."""
        low, high = (math.log(bound) for bound in CURVATURE_RANGE)
        return self.log_curvature.clamp(low, high).exp()

    @property
    def temperature(self) -> Tensor:
        """Temperature of the contrast, at least 0.01."""
        return (-self.log_inverse_temperature.clamp(max=math.log(MAX_INVERSE_TEMPERATURE))).exp()

    def lift_image(self, tangent: Tensor) -> Tensor:
        """Points (n, dim) of image tangent vectors (n, dim)."""
        return self._lift(tangent, self.log_scale_image)

    def lift_gene(self, tangent: Tensor) -> Tensor:
        """Points (n, dim) of gene tangent vectors (n, dim)."""
        return self._lift(tangent, self.log_scale_gene)

    def _lift(self, tangent: Tensor, log_scale: Tensor) -> Tensor:
        scaled = tangent.float() * log_scale.clamp(max=0.0).exp()
        return hyperbolic.exp0(scaled, self.curvature) if self.hyperbolic else scaled

    def unlift(self, points: Tensor) -> Tensor:
        """Tangent vectors (n, dim) at the origin."""
        return hyperbolic.log0(points, self.curvature) if self.hyperbolic else points

    def distance(self, left: Tensor, right: Tensor) -> Tensor:
        """Distance of paired points, (n,)."""
        if self.hyperbolic:
            return hyperbolic.distance(left, right, self.curvature)
        return (left - right).square().sum(-1).clamp_min(1e-12).sqrt()

    def radius(self, points: Tensor) -> Tensor:
        """Distance to the origin, (n,)."""
        if self.hyperbolic:
            return hyperbolic.radius(points, self.curvature)
        return points.square().sum(-1).clamp_min(1e-12).sqrt()
