"""Where the network runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from hypergene.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    UsageError
        The device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hint = "Choose auto, cpu or cuda."
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"There is no device {name!r}.", hint=hint) from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"The device {name!r} is not supported.", hint=hint)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"This machine has no device {name!r} that torch can use.",
            hint="Choose --device cpu, or install a torch that matches the driver.",
        )
    return device


def encoder_precision(device: torch.device, *, training: bool) -> AbstractContextManager[None]:
    """Autocast for the encoder: bfloat16 where the device multiplies it in hardware, or float32.

    Prediction on a CPU stays in float32, so that its numbers do not depend on the CPU's make.
    """
    on_gpu = device.type == "cuda"
    fast = _gpu_has_bfloat16(device) if on_gpu else training and cpu_has_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def precision_name(device: torch.device) -> str:
    """Precision of the encoder in prediction, as written into outputs."""
    return "bfloat16" if device.type == "cuda" and _gpu_has_bfloat16(device) else "float32"


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (elsewhere it is slower than float32)."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _gpu_has_bfloat16(device: torch.device) -> bool:
    """Whether this GPU multiplies bfloat16 in hardware: NVIDIA from Ampere on (8.0), AMD's too."""
    return torch.cuda.get_device_capability(device)[0] >= 8
