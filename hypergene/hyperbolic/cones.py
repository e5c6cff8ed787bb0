r"""Entailment cones: which points lie behind a point, seen from the origin.

Every point p away from the origin carries a cone that opens outwards; p *entails* q when q lies in
it. The cone is wide near the origin (general) and narrow far out (specific). Conventions are those
of :mod:`hypergene.hyperbolic.lorentz`.

Sources: Ganea et al. 2018, *Hyperbolic entailment cones* (arXiv 1804.01882); in the Lorentz model
Le et al. 2019, *Inferring concept hierarchies from text corpora via hyperbolic embeddings*, and
Desai et al. 2023 (MERU, arXiv 2304.09172, section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.hyperbolic.lorentz import SQUARED_FLOOR, time
from hypergene.hyperbolic.precision import at_least_float32

MIN_RADIUS = 0.1
"""K: cones are not defined nearer to the origin than |p| = 2K/sqrt(c); there they are widest."""

_WIDEST_SINE = 1 - 1e-6
_ORIGIN_BELOW = 1e-12


@at_least_float32
def half_aperture(p: Tensor, c: float | Tensor) -> Tensor:
    r"""Half the opening angle of the cone at p.

    .. math:: \arcsin\min\Big(1 - 10^{-6}, \frac{2K}{\sqrt c\,\max(|p|, 2K/\sqrt c)}\Big)

    Parameters
    ----------
    p
        Space parts of the apexes, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        Radians, (...), in (0, pi/2).
    """
    z = c**0.5 * torch.linalg.vector_norm(p, dim=-1)
    return (2 * MIN_RADIUS / z.clamp_min(2 * MIN_RADIUS)).clamp(max=_WIDEST_SINE).asin()


@at_least_float32
def exterior_angle(p: Tensor, q: Tensor, c: float | Tensor) -> Tensor:
    r"""Angle at p between the ray from the origin through p and the geodesic from p to q.

    .. math::

        h = p/|p|,\quad a = h \cdot q,\quad b = |q - a h|,\quad
        \operatorname{atan2}(b, \sqrt c\,(p_t a - q_t |p|))

    The two arguments of atan2 are the components of the direction to q across and along the ray.
    The arccos form has no finite gradient for collinear points, which is where the entailment
    loss drives them; this one has. Its float32 error grows as points come close: at radius 2 it
    is 5e-5 rad at distance 0.1 and 3e-3 rad at 1e-3.

    Parameters
    ----------
    p
        Space parts of the apexes, (..., d).
    q
        Space parts of the points looked at, (..., d), broadcast against p.
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        Radians, (...), in [0, pi]. Where the angle does not exist: 0 for coincident points (nearer
        than 1e-6/sqrt(c); no gradient), pi/2 for p at the origin.
    """
    norm = torch.linalg.vector_norm(p, dim=-1)
    h = p / torch.where(norm < _ORIGIN_BELOW, 1.0, norm).unsqueeze(-1)
    a = (h * q).sum(-1)
    across = torch.linalg.vector_norm(q - a.unsqueeze(-1) * h, dim=-1)
    along = c**0.5 * (time(p, c) * a - time(q, c) * norm)
    # across² + along² = sinh²(sqrt(c) d)/c, so this is the floor of the distance once more.
    coincident = c * (across.square() + along.square()) < SQUARED_FLOOR
    return torch.atan2(torch.where(coincident, 0.0, across), torch.where(coincident, 1.0, along))


@at_least_float32
def cone_violation(p: Tensor, q: Tensor, c: float | Tensor, eta: float = 1.0) -> Tensor:
    r"""How far q lies outside the cone of p, :math:`\max(0, ext(p, q) - \eta\,aper(p))`.

    Parameters
    ----------
    p
        Space parts of the apexes, (..., d).
    q
        Space parts of the points that p should entail, (..., d), broadcast against p.
    c
        Negative curvature, > 0.
    eta
        Factor on the half-aperture: below 1 a stricter cone, above 1 a looser one (HyCoCLIP,
        arXiv 2410.06912).

    Returns
    -------
    Tensor
        Radians, (...); 0 inside the cone.
    """
    return (exterior_angle(p, q, c) - eta * half_aperture(p, c)).relu()
