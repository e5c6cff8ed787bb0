"""A run of training in a few seconds; ``python -m tiny.run FOLDER [key=value ...]`` is one, too.

The program writes ``FOLDER/weights-<rank>.pt``. With the environment variable ``DIE_AT=N`` it kills
itself, hard, after N steps.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from hypergene.features.cache import ArrayCache
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training import distributed
from hypergene.training.recipe import Recipe, TargetChoice, load_recipe
from hypergene.training.steps import Steps
from hypergene.training.targets import build_targets
from hypergene.training.trainer import Row, Trainer
from tiny.sections import tiny_config, tiny_section

QUICK = (
    "train.epochs=6",
    "train.assess_every=2",
    "train.slides_per_batch=2",
    "train.spots_per_slide=12",
    "train.ema=0.5",
    "train.lr=0.01",
    "loss.regression.kind=mse",  # a loss whose floor is 0, and the spread's term beside it
)
EVERYTHING = (
    "loss.guard=true",
    "loss.contrast.soft=0.3",
    "loss.relative.weight=0.3",
    *(f"loss.{term}.weight=0.1" for term in ("hca", "pairs", "hea", "cross", "intra")),
    *(f"loss.{term}.weight=0.1" for term in ("radius", "collapse", "clusters")),
    "loss.clusters.number=3",
)
"""The guard and every term of the objective."""
FEATURES = 16


def tiny_recipe(*overrides: str) -> Recipe:
    return load_recipe(None, [*QUICK, *overrides])


def tiny_trainer(
    folder: Path,
    *overrides: str,
    log: Callable[[Row], None] | None = None,
    checkpoint: str = "run.pt",
    config: ModelConfig | None = None,
) -> Trainer:
    """Make a trainer of the same start and the same data in every process."""
    recipe = tiny_recipe(*overrides)
    config = config or tiny_config(readout=recipe.readout, niche=recipe.niche)
    torch.manual_seed(0)
    model = HyperGene(config)
    features = model.encoder.features if recipe.train.encoder == "frozen" else 0
    train = [
        tiny_section(config, "A1", "A", 1, features=features),
        tiny_section(config, "B1", "B", 2, offset=1.0, features=features),
    ]
    targets = build_targets(
        [section.expression for section in train],
        config.head.modules,
        TargetChoice(),
        ArrayCache(folder / "cache"),
    )
    return Trainer(
        model,
        recipe,
        train,
        [tiny_section(config, "V1", "V", 3, offset=-0.5, features=features)],
        targets,
        {"all": list(config.genes)},
        device=torch.device("cpu"),
        seed=0,
        run="test",
        checkpoint=folder / checkpoint,
        log=log or (lambda row: None),
    )


def die_at(last: int) -> None:
    """Kill this process after so many steps, as a job scheduler or a power cut would."""
    take = Steps.take

    def mortal(steps: Steps, *args: object) -> dict[str, float]:
        row = take(steps, *args)  # type: ignore[arg-type]
        if steps.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    Steps.take = mortal  # type: ignore[method-assign, assignment]


def main() -> None:
    folder, *overrides = sys.argv[1:]
    if "DIE_AT" in os.environ:
        die_at(int(os.environ["DIE_AT"]))
    with distributed.session("cpu"):
        rows: list[Row] = []
        trainer = tiny_trainer(Path(folder), *overrides, log=rows.append)
        trainer.fit()
        rank = distributed.rank()
        weights = {"model": trainer.model.state_dict(), "average": trainer.average.state_dict()}
        torch.save(weights | {"rows": rows}, Path(folder) / f"weights-{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
