"""The same space as a geoopt manifold, for parameters that live on the hyperboloid."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hypergene.errors import UsageError

if TYPE_CHECKING:
    import geoopt


def geoopt_lorentz(curvature: float | Tensor, dtype: torch.dtype = torch.float32) -> geoopt.Lorentz:
    """Geoopt's Lorentz manifold of the same curvature as :mod:`hypergene.hyperbolic.lorentz`.

    For ``geoopt.ManifoldParameter`` and ``geoopt.optim.RiemannianAdam``. Its points are full
    vectors with the time first (:func:`~hypergene.hyperbolic.lorentz.to_full`), and its parameter
    is k with <X, X> = -k, that is k = 1/c.

    Parameters
    ----------
    curvature
        Negative curvature c, > 0; a float or a 0-d tensor, from which no gradient is kept.
    dtype
        That of the points: geoopt's checks compare them with k and refuse another dtype.

    Returns
    -------
    geoopt.Lorentz
        With a fixed k.

    Raises
    ------
    UsageError
        If the curvature is not a finite positive number.
    """
    c = float(curvature)
    if not (c > 0 and math.isfinite(c)):
        raise UsageError(
            f"The curvature of a hyperbolic space must be a positive number, not {c}.",
            hint="It is written without its sign: 1.0 means curvature -1.",
        )
    with warnings.catch_warnings():
        # geoopt 0.5.1 scripts its functions when imported; torch has deprecated scripting.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", module=r"torch\.jit\.")
        import geoopt
    return geoopt.Lorentz(k=torch.tensor(1 / c, dtype=dtype))
