"""Several processes that train one model: what torchrun started, and what they tell each other.

``torchrun --nproc-per-node N -m hypergene finetune ...`` starts N processes and sets RANK,
LOCAL_RANK and WORLD_SIZE. Inside :func:`session` they are one group; without torchrun there is no
group, every function here is then free and does what one process needs.

Processes exchange tensors and text, never pickled objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from hypergene.errors import HypergeneError, UsageError, first_line
from hypergene.features.device import pick_device

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: while the first one reads slides, or assesses. That one
of them has died, torchrun notices by itself."""


@contextmanager
def session(device: str = "auto") -> Iterator[torch.device]:
    """Join the processes that torchrun started, and give this one its device.

    One process without torchrun joins nothing, and gets :func:`pick_device`'s answer.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``. On GPUs every process takes the one of its local rank.

    Yields
    ------
    torch.device

    Raises
    ------
    UsageError
        A device is named with its number among several processes, or there are fewer GPUs than
        processes.
    HypergeneError
        The processes do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield pick_device(device)
        return
    mine = _local_device(device)
    try:
        dist.init_process_group("nccl" if mine.type == "cuda" else "gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise HypergeneError(
            f"The processes of torchrun do not find each other: {first_line(error)}.",
            hint="Start them with torchrun --nproc-per-node N -m hypergene finetune ...",
        ) from error
    try:
        yield mine
    finally:
        dist.destroy_process_group()


def _local_device(name: str) -> torch.device:
    device = pick_device(name)
    if device.type != "cuda":
        return device
    if ":" in name:
        raise UsageError(
            f"The device {name!r} cannot be that of several processes.",
            hint="Choose --device cuda: every process then takes its own.",
        )
    number = int(os.environ.get("LOCAL_RANK", "0"))
    there = torch.cuda.device_count()
    if number >= there:
        raise UsageError(
            f"Process {number} of this machine has no GPU of its own: there are {there}.",
            hint=f"Start torchrun with --nproc-per-node {there}.",
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def rank() -> int:
    """Return the number of this process, 0 = the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if size() > 1:
        dist.barrier()


def averaged(
    gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> list[Tensor | None]:
    """Average gradients over all processes, which then hold the same ones bit by bit.

    A process that does not reach a parameter counts as zero there, unless none reaches it. What is
    not finite in one process is not finite in all of them.

    Parameters
    ----------
    gradients
        One a parameter, of its shape; None = not reached.
    parameters
        The same in every process, in the same order; float32 on one device.

    Returns
    -------
    list of Tensor or None
        None where no process reaches a parameter.
    """
    if size() == 1:
        return list(gradients)
    reached = parameters[0].new_tensor([float(g is not None) for g in gradients])
    parts = [
        (torch.zeros_like(p) if g is None else g).flatten()
        for g, p in zip(gradients, parameters, strict=True)
    ]
    flat = torch.cat([reached, *parts])
    dist.all_reduce(flat)
    flat /= size()
    counts, *means = flat.split([len(parameters), *(p.numel() for p in parameters)])
    return [
        mean.view_as(p) if count else None
        for count, mean, p in zip(counts.tolist(), means, parameters, strict=True)
    ]


def average_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over all processes, in place; integers stay as they are."""
    if size() == 1:
        return
    for tensor in tensors:
        if tensor.dtype.is_floating_point:
            dist.all_reduce(tensor)
            tensor /= size()


def broadcast_(tensors: Sequence[Tensor]) -> None:
    """Give every process the main one's values, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def text_of_main(text: str, device: torch.device) -> str:
    """Return the main process's text in every process; what the others say is not looked at."""
    if size() == 1:
        return text
    data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)
    length = torch.tensor(len(data), device=device)
    dist.broadcast(length, 0)
    if not is_main():
        data = torch.empty(int(length), dtype=torch.uint8, device=device)
    dist.broadcast(data, 0)
    return bytes(data.tolist()).decode()


def gathered(tensor: Tensor, device: torch.device) -> list[Tensor]:
    """Return the tensors of all processes by rank, on the CPU; their shapes must be alike."""
    if size() == 1:
        return [tensor.cpu()]
    mine = tensor.to(device).contiguous()
    parts = [torch.empty_like(mine) for _ in range(size())]
    dist.all_gather(parts, mine)
    return [part.cpu() for part in parts]
