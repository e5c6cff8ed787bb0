from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hypergene.errors import HypergeneError
from hypergene.features.cache import ArrayCache
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training import trainer as trainer_module
from hypergene.training.recipe import Recipe, TargetChoice, load_recipe
from hypergene.training.section import Section
from hypergene.training.targets import build_targets
from hypergene.training.trainer import Trainer, parameter_groups

CPU = torch.device("cpu")
Row = dict[str, float | int | str]


def recipe(*more: str) -> Recipe:
    quick = (
        "train.epochs=6",
        "train.assess_every=2",
        "train.slides_per_batch=2",
        "train.spots_per_slide=12",
        "train.ema=0.5",
        "train.lr=0.01",
    )
    return load_recipe(None, [*quick, *more])


@pytest.fixture
def make_trainer(
    config: ModelConfig, make_section: Callable[..., Section], tmp_path: Path
) -> Callable[..., Trainer]:
    def make(
        *overrides: str, log: Callable[[Row], None] | None = None, checkpoint: str = "run.pt"
    ) -> Trainer:
        torch.manual_seed(0)
        train = [make_section("A1", "A", 1), make_section("B1", "B", 2, offset=1.0)]
        targets = build_targets(
            [section.expression for section in train],
            config.head.modules,
            TargetChoice(),
            ArrayCache(tmp_path / "cache"),
        )
        return Trainer(
            HyperGene(config),
            recipe(*overrides),
            train,
            [make_section("V1", "V", 3, offset=-0.5)],
            targets,
            {"all": list(config.genes)},
            device=CPU,
            seed=0,
            run="test",
            checkpoint=tmp_path / checkpoint,
            log=log or (lambda row: None),
        )

    return make


def test_training_finds_what_the_picture_tells(make_trainer: Callable[..., Trainer]) -> None:
    rows: list[Row] = []
    best = make_trainer(log=rows.append).fit()
    assert best.metric > 0.8
    assert rows[-1]["regression"] < 0.5 * rows[0]["regression"]  # type: ignore[operator]


def test_every_term_that_is_switched_on_is_logged_and_no_other(
    make_trainer: Callable[..., Trainer],
) -> None:
    rows: list[Row] = []
    make_trainer("train.epochs=1", log=rows.append).fit()
    assert {"regression", "spread", "hca", "hea", "curvature", "temperature", "lr"} <= set(rows[0])
    rows.clear()
    off = ("loss.hca.weight=0", "loss.hea.weight=0", "loss.regression.spread=0")
    make_trainer("train.epochs=1", *off, log=rows.append, checkpoint="off.pt").fit()
    assert not {"spread", "hca", "hea"} & set(rows[0])


def test_the_euclidean_twin_trains_without_a_curvature(
    make_trainer: Callable[..., Trainer], config: ModelConfig
) -> None:
    euclidean = config.model_copy(
        update={"geometry": config.geometry.model_copy(update={"kind": "euclidean"})}
    )
    trainer = make_trainer("train.epochs=2")
    trainer.model = HyperGene(euclidean)
    trainer.average = HyperGene(euclidean).eval()
    trainer.optimizer = torch.optim.AdamW(parameter_groups(trainer.model, trainer.recipe))
    before = trainer.model.space.log_curvature.item()
    trainer._encoded = trainer_module.encode_sections(trainer.average, trainer.train_sections, CPU)
    row = trainer._epoch()
    assert np.isfinite(row["loss"]) and "hea" not in row  # type: ignore[arg-type]
    assert trainer.model.space.log_curvature.item() == before


def test_a_killed_run_goes_on_to_the_same_weights(make_trainer: Callable[..., Trainer]) -> None:
    whole = make_trainer(checkpoint="whole.pt")
    whole.fit()

    def die(row: Row) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(log=die, checkpoint="killed.pt").fit()
    resumed = make_trainer(checkpoint="killed.pt")
    resumed.fit()
    for name, tensor in whole.model.state_dict().items():
        np.testing.assert_array_equal(tensor, resumed.model.state_dict()[name], err_msg=name)


def test_training_stops_when_validation_no_longer_improves(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {0.25: {"all": next(looks)}, 0.5: {"all": -1.0}}
    )
    trainer = make_trainer("train.epochs=100", "train.patience=2")
    best = trainer.fit()
    assert (best.epoch, best.share, best.metric) == (2, 0.25, 0.5)
    assert trainer.epoch == 6


def test_a_loss_that_stays_infinite_is_named_and_never_reaches_the_weights(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "BAD_STEPS", 3)
    trainer = make_trainer("train.epochs=50")
    trainer.scores[0][:] = np.nan
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(HypergeneError, match="regression"):
        trainer.fit()
    for name, value in trainer.model.named_parameters():
        assert torch.equal(before[name], value), name


def test_geometry_scalars_biases_and_norms_are_not_decayed(config: ModelConfig) -> None:
    model = HyperGene(config)
    decayed, spared = parameter_groups(model, recipe())
    assert decayed["weight_decay"] > 0 and spared["weight_decay"] == 0
    spared_ids = {id(parameter) for parameter in spared["params"]}
    space = model.space
    for scalar in (space.log_curvature, space.log_scale_gene, space.log_inverse_temperature):
        assert id(scalar) in spared_ids


def test_a_frozen_encoder_is_in_no_group_and_does_not_change(config: ModelConfig) -> None:
    model = HyperGene(config)
    groups = parameter_groups(model, recipe("train.encoder=frozen"))
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert not any(id(parameter) in trained for parameter in model.encoder.parameters())
