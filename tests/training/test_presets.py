from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.switch_plan import BASE, FROZEN, SWITCHES, Switch

from hypergene.features.cache import ArrayCache
from hypergene.features.context import vicinity
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training.recipe import Recipe, load_recipe, presets
from hypergene.training.section import Section, SectionTiles
from hypergene.training.targets import TargetChoice, build_targets
from hypergene.training.terms import Losses, Term
from hypergene.training.trainer import Trainer

Row = dict[str, float | int | str]

TERMS = [
    name
    for name, field in Losses.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Term)
]
QUICK = (
    "train.epochs=2",
    "train.assess_every=1",
    "train.slides_per_batch=2",
    "train.spots_per_slide=12",
    "train.ema=0.5",
    "geometry.dim=8",
    "head.modules=4",
)


def tiny(config: ModelConfig, recipe: Recipe) -> ModelConfig:
    """The tiny model as a recipe wants it, its encoder as small as ever."""
    parts = {name: getattr(recipe, name) for name in ("niche", "geometry", "head", "readout")}
    encoder = config.encoder.model_copy(update={"tile_um": recipe.encoder.tile_um})
    return ModelConfig.model_validate({**dict(config), **parts, "encoder": encoder})


def as_seen(section: Section, config: ModelConfig) -> Section:
    """The section with as many crops and neighbours as a model wants of it."""
    assert isinstance(section.images, SectionTiles)
    crops = len(config.encoder.tile_um)
    images = SectionTiles(*(np.repeat(tiles, crops, axis=1) for tiles in section.images))
    near = vicinity(section.xy_um, section.context_xy_um, config).nearest
    return replace(section, images=images, nearest=near)


@pytest.mark.parametrize("preset", presets())
def test_a_preset_trains_on_all_its_terms_and_no_other(
    preset: str, config: ModelConfig, make_section: Callable[..., Section], tmp_path: Path
) -> None:
    recipe = load_recipe(None, QUICK, preset)
    config = tiny(config, recipe)
    train, validation = (
        [as_seen(make_section(name, name[0], seed, offset=seed), config) for seed, name in names]
        for names in ([(1, "A1"), (2, "B1")], [(3, "V1")])
    )
    targets = build_targets(
        [section.expression for section in train],
        config.head.modules,
        TargetChoice(),
        ArrayCache(tmp_path / "cache"),
    )
    torch.manual_seed(0)
    model = HyperGene(config)
    before = {name: value.clone() for name, value in model.named_parameters()}
    rows: list[Row] = []
    best = Trainer(
        model,
        recipe,
        train,
        validation,
        targets,
        {"all": list(config.genes)},
        device=torch.device("cpu"),
        seed=0,
        run=preset,
        checkpoint=tmp_path / "run.pt",
        log=rows.append,
    ).fit()
    assert math.isfinite(best.metric)
    logged = {key.removeprefix("loss/") for row in rows for key in row if key.startswith("loss/")}
    on = {name for name in TERMS if getattr(recipe.loss, name).weight}
    assert logged & set(TERMS) == on
    assert all(math.isfinite(float(rows[-1][f"loss/{name}"])) for name in on)
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert {"head.mean.weight", "encoder.network.conv1.0.weight", "gene_spot.leave.weight"} <= moved


def test_presets_differ_in_method_and_not_in_what_they_see() -> None:
    default = load_recipe()
    for preset in presets():
        other = load_recipe(preset=preset)
        assert other.encoder.model_copy(update={"tile_um": None}) == default.encoder.model_copy(
            update={"tile_um": None}
        )
        assert (other.augment, other.genes, other.targets) == (
            default.augment,
            default.genes,
            default.targets,
        )
        same = {"slides_per_batch", "spots_per_slide"}
        assert other.train.model_dump(exclude=same) == default.train.model_dump(exclude=same)


def test_hyperst_weighs_its_terms_as_published() -> None:
    loss = load_recipe(preset="hyperst").loss
    assert loss.hca.weight == pytest.approx(0.2)
    assert loss.hea.weight == pytest.approx(0.2 * 0.4)


def test_a_probe_reads_the_aligned_vector_alone() -> None:
    for preset in ("clip", "delst"):
        recipe = load_recipe(preset=preset)
        assert recipe.loss.regression.probe
        assert recipe.head.reads == ("spot",)
        assert not recipe.readout.ridge


def test_the_plan_of_switches_turns_every_term_on_or_off() -> None:
    base = load_recipe()
    turned = {
        name
        for switch in SWITCHES
        if switch.preset == BASE.preset
        for name in TERMS
        if getattr(load_recipe(None, FROZEN + switch.set).loss, name) != getattr(base.loss, name)
    }
    assert turned == set(TERMS)
    assert {switch.preset for switch in SWITCHES} == set(presets())


@pytest.mark.parametrize("switch", [s for s in SWITCHES if s != BASE], ids=lambda s: s.name)
def test_a_switch_changes_the_recipe(switch: Switch) -> None:
    assert load_recipe(None, FROZEN + switch.set, switch.preset) != load_recipe(None, FROZEN)
