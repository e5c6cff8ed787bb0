"""What several processes do together; torchrun starts it, and each writes what it saw.

``torchrun --nproc-per-node 2 -m tiny.together FOLDER`` leaves ``FOLDER/seen-<rank>.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypergene.training import distributed
from hypergene.training.sampler import balanced_batches
from hypergene.training.steps import Steps
from hypergene.training.trainer import Row, Trainer
from tiny.run import EVERYTHING, tiny_trainer


class Broken(Exception):
    """Ends a run in the middle of an epoch."""


def exchanges(rank: int, device: torch.device) -> dict[str, Any]:
    one, two, three = torch.zeros(2), torch.zeros(2, 2), torch.zeros(())
    mine: list[Tensor | None] = [torch.full((2,), 1.0 + rank), None, None]
    mine[1] = None if rank else torch.ones(2, 2)
    bad = torch.tensor([0.0, float("nan")]) if rank else torch.zeros(2)
    statistics = [torch.tensor([1.0 + rank]), torch.tensor([5 + rank])]
    distributed.average_(statistics)
    return {
        "is_main": distributed.is_main(),
        "averaged": distributed.averaged(mine, [one, two, three]),
        "bad": distributed.averaged([bad, None, None], [one, two, three]),
        "statistics": statistics,
        "text": distributed.text_of_main("µm" if rank == 0 else "a longer text", device),
        "gathered": distributed.gathered(torch.tensor([rank, 7], dtype=torch.uint8), device),
    }


def fitted(folder: Path, checkpoint: str) -> tuple[Trainer, list[Row]]:
    rows: list[Row] = []
    trainer = tiny_trainer(folder, *EVERYTHING, log=rows.append, checkpoint=checkpoint)
    trainer.fit()
    return trainer, rows


def broken_off(folder: Path, checkpoint: str, step: int) -> None:
    take = Steps.take

    def mortal(steps: Steps, *args: Any) -> dict[str, float]:
        if steps.step == step:
            raise Broken
        return take(steps, *args)

    Steps.take = mortal  # type: ignore[method-assign, assignment]
    try:
        fitted(folder, checkpoint)
    except Broken:
        pass
    finally:
        Steps.take = take  # type: ignore[method-assign]


def one_bad_process(folder: Path, rank: int) -> dict[str, Any]:
    """A step whose tiles are broken in the last process only."""
    trainer = tiny_trainer(folder, *EVERYTHING, checkpoint="bad.pt")
    trainer._begin()
    trainer.model.train()
    batch = next(balanced_batches(trainer.train_sections, 2, 12, trainer.generator))
    loaded = trainer.assembly.load(batch, trainer.generator)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    seen = torch.full_like(loaded.seen, torch.nan) if rank else loaded.seen
    row = trainer.steps.take(loaded._replace(seen=seen))
    after = dict(trainer.model.named_parameters())
    return {
        "row": row,
        "untouched": all(torch.equal(before[name], after[name]) for name in before),
        "drawn": [spots.tolist() for _, spots in batch],
    }


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with distributed.session("cpu") as device:
        rank = distributed.rank()
        seen: dict[str, Any] = {"exchanges": exchanges(rank, device)}
        whole, rows = fitted(folder, "whole.pt")
        broken_off(folder, "broken.pt", step=5)
        resumed, _ = fitted(folder, "broken.pt")
        for name, trainer in (("whole", whole), ("resumed", resumed)):
            seen[name] = {
                "model": trainer.model.state_dict(),
                "average": trainer.average.state_dict(),
                "objective": trainer.objective.state_dict(),
                "steps": trainer.steps.step,
            }
        seen["rows"] = rows
        seen["bad"] = one_bad_process(folder, rank)
        torch.save(seen, folder / f"seen-{rank}.pt")


if __name__ == "__main__":
    main()
