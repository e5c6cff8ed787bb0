"""Float32 at least, whatever precision the caller runs in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def at_least_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function over tensors compute in float32 or better, also under autocast.

    Half precision cannot hold the geometry: float16 overflows at a tangent norm of about 6, and
    bfloat16 has three digits. Tensor arguments in half precision are cast with ``.float()``, and
    autocast is off inside. Both are needed: disabling autocast does not raise what is half
    already, and ``autocast(dtype=torch.float32)`` merely switches autocast off on a CPU. All other
    arguments (float32, float64, integers, booleans, not tensors) pass unchanged.

    Parameters
    ----------
    function
        Any function with tensors among its direct arguments.

    Returns
    -------
    Callable
        The same function; its results are never in half precision.
    """

    @wraps(function)
    def in_float32(*args: P.args, **kwargs: P.kwargs) -> R:
        given = (*args, *kwargs.values())
        device = next((a.device.type for a in given if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            raised: dict[str, Any] = {name: _raised(value) for name, value in kwargs.items()}
            return function(*(_raised(value) for value in args), **raised)

    return in_float32


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
