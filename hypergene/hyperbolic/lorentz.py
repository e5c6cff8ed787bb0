r"""The Lorentz model of hyperbolic space, as pure functions over tensors.

A point of the space of curvature :math:`-c` (:math:`c > 0`) is :math:`X = (x_t, x)` with
:math:`c x_t^2 - c |x|^2 = 1`. Only the space part :math:`x \in R^d` is ever stored; the time
:math:`x_t` follows from it. The origin is :math:`x = 0`.

Conventions, the same in every function: the last axis of a point is its d space coordinates, the
axes before it are the batch and broadcast; ``c`` is a float or a tensor that broadcasts with the
batch axes, and gradients flow to it. Lengths are in the unit of the space, without a physical
meaning. Inputs in half precision are computed in float32 (:mod:`hypergene.hyperbolic.precision`).

The forms are chosen for float32: the textbook ones (arcosh of the inner product) have NaN
gradients at coincident points and errors of order 1 at distances near 1e-3. What is left is
cancellation between points far out on the same ray: the relative error of a distance there is
about 1e-5 at radius 2 and 4e-3 at radius 5 (in units of 1/sqrt(c)), elsewhere below 2e-6.

Sources: Desai et al. 2023, *Hyperbolic image-text representations* (MERU, arXiv 2304.09172,
section 2 and 3.1) for the model, the lift and storing the space part; Law et al. 2019,
*Lorentzian distance learning*, for the centroid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypergene.hyperbolic.precision import at_least_float32

SQUARED_FLOOR = 1e-12
"""Floor of c times a squared distance: below it a square root has no usable gradient."""

MAX_TANGENT = 5.0
"""Longest tangent vector that is lifted unchanged, in units of 1/sqrt(c)."""

_SERIES_BELOW = 1e-3
_CHUNK_ELEMENTS = 2**26


@at_least_float32
def time(x: Tensor, c: float | Tensor) -> Tensor:
    r"""Time part of points, :math:`x_t = \sqrt{1/c + |x|^2}`.

    Parameters
    ----------
    x
        Space parts, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        (...), at least 1/sqrt(c).
    """
    return (1 / c + x.square().sum(-1)).sqrt()


@at_least_float32
def to_full(x: Tensor, c: float | Tensor) -> Tensor:
    """Full Lorentz vectors, time first as in geoopt.

    Parameters
    ----------
    x
        Space parts, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        (..., d + 1).
    """
    return torch.cat([time(x, c).unsqueeze(-1), x], dim=-1)


def from_full(full: Tensor) -> Tensor:
    """Space parts of full Lorentz vectors; the inverse of :func:`to_full`.

    Parameters
    ----------
    full
        Lorentz vectors with the time first, (..., d + 1).

    Returns
    -------
    Tensor
        (..., d), a view.
    """
    return full[..., 1:]


@at_least_float32
def inner(x: Tensor, y: Tensor, c: float | Tensor) -> Tensor:
    r"""Lorentz inner product :math:`\langle x, y\rangle = x \cdot y - x_t y_t`, at most -1/c.

    Parameters
    ----------
    x, y
        Space parts, (..., d), broadcast against each other.
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        (...).
    """
    return (x * y).sum(-1) - time(x, c) * time(y, c)


@at_least_float32
def distance(x: Tensor, y: Tensor, c: float | Tensor) -> Tensor:
    r"""Geodesic distance, element by element.

    .. math::

        \Delta_t = \frac{(x - y) \cdot (x + y)}{x_t + y_t},\quad q = |x - y|^2 - \Delta_t^2,\quad
        d = \frac{2}{\sqrt c} \operatorname{asinh}\frac{\sqrt{\max(c q, 10^{-12})}}{2}

    which is arcosh(-c<x, y>)/sqrt(c) written in differences: q is the squared Lorentz length of
    X - Y, and :math:`\Delta_t` is the difference of the times without subtracting them.

    Parameters
    ----------
    x, y
        Space parts, (..., d), broadcast against each other.
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        (...), never below about 1e-6/sqrt(c), where its gradient is zero.
    """
    difference = x - y
    time_difference = (difference * (x + y)).sum(-1) / (time(x, c) + time(y, c))
    return _from_squared(difference.square().sum(-1) - time_difference.square(), c)


@at_least_float32
def pairwise_distance(x: Tensor, y: Tensor, c: float | Tensor) -> Tensor:
    r"""Geodesic distance of every point of x to every point of y.

    The squared Euclidean part must come from differences: the usual :math:`|x|^2 + |y|^2 - 2 x y`
    (one matrix product) subtracts numbers of size :math:`|x|^2`, so in float32 a distance of 1e-3
    between points of norm 1 keeps one digit, and coincident points get a distance of 1e-3 or NaN.
    ``torch.cdist`` without its matrix product subtracts first and never stores the (n, m, d)
    differences; on 256 x 256 points in 128 dimensions it was 30 times faster than broadcasting
    :func:`distance`. The times are one number a point, so their difference is taken in float64,
    which loses nothing and costs nothing. Rows go in chunks because the gradient of ``cdist`` on
    a GPU does make an array of (rows, m, d).

    Parameters
    ----------
    x
        Space parts, (n, d).
    y
        Space parts, (m, d).
    c
        Negative curvature, > 0; a float or a 0-d tensor.

    Returns
    -------
    Tensor
        (n, m).
    """
    time_x, time_y = time(x.double(), c), time(y.double(), c)
    rows = max(1, _CHUNK_ELEMENTS // max(1, y.numel()))
    chunks = []
    for some_x, some_time in zip(x.split(rows), time_x.split(rows), strict=True):
        euclidean = torch.cdist(some_x, y, compute_mode="donot_use_mm_for_euclid_dist")
        time_difference = (some_time.unsqueeze(1) - time_y).to(euclidean.dtype)
        chunks.append(_from_squared(euclidean.square() - time_difference.square(), c))
    return torch.cat(chunks)


@at_least_float32
def exp0(v: Tensor, c: float | Tensor) -> Tensor:
    r"""Lift tangent vectors at the origin onto the hyperboloid.

    .. math:: x = v \frac{\sinh z}{z},\quad z = \sqrt c\,|v|

    with :math:`1 + z^2/6` for z below 1e-3, and |v| clamped at 5/sqrt(c): farther out float32 no
    longer resolves the hyperboloid.

    Parameters
    ----------
    v
        Tangent vectors, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        Space parts, (..., d); |x| <= sinh(5)/sqrt(c).
    """
    z = c**0.5 * torch.linalg.vector_norm(v, dim=-1)
    small = z < _SERIES_BELOW
    # The branch that is not taken must be finite too, or its gradient (0 times inf) is NaN.
    stretch = z.clamp(max=MAX_TANGENT).sinh() / torch.where(small, 1.0, z)
    return v * torch.where(small, 1 + z.square() / 6, stretch).unsqueeze(-1)


@at_least_float32
def log0(x: Tensor, c: float | Tensor) -> Tensor:
    r"""Tangent vectors at the origin that lift to given points; the inverse of :func:`exp0`.

    .. math:: v = x \frac{\operatorname{asinh} z}{z},\quad z = \sqrt c\,|x|

    Parameters
    ----------
    x
        Space parts, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        Tangent vectors, (..., d).
    """
    z = c**0.5 * torch.linalg.vector_norm(x, dim=-1)
    small = z < _SERIES_BELOW
    shrink = z.asinh() / torch.where(small, 1.0, z)
    return x * torch.where(small, 1 - z.square() / 6, shrink).unsqueeze(-1)


@at_least_float32
def radius(x: Tensor, c: float | Tensor) -> Tensor:
    r"""Geodesic distance to the origin, :math:`\operatorname{asinh}(\sqrt c\,|x|)/\sqrt c`.

    Parameters
    ----------
    x
        Space parts, (..., d).
    c
        Negative curvature, > 0.

    Returns
    -------
    Tensor
        (...).
    """
    root = c**0.5
    return (root * torch.linalg.vector_norm(x, dim=-1)).asinh() / root


@at_least_float32
def centroid(x: Tensor, weights: Tensor, c: float | Tensor) -> Tensor:
    r"""Lorentz centroids of weighted points.

    .. math:: S = \sum_j w_j X_j,\quad \mu = \frac{S}{\sqrt c \sqrt{|\langle S, S\rangle|}}

    :math:`\mu` minimises the weighted sum of squared Lorentz distances (Law et al. 2019). It does
    not depend on the scale of the weights.

    Parameters
    ----------
    x
        Space parts, (..., K, d): K points for each centroid; or (m, d): one set of points that
        all centroids share.
    weights
        Weights >= 0, (..., K); with shared points (n, m), dense or ``torch.sparse``, one row a
        centroid.
    c
        Negative curvature, > 0; a float or a 0-d tensor.

    Returns
    -------
    Tensor
        Space parts, (..., d). A row without any weight (a point without neighbours) gets the
        origin.
    """
    points = to_full(x, c)
    total = weights @ points if points.dim() == 2 else (weights.unsqueeze(-2) @ points).squeeze(-2)
    total_time, total_space = total[..., 0], from_full(total)
    squared = (total_time.square() - total_space.square().sum(-1)).abs()
    length = torch.where(squared == 0, 1.0, squared).sqrt()
    return total_space / (c**0.5 * length).unsqueeze(-1)


def _from_squared(q: Tensor, c: float | Tensor) -> Tensor:
    """Distance from the squared Lorentz length q of the chord X - Y."""
    return 2 / c**0.5 * ((c * q).clamp_min(SQUARED_FLOOR).sqrt() / 2).asinh()
