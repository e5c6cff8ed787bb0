"""The niche of a spot: what is around it, as one point of the shared space.

The *niche* itself is the centroid of the first ring. A reader attends to single neighbours
instead; it knows them by their points and by how far away they are, never by where they lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.config import ModelConfig
from hypergene.model.lift import SharedSpace

DISTANCE_BASES = 8
"""Gaussians over the distance of a neighbour."""
LEAST_TEMPERATURE = 0.01


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Single neighbours of n spots, at most k each.

    Attributes
    ----------
    index
        (n, k) int64, rows of the context; any row where there is no neighbour.
    distance_um
        (n, k) float32, µm; finite, and of no meaning where there is no neighbour.
    mask
        (n, k) bool, whether there is a neighbour.
    """

    index: Tensor
    distance_um: Tensor
    mask: Tensor

    def gather(self, context: Tensor) -> Tensor:
        """Return each neighbour's row (n, k, ...) of a table (m, ...); 0 where there is none."""
        rows = context[self.index]
        return rows.masked_fill(~self.mask.view(*self.mask.shape, *(1,) * (rows.dim() - 2)), 0.0)

    @property
    def alone(self) -> Tensor:
        """(n,) bool, whether a spot has no neighbour at all."""
        return ~self.mask.any(1)


def ring_centroid(space: SharedSpace, spot: Tensor, context: Tensor, ring: Tensor) -> Tensor:
    """Centroid of a spot's neighbours in a ring, the spot itself if there are none.

    Lorentz centroids (Law et al. 2019) with the ring's weights, or means in the Euclidean twin.

    Parameters
    ----------
    space
        The shared space.
    spot
        (n, dim) float32, points.
    context
        (m, dim) float32, points.
    ring
        Sparse (n, m) float32, one averaging row a spot.

    Returns
    -------
    Tensor
        (n, dim) float32, points.
    """
    if space.hyperbolic:
        niche = hyperbolic.centroid(context, ring, space.curvature)
    else:
        niche = torch.sparse.mm(ring, context)
    alone = torch.sparse.sum(ring, 1).to_dense() == 0
    return torch.where(alone[:, None], spot, niche)


class DistanceBias(nn.Module):
    """What a distance adds to the logit of a neighbour; nothing at first.

    A linear function of Gaussians (radial basis functions) that stand evenly from the least to the
    largest distance, one standard deviation apart.

    Parameters
    ----------
    config
        For the pitch and the rings.
    heads
        Logits of a neighbour.
    """

    def __init__(self, config: ModelConfig, heads: int) -> None:
        super().__init__()
        edges = config.niche.ring_edges_pitch
        self.pitch_um = config.layout.pitch_um
        self.width_pitch = (edges[-1] - edges[0]) / (DISTANCE_BASES - 1)
        centres = torch.linspace(edges[0], edges[-1], DISTANCE_BASES)
        self.register_buffer("centres_pitch", centres, persistent=False)
        self.centres_pitch: Tensor
        self.logit = nn.Linear(DISTANCE_BASES, heads, bias=False)
        nn.init.zeros_(self.logit.weight)

    def forward(self, distance_um: Tensor) -> Tensor:
        """Turn distances (n, k), µm, into logits (n, k, heads)."""
        away = distance_um[..., None] / self.pitch_um - self.centres_pitch
        bias: Tensor = self.logit(torch.exp(-0.5 * (away / self.width_pitch).square()))
        return bias


class TangentAttention(nn.Module):
    """Attention of a spot over its neighbours in the tangent space of the origin, lifted again.

    Multi-head dot products (Vaswani et al. 2017, arXiv 1706.03762, section 3.2) with a bias by
    distance. Values pass unchanged at first, so that it starts as a weighted mean of neighbours.

    Parameters
    ----------
    config
        The model's configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, self.heads = config.geometry.dim, config.niche.heads
        inner = self.heads * math.ceil(dim / self.heads)
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, inner)
        self.key = nn.Linear(dim, inner)
        self.value = nn.Linear(dim, inner, bias=False)
        self.leave = nn.Linear(inner, dim, bias=False)
        nn.init.eye_(self.value.weight)
        nn.init.eye_(self.leave.weight)
        self.bias = DistanceBias(config, self.heads)

    def forward(
        self, space: SharedSpace, spot: Tensor, context: Tensor, near: Neighbours
    ) -> Tensor:
        """Read the neighbours of spots.

        Parameters
        ----------
        space
            The shared space.
        spot
            (n, dim) float32, points.
        context
            (m, dim) float32, points.
        near
            The spots' neighbours in the context.

        Returns
        -------
        Tensor
            (n, dim) float32, points; the spot itself where it has no neighbour.
        """
        tangent, around = space.unlift(spot), space.unlift(context)
        query = self._by_head(self.query(self.norm(tangent)))
        key = near.gather(self._by_head(self.key(self.norm(around))))
        value = near.gather(self._by_head(self.value(around)))
        logits = (query[:, None] * key).sum(-1) / query.shape[-1] ** 0.5
        weights = _softmax(logits + self.bias(near.distance_um), near)
        read = space.lift(self.leave((weights[..., None] * value).sum(1).flatten(1)))
        return torch.where(near.alone[:, None], spot, read)

    def _by_head(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(1, (self.heads, -1))


class HyperbolicAttention(nn.Module):
    r"""Attention by distance in the shared space: a Lorentz centroid of the neighbours.

    .. math:: w_j \propto \exp(-d_L(x, x_j)/\tau + b(\text{distance})),\quad
              \mu = \frac{\sum_j w_j X_j}{\sqrt c \sqrt{|\langle S, S\rangle|}}

    (Gulcehre et al. 2018, *Hyperbolic attention networks*, arXiv 1805.09786; their Einstein
    midpoint is this centroid in the Klein model). With equal weights it is the centroid of the
    neighbours; it starts close to that, at :math:`\tau = 1`.

    Parameters
    ----------
    config
        The model's configuration, of kind ``lorentz``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.bias = DistanceBias(config, heads=1)

    @property
    def temperature(self) -> Tensor:
        """The tau, 0-d, at least 0.01."""
        return self.log_temperature.clamp(min=math.log(LEAST_TEMPERATURE)).exp()

    def forward(
        self, space: SharedSpace, spot: Tensor, context: Tensor, near: Neighbours
    ) -> Tensor:
        """Read the neighbours of spots; see :meth:`TangentAttention.forward`."""
        points = near.gather(context)
        logits = -space.distance(spot[:, None], points) / self.temperature
        weights = _softmax(logits[..., None] + self.bias(near.distance_um), near)[..., 0]
        read = hyperbolic.centroid(points, weights, space.curvature)
        return torch.where(near.alone[:, None], spot, read)


NicheReader = TangentAttention | HyperbolicAttention


def make_reader(config: ModelConfig) -> NicheReader | None:
    """Return what reads single neighbours; None where the rings are enough."""
    match config.niche.reader:
        case "attention":
            return TangentAttention(config)
        case "hyperbolic-attention":
            return HyperbolicAttention(config)
        case "rings":
            return None


def _softmax(logits: Tensor, near: Neighbours) -> Tensor:
    """Weights (n, k, heads) that are 0 where there is no neighbour, and sum to 1 over the rest.

    A spot without any weighs all places alike: a finite answer for it to throw away.
    """
    counted = near.mask | near.alone[:, None]
    return torch.softmax(logits.masked_fill(~counted[..., None], -torch.inf), dim=1)
