"""One run of training in its two phases: choose on held-out samples, then refit on all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from hypergene.features.cache import ArrayCache
from hypergene.model.config import ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.model.network import HyperGene
from hypergene.pipeline.metrics_log import MetricsLog
from hypergene.pipeline.tensorboard_log import TensorBoardLog
from hypergene.training.assess import GeneSets
from hypergene.training.expression import Expression
from hypergene.training.recipe import Recipe
from hypergene.training.section import Section
from hypergene.training.targets import Targets, build_targets
from hypergene.training.trainer import Best, Row, Trainer


class Trained(NamedTuple):
    """What a phase gives: the model in its best state, that state, and what was learnt."""

    model: HyperGene
    best: Best
    targets: Targets


@dataclass(frozen=True)
class TrainingRun:
    """What both phases of a run share."""

    config: ModelConfig
    recipe: Recipe
    sets: GeneSets
    start: TileEncoder | None
    device: torch.device
    seed: int
    out: Path
    cache: ArrayCache
    name: str
    tensorboard: bool = False

    def train(
        self,
        phase: str,
        train: Sequence[Section],
        counts_only: Sequence[Expression],
        validation: Sequence[Section],
        best: Best | None = None,
    ) -> Trained:
        """Train a fresh model: until the validation is best, or as long as `best` says."""
        torch.manual_seed(self.seed)
        model = HyperGene(self.config)
        if self.start is not None and self.recipe.train.encoder == "frozen":
            model.encoder = self.start  # the very one that the cached features come from
        elif self.start is not None:
            model.encoder.load_state_dict(self.start.state_dict())
        targets = build_targets(
            [section.expression for section in train],
            self.config.head.modules,
            self.recipe.targets,
            self.cache,
            counts_only=counts_only,
            seed=self.seed,
        )
        trainer = Trainer(
            model,
            self.recipe,
            train,
            validation,
            targets,
            self.sets,
            device=self.device,
            seed=self.seed,
            run=f"{phase} {self.name}",
            checkpoint=self.out / "checkpoints" / f"{phase}.pt",
            log=self._log(phase),
        )
        if best is None:
            return Trained(model, trainer.fit(), targets)
        best = trainer.fit(stop_epoch=best.epoch, blend=best.blend)
        return Trained(model, best, targets)

    def _log(self, phase: str) -> Callable[[Row], None]:
        table = MetricsLog(self.out / "metrics.csv", phase)
        if not self.tensorboard:
            return table
        board = TensorBoardLog(self.out / "tensorboard", phase)

        def both(row: Row) -> None:
            table(row)
            board(row)

        return both
