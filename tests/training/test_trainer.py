from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny.run import EVERYTHING, tiny_trainer
from tiny.sections import tiny_config

from hypergene.errors import HypergeneError
from hypergene.model.readout import Blend
from hypergene.training import steps as steps_module
from hypergene.training import trainer as trainer_module
from hypergene.training.assess import predict_section
from hypergene.training.trainer import Row, Trainer

CPU = torch.device("cpu")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    return partial(tiny_trainer, tmp_path)


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    for name, tensor in one.model.state_dict().items():
        np.testing.assert_array_equal(tensor, other.model.state_dict()[name], err_msg=name)


def test_training_finds_what_the_picture_tells(make_trainer: Callable[..., Trainer]) -> None:
    rows: list[Row] = []
    best = make_trainer(log=rows.append).fit()
    assert best.metric > 0.8
    assert rows[-1]["loss/regression"] < 0.5 * rows[0]["loss/regression"]  # type: ignore[operator]


def test_every_term_that_is_switched_on_is_logged_and_no_other(
    make_trainer: Callable[..., Trainer],
) -> None:
    rows: list[Row] = []
    make_trainer("train.epochs=1", *EVERYTHING, log=rows.append).fit()
    terms = {name for name in rows[0] if name.startswith("loss/")}
    names = ("regression", "spread", "relative", "hca", "pairs", "hea", "cross", "intra")
    assert terms == {f"loss/{n}" for n in (*names, "radius", "collapse", "clusters")}
    watched = {"total", "lr", "gradient_norm", "conflict_rate", "skipped", "data_s", "epoch_s"}
    watched |= {"curvature", "temperature", "radius/image_spot", "cone_violations"}
    watched |= {"dead_apertures", "validation", "ridge_share", "pearson all"}
    assert watched <= set(rows[0])
    assert 0 <= rows[0]["data_s"] <= rows[0]["epoch_s"]  # type: ignore[operator]
    rows.clear()
    off = ("loss.hca.weight=0", "loss.hea.weight=0", "loss.regression.spread=0")
    make_trainer("train.epochs=1", *off, log=rows.append, checkpoint="off.pt").fit()
    assert {name for name in rows[0] if name.startswith("loss/")} == {"loss/regression"}


def test_the_euclidean_twin_trains_without_a_curvature(
    make_trainer: Callable[..., Trainer],
) -> None:
    rows: list[Row] = []
    flat = tiny_config()
    flat = flat.model_copy(
        update={"geometry": flat.geometry.model_copy(update={"kind": "euclidean"})}
    )
    trainer = make_trainer("train.epochs=1", config=flat, log=rows.append)
    before = trainer.model.space.log_curvature.item()
    trainer.fit()
    assert np.isfinite(rows[0]["total"]) and "loss/hea" not in rows[0]  # type: ignore[arg-type]
    assert trainer.model.space.log_curvature.item() == before


@pytest.mark.parametrize("reader", ["attention", "hyperbolic-attention"])
def test_a_reader_of_single_neighbours_learns(
    make_trainer: Callable[..., Trainer], reader: str
) -> None:
    trainer = make_trainer(
        "train.epochs=2", f"niche.reader={reader}", "niche.neighbours=8", "train.encoder=frozen"
    )
    before = {name: p.clone() for name, p in trainer.model.reader.named_parameters()}  # type: ignore[union-attr]
    trainer.fit()
    moved = [
        name
        for name, p in trainer.model.reader.named_parameters()  # type: ignore[union-attr]
        if not torch.equal(before[name], p)
    ]
    assert len(moved) == len(before) > 0


def test_a_process_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_weights(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    whole = make_trainer(*EVERYTHING, checkpoint="whole.pt")
    whole.fit()
    steps = whole.steps.step // whole.epoch
    died = 2 * steps + 2  # the first two epochs are in the checkpoint, and two steps are lost
    assert steps > 2
    program = [sys.executable, "-m", "tiny.run", str(tmp_path), *EVERYTHING]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"DIE_AT": str(died), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "run.pt").is_file() and not list(tmp_path.glob("weights*"))
    rows: list[Row] = []
    resumed = make_trainer(*EVERYTHING, log=rows.append)
    resumed.fit()
    assert rows[0]["epoch"] == 3
    assert resumed.steps.step == whole.steps.step
    assert_same_weights(whole, resumed)
    for name, tensor in whole.average.named_parameters():
        assert torch.equal(tensor, resumed.average.get_parameter(name)), name
    assert whole.best == resumed.best


