"""Where the network runs, in which precision, and whether it repeats itself bit by bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch

from hypergene.errors import HypergeneError, UsageError, first_line

Precision = Literal["auto", "float32", "bfloat16"]


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


def encoder_precision(
    device: torch.device, *, training: bool, precision: Precision = "auto"
) -> AbstractContextManager[None]:
    """Autocast for the encoder: to bfloat16, or not at all.

    Prediction on a CPU stays in float32, so that its numbers do not depend on the CPU's make.

    Parameters
    ----------
    device
        Where the encoder runs.
    training
        Whether this is a training step.
    precision
        ``auto`` = bfloat16 where the device multiplies it in hardware.
    """
    if precision == "auto":
        on_gpu = device.type == "cuda"
        fast = _gpu_has_bfloat16(device) if on_gpu else training and cpu_has_bfloat16()
    else:
        fast = precision == "bfloat16"
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


@contextmanager
def repeatable(wanted: bool = True) -> Iterator[None]:
    """Use algorithms that give the same bits in every run, for as long as this context lasts.

    On the same machine, with the same versions and the same number of threads.

    Parameters
    ----------
    wanted
        False leaves everything as it is.

    Raises
    ------
    HypergeneError
        Something in the context has no such algorithm on its device.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # cuBLAS reads it when it is first used, and refuses to be repeatable without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = first_line(error).split(", but")[0]
        raise HypergeneError(
            f"This device cannot repeat a run bit by bit: {what}.",
            hint="Set train.deterministic to false, or --device cpu.",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
