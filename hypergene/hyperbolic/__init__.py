"""Hyperbolic geometry in the Lorentz model; it knows nothing of genes or slides."""

from hypergene.hyperbolic.cones import cone_violation, exterior_angle, half_aperture
from hypergene.hyperbolic.lorentz import (
    centroid,
    distance,
    exp0,
    from_full,
    inner,
    log0,
    pairwise_distance,
    radius,
    time,
    to_full,
)
from hypergene.hyperbolic.manifold import geoopt_lorentz
from hypergene.hyperbolic.precision import at_least_float32

__all__ = [
    "at_least_float32",
    "centroid",
    "cone_violation",
    "distance",
    "exp0",
    "exterior_angle",
    "from_full",
    "geoopt_lorentz",
    "half_aperture",
    "inner",
    "log0",
    "pairwise_distance",
    "radius",
    "time",
    "to_full",
]
