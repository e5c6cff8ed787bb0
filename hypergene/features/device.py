"""Where the network runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

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
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"There is no device {name!r}.", hint="Choose auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"This machine has no device {name!r} that torch can use.",
            hint="Choose --device cpu, or install a torch that matches the driver.",
        )
    return device


def encoder_precision(device: torch.device, *, training: bool) -> AbstractContextManager[None]:
    """Autocast for the encoder: bfloat16 on a GPU, and in training also on a CPU that has it.

    Prediction on a CPU stays in float32, so that its numbers do not depend on the CPU's make.
    """
    fast = device.type == "cuda" or (training and cpu_has_bfloat16())
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def precision_name(device: torch.device) -> str:
    """Precision of the encoder in prediction, as written into outputs."""
    return "bfloat16" if device.type == "cuda" else "float32"


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (elsewhere it is slower than float32)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
