"""One arm on one task: trained, or fitted in closed form, and asked for the test sections."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.evaluation import RidgeControl
from hypergene.features.cache import ArrayCache, array_fingerprint
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.training.assess import EncodedSection, encode_sections, predict_section
from hypergene.training.readout import Ridge
from hypergene.training.recipe import Recipe, TargetChoice
from hypergene.training.sampler import batches_per_epoch
from hypergene.training.section import Section
from hypergene.training.seen import Seen
from hypergene.training.targets import Targets, build_targets
from hypergene.training.trainer import Trainer

from .arms import ANCHOR_ALONE, RIDGE_PROBE, Arm
from .sections import CPU, Task, Uncentred, cohort_level

Floats = NDArray[np.float32]
Predictions = dict[str, list[NDArray[np.floating]]]
"""Arm -> log1p CP10k of each test section, (n, genes)."""

BATCH = 64
"""Spots a step, as in HESCAPE: of four slides, or of fewer if there are fewer."""


def fit(task: Task, arm: Arm, seed: int, steps: int) -> Predictions:
    """Train an arm and predict the test sections."""
    slides = min(4, len(task.train))
    spots = BATCH // slides
    wanted = steps * (2 if arm.twice else 1)
    epochs = max(1, round(wanted / batches_per_epoch(task.train, slides, spots)))
    recipe = arm.recipe(epochs, spots)
    config = of_arm(task.config, recipe)
    targets = targets_of(task, recipe.head.modules)
    train, test = task.train, task.test
    if not arm.centred:
        level = cohort_level(task.train)
        train, test = (tuple(Uncentred.of(s, level) for s in group) for group in (train, test))
        targets = uncentred(task, targets)
    torch.manual_seed(seed)
    model = HyperGene(config)
    model.encoder = task.encoder
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model, recipe, train, (), targets, task.sets,
            device=CPU, seed=seed, run="claim", checkpoint=Path(folder) / "run.pt",
            log=lambda row: None,
        )  # fmt: skip
        _mispair(trainer, arm)
        with patch("hypergene.training.assess.Ridge", remembered_ridge):
            trainer.fit(blend=Blend(ridge=0.0))
    seen = encode_sections(model, test, CPU)
    found: Predictions = {arm.name: [predict_section(model, one, CPU)[0] for one in seen]}
    if arm.also == ANCHOR_ALONE:
        found[arm.also] = [_anchor(model, one) for one in seen]
    elif arm.also == RIDGE_PROBE:
        learnt = encode_sections(model, train, CPU)
        tables = [_offset_table(task, section) for section in task.train]
        points = [_points(model, one) for one in learnt]
        probe = RidgeControl.fit(points, tables, slide_centred=False)
        found[arm.also] = [probe.predict(_points(model, one)) for one in seen]
    return found


def of_arm(config: ModelConfig, recipe: Recipe) -> ModelConfig:
    """Give a configuration the space, head and readouts of a recipe."""
    parts = {"geometry": recipe.geometry, "head": recipe.head, "readout": recipe.readout}
    return ModelConfig.model_validate(config.model_copy(update=parts).model_dump())


@lru_cache(maxsize=2)
def targets_of(task: Task, modules: int) -> Targets:
    """Fit gene modules of the training sections; slide-centred, so no offset reaches them."""
    slides = [section.expression for section in task.train]
    with tempfile.TemporaryDirectory() as folder:
        return build_targets(slides, modules, TargetChoice(), ArrayCache(Path(folder)))


def uncentred(task: Task, targets: Targets) -> Targets:
    """Give module scores the level of their slide back, offset included."""
    loadings = targets.modules.loadings.astype(np.float64)
    project = loadings.T @ np.linalg.pinv(loadings @ loadings.T, rcond=1e-9, hermitian=True)
    scores = []
    for section, own in zip(task.train, targets.scores, strict=True):
        level = _offset_table(task, section).mean(0) - targets.modules.mean
        scores.append((own + level @ project).astype(np.float32))
    return Targets(targets.modules, scores)


def _offset_table(task: Task, section: Section) -> Floats:
    return section.expression.dense() + task.offsets.get(section.name, np.float32(0))


_RIDGES: dict[str, Ridge] = {}


def remembered_ridge(inputs: Floats, targets: Floats, groups: NDArray[np.int64]) -> Ridge:
    """Fit the anchor, once a task: every anchored arm and seed has the same one."""
    key = "".join(map(array_fingerprint, (inputs, targets, groups)))
    if key not in _RIDGES:
        _RIDGES.clear()
        _RIDGES[key] = Ridge(inputs, targets, groups)
    return _RIDGES[key]


def _mispair(trainer: Trainer, arm: Arm) -> None:
    """Let the contrast see wrong partners or wrong slides, and nothing else of the objective."""
    if not (arm.shuffled or arm.random_slides):
        return
    objective = trainer.objective
    contrast = objective._terms["pairs"]

    def pairs(seen: Seen) -> torch.Tensor:
        batch = seen.batch
        if arm.shuffled:
            order = within_slides(batch.slide)
            batch = batch._replace(
                scores=batch.scores[order], niche_scores=batch.niche_scores[order]
            )
        if arm.random_slides:
            batch = batch._replace(slide=batch.slide[torch.randperm(len(batch.slide))])
        return contrast(Seen(seen.model, seen.reading, batch, seen.losses))

    objective._terms["pairs"] = pairs


def within_slides(slide: torch.Tensor) -> torch.Tensor:
    """Draw a permutation (b,) of rows that keeps every row on its slide (b,)."""
    order = torch.arange(len(slide))
    for number in slide.unique():
        rows = torch.nonzero(slide == number)[:, 0]
        order[rows] = rows[torch.randperm(len(rows))]
    return order


@torch.inference_mode()
def _anchor(model: HyperGene, seen: EncodedSection) -> Floats:
    inputs = model.ridge_inputs(torch.from_numpy(seen.features), seen.around(CPU))
    return model.modules_to_genes.expression(model.ridge(inputs)).numpy()


@torch.inference_mode()
def _points(model: HyperGene, seen: EncodedSection) -> Floats:
    view = model.view(torch.from_numpy(seen.features), seen.around(CPU))
    return model.space.unlift(view.spot).numpy()


def closed_forms(task: Task) -> Predictions:
    """Fit the three ridges of the protocol, per gene, on 60 principal components."""
    tables = [_offset_table(task, section) for section in task.train]
    own = {section.name: np.asarray(section.images.spots) for section in (*task.train, *task.test)}
    rings = {s.name: _with_rings(s, task.config) for s in (*task.train, *task.test)}
    found: Predictions = {}
    for name, features, centred in (("B1", own, False), ("B1c", own, True), ("B2", rings, True)):
        learnt: Sequence[Floats] = [features[section.name] for section in task.train]
        ridge = RidgeControl.fit(learnt, tables, slide_centred=centred)
        found[name] = [ridge.predict(features[section.name]) for section in task.test]
    return found


def _with_rings(section: Section, config: ModelConfig) -> Floats:
    features, context = section.encode(None, config, CPU)  # type: ignore[arg-type]
    around = [ring @ context.features for ring in section.rings]
    return np.concatenate([features, *around], axis=1).astype(np.float32)