def test_a_run_broken_off_anywhere_goes_on_with_an_anchor_on_frozen_features(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    anchored = (*EVERYTHING, "train.encoder=frozen", "readout.anchor=true")
    whole = make_trainer(*anchored, checkpoint="whole.pt")
    whole.fit()
    take = steps_module.Steps.take
    with monkeypatch.context() as patch:
        broken = make_trainer(*anchored)

        def die(steps: steps_module.Steps, loaded: object) -> dict[str, float]:
            if steps.step == 8:
                raise KeyboardInterrupt
            return take(steps, loaded)  # type: ignore[arg-type]

        patch.setattr(steps_module.Steps, "take", die)
        with pytest.raises(KeyboardInterrupt):
            broken.fit()
    resumed = make_trainer(*anchored)
    resumed.fit()
    assert_same_weights(whole, resumed)


def test_two_deterministic_runs_are_the_same_bit_by_bit(
    make_trainer: Callable[..., Trainer],
) -> None:
    runs = []
    for name in ("one.pt", "two.pt"):
        overrides = (*EVERYTHING, "train.deterministic=true", "train.epochs=2")
        trainer = make_trainer(*overrides, checkpoint=name)
        take, inside = trainer.steps.take, []

        def watched(loaded: object, take=take, inside=inside) -> dict[str, float]:
            inside.append(torch.are_deterministic_algorithms_enabled())
            return take(loaded)

        trainer.steps.take = watched  # type: ignore[method-assign]
        trainer.fit()
        assert inside and all(inside)
        runs.append(trainer)
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same_weights(*runs)


def test_an_algorithm_that_cannot_repeat_is_named(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer("train.deterministic=true")
    whole = trainer.objective._terms["regression"]

    def loss(seen: object) -> torch.Tensor:
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))  # not deterministic, says torch
        return whole(seen)  # type: ignore[arg-type]

    trainer.objective._terms["regression"] = loss
    with pytest.raises(HypergeneError, match="put_ does not have a deterministic implementation"):
        trainer.fit()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_device_that_runs_full_is_said_with_a_way_out(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(steps: object, loaded: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(steps_module.Steps, "take", full)
    with pytest.raises(HypergeneError, match="out of memory with 24 spots") as caught:
        make_trainer().fit()
    assert "spots_per_slide" in (caught.value.hint or "")


def test_training_stops_when_validation_no_longer_improves(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([0.5, 0.4, 0.3, 0.2])
    other, even = Blend(ridge=0.25), Blend()
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {other: {"all": next(looks)}, even: {"all": -1.0}}
    )
    trainer = make_trainer("train.epochs=100", "train.patience=2")
    best = trainer.fit()
    assert (best.epoch, best.blend, best.metric) == (2, other, 0.5)
    assert trainer.epoch == 6
    assert trainer.model.blend == other


def test_without_validation_the_last_epoch_and_the_blend_asked_for_are_kept(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer()
    trainer.validation_sections = []
    best = trainer.fit(stop_epoch=3, blend=Blend(ridge=0.75))
    assert (best.epoch, best.blend) == (3, Blend(ridge=0.75))
    assert trainer.model.blend == Blend(ridge=0.75)
    weights = trainer.average.get_parameter("project.0.weight")
    assert torch.equal(trainer.model.get_parameter("project.0.weight"), weights)


def test_the_schedule_is_that_of_the_recipe_also_when_stopped_early(
    make_trainer: Callable[..., Trainer],
) -> None:
    rates: dict[str, list[float]] = {}
    for name, stop in (("whole.pt", None), ("early.pt", 3)):
        rates[name] = []
        trainer = make_trainer(
            "train.encoder=frozen",
            checkpoint=name,
            log=lambda row, name=name: rates[name].append(row["lr"]),
        )
        trainer.fit(stop_epoch=stop)
    assert rates["early.pt"] == rates["whole.pt"][:3]


def test_a_loss_that_stays_infinite_is_named_and_never_reaches_the_weights(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "BAD_STEPS", 3)
    trainer = make_trainer("train.epochs=50")
    for facts in trainer.assembly.facts:
        facts.scores[:] = np.nan
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(HypergeneError, match="regression"):
        trainer.fit()
    for name, value in trainer.model.named_parameters():
        assert torch.equal(before[name], value), name


def test_cached_features_that_are_not_finite_are_refused_by_spot(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer("train.encoder=frozen")
    features = trainer.train_sections[1].images.spots  # type: ignore[union-attr]
    features[7, 2] = np.nan
    with pytest.raises(HypergeneError, match=r"of 1 spots of B1 .*the first is spot 7"):
        trainer.fit()


def test_a_view_that_is_not_finite_is_left_out(make_trainer: Callable[..., Trainer]) -> None:
    rows: list[Row] = []
    trainer = make_trainer("train.encoder=frozen", "train.epochs=4", log=rows.append)
    for section in trainer.train_sections:
        views = np.stack([section.images.spots] * 3)  # type: ignore[union-attr]
        views[:, 7] = np.nan
        object.__setattr__(section, "images", section.images._replace(views=views))
    trainer.fit()
    assert sum(row["skipped"] for row in rows) > 0  # type: ignore[misc]
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())


def test_a_frozen_encoder_does_not_change(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer("train.encoder=frozen", "train.epochs=2")
    before = {name: value.clone() for name, value in trainer.model.encoder.state_dict().items()}
    trainer.fit()
    for name, value in trainer.model.encoder.state_dict().items():
        assert torch.equal(before[name], value), name


def test_an_anchored_run_starts_as_the_ridge_and_keeps_it(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer("train.encoder=frozen", "readout.anchor=true", "train.epochs=2")
    trainer._begin()
    fitted = trainer.model.ridge.weight.clone()
    assert bool(fitted.any())
    model = trainer.model.eval()
    encoded = trainer.assembly.encoded[0]
    inputs = model.ridge_inputs(torch.from_numpy(encoded.features), encoded.around(CPU))
    scores = model.ridge(inputs)
    model.set_blend(Blend())
    predicted, _ = predict_section(model, encoded, CPU)
    np.testing.assert_array_equal(predicted, model.modules_to_genes.expression(scores).numpy())
    trainer.fit()
    assert torch.equal(trainer.model.ridge.weight, fitted)
    assert trainer.model.anchor_scale is not None and trainer.model.anchor_scale != 0


def test_a_checkpoint_of_other_processes_is_refused(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trainer("train.epochs=1").fit()
    monkeypatch.setattr(trainer_module.distributed, "size", lambda: 2)
    other = make_trainer("train.epochs=1")
    monkeypatch.undo()
    with pytest.raises(HypergeneError, match="another recipe"):
        other.fit()
