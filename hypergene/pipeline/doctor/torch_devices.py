"""torch, and the devices it can compute on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypergene.errors import first_line
from hypergene.pipeline.doctor.finding import Finding

_DRIVER = Path("/proc/driver/nvidia/version")
_SIDE = 64
_FEW_GB = 4.0
_INSTALL = "Install torch for your driver, as https://pytorch.org/get-started/locally says"


def check_torch() -> Iterator[Finding]:
    """Say which torch, and multiply two matrices on every device there is."""
    import torch

    build = "for the CPU alone"
    if torch.version.cuda:
        build = f"built for CUDA {torch.version.cuda}"
    elif getattr(torch.version, "hip", None):
        build = f"built for ROCm {torch.version.hip}"
    yield Finding(
        *("torch", "version", "pass", f"torch {torch.__version__}, {build}."),
        facts={"version": torch.__version__, "cuda_build": torch.version.cuda},
    )
    yield computation("cpu", "the CPU")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield from _gpu(number)
    else:
        yield _without_gpu(has_gpu_build=build != "for the CPU alone")
    if torch.backends.mps.is_available():
        yield computation("mps", "Apple's GPU (MPS), which hypergene does not use")


def computation(device: str, name: str) -> Finding:
    """Multiply two small matrices on a device, and compare with the sum done in float64."""
    import torch

    code = f"compute_{device.replace(':', '_')}"
    try:
        left, right = torch.rand(2, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
        found = (left.to(device) @ right.to(device)).cpu().double()
        off = float((found - left.double() @ right.double()).abs().max())
    except Exception as error:  # a driver says whatever it likes
        return Finding(
            *("torch", code, "fail", f"torch cannot compute on {name}: {first_line(error)}."),
            fix=f"{_INSTALL}, or keep to --device cpu." if device != "cpu" else f"{_INSTALL}.",
        )
    facts = {"device": device, "largest_error": off}
    if off > _SIDE * 1e-3:
        return Finding(
            *("torch", code, "fail", f"torch computes wrongly on {name}: off by {off:.2g}."),
            fix=f"{_INSTALL}, and have the device examined.",
            facts=facts,
        )
    return Finding("torch", code, "pass", f"torch computes on {name}.", facts=facts)


def _gpu(number: int) -> Iterator[Finding]:
    import torch

    about = torch.cuda.get_device_properties(number)
    free, total = (size / 1e9 for size in torch.cuda.mem_get_info(number))
    name = f"cuda:{number}"
    told = f"{name}: {about.name}, {free:,.1f} of {total:,.1f} GB free."
    facts: dict[str, Any] = {
        "device": name,
        "name": about.name,
        "memory_gb": round(total, 2),
        "free_gb": round(free, 2),
        "capability": f"{about.major}.{about.minor}",
    }
    if free < _FEW_GB:
        yield Finding(
            *("torch", f"memory_cuda_{number}", "warn", told),
            fix="Something else uses it (see nvidia-smi): wait, or lower --batch-size.",
            facts=facts,
        )
    else:
        yield Finding("torch", f"memory_cuda_{number}", "pass", told, facts=facts)
    yield computation(name, name)


def _without_gpu(*, has_gpu_build: bool) -> Finding:
    if not has_driver():
        return Finding("torch", "gpu", "pass", "There is no NVIDIA GPU: the CPU is used.")
    if has_gpu_build:
        return Finding(
            *("torch", "gpu", "warn", "There is an NVIDIA driver, but torch finds no GPU with it."),
            fix="See whether nvidia-smi lists one, whether CUDA_VISIBLE_DEVICES hides it, and "
            "whether the driver is new enough for torch's CUDA.",
        )
    return Finding(
        *(
            "torch",
            "gpu",
            "warn",
            "There is an NVIDIA driver, but this torch is for the CPU alone.",
        ),
        fix=f"{_INSTALL}.",
    )


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return _DRIVER.exists() or shutil.which("nvidia-smi") is not None
