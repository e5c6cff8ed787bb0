"""Self-supervision of a tiny encoder on made tiles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.errors import HypergeneError, OutputError
from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.training import pretrainer as module
from hypergene.training.pretrainer import Budget, Pretrainer, Row, SelfSupervision, draw_groups
from hypergene.training.self_supervised import TwinsLoss

CONFIG = EncoderConfig(
    name="resnet10t",
    arguments={"channels": [8, 8, 8, 8], "stem_width": 8},
    tile_um=(60.0, 120.0),
    tile_px=32,
)
SMALL = SelfSupervision(groups=2, places=8, width=16, lr=5e-3)

Make = Callable[..., Pretrainer]


@pytest.fixture(scope="module")
def tiles() -> list[np.ndarray]:
    """Two slides of 24 places; a place is stripes of its own width and colour in both crops."""
    rng = np.random.default_rng(0)
    stripes = np.arange(46)[:, None] * np.linspace(0.1, 1.5, 48)[:, None, None]
    pattern = np.broadcast_to(np.sin(stripes), (48, 46, 46))[:, None, :, :, None]
    colour = rng.uniform(40, 110, (48, 1, 1, 1, 3))
    picture = np.repeat(120 + colour * pattern, 2, axis=1)
    noisy = picture + rng.normal(0, 8, picture.shape)
    return np.split(noisy.clip(0, 255).astype(np.uint8), 2)


@pytest.fixture
def make(tiles: list[np.ndarray], tmp_path: Path) -> Make:
    def make(
        budget: Budget,
        *,
        seed: int = 0,
        folder: Path = tmp_path,
        rows: list[Row] | None = None,
        run: str = "run",
    ) -> Pretrainer:
        torch.manual_seed(seed)
        return Pretrainer(
            TileEncoder(CONFIG),
            CONFIG.tile_px,
            tiles,
            SMALL,
            budget,
            device=torch.device("cpu"),
            seed=seed,
            run=run,
            checkpoint=folder / "pretrain.pt",
            log_row=(rows if rows is not None else []).append,
        )

    return make


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    places=st.integers(2, 12),
    seed=st.integers(0, 99),
)
def test_groups_are_of_one_slide_and_repeat_no_place(
    counts: list[int], places: int, seed: int
) -> None:
    groups = draw_groups(counts, places, np.random.default_rng(seed))
    for slide, count in enumerate(counts):
        of_slide = [rows for number, rows in groups if number == slide]
        assert len(of_slide) == max(1, count // places)
        drawn = np.concatenate(of_slide)
        assert drawn.min() >= 0 and drawn.max() < count
        assert all(len(rows) == places for rows in of_slide)
        if count >= places:
            assert len(np.unique(drawn)) == len(drawn)


def test_places_of_an_encoder_that_learnt_are_told_apart_in_new_views(make: Make) -> None:
    rows: list[Row] = []
    learner = make(Budget(epochs=6), rows=rows)
    learner.fit()
    first, last = float(rows[0]["disagreement"]), float(rows[-1]["disagreement"])
    assert [row["epoch"] for row in rows] == list(range(1, 7))
    assert last < 0.85 * first


def test_a_run_that_was_killed_ends_with_the_same_weights(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken: list[Row] = []
    whole = make(Budget(epochs=3), folder=tmp_path / "whole", rows=unbroken)
    whole.fit()

    class Killed(Exception):
        pass

    broken = make(Budget(epochs=3))
    steps = broken._step

    def step_until_killed(groups: object) -> None:
        if broken.step == 4:  # in the middle of a pass
            raise Killed
        steps(groups)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(broken, "_step", step_until_killed)
    with pytest.raises(Killed):
        broken.fit()
    rows: list[Row] = []
    resumed = make(Budget(epochs=3), rows=rows)
    resumed.fit()
    assert resumed.step == whole.step
    assert [without_time(row) for row in rows] == [without_time(row) for row in unbroken[1:]]
    for name, weights in whole.encoder.state_dict().items():
        assert torch.equal(weights, resumed.encoder.state_dict()[name]), name


def without_time(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "seconds"}


def test_another_seed_gives_other_weights(make: Make, tmp_path: Path) -> None:
    one, other = make(Budget(epochs=1)), make(Budget(epochs=1), seed=1, folder=tmp_path / "other")
    other.encoder.load_state_dict(one.encoder.state_dict())
    one.fit()
    other.fit()
    first, second = (run.encoder.network.state_dict() for run in (one, other))
    assert not torch.equal(first["conv1.0.weight"], second["conv1.0.weight"])


def test_minutes_end_a_run_and_a_finished_run_takes_no_further_step(make: Make) -> None:
    rows: list[Row] = []
    learner = make(Budget(minutes=0.4 / 60), rows=rows)
    learner.fit()
    assert learner.progress == 1 and 0.4 <= learner.seconds < 3
    assert rows[-1]["step"] == learner.step
    again = make(Budget(minutes=0.4 / 60))
    again.fit()
    assert again.step == learner.step


def test_a_checkpoint_of_another_run_is_refused(make: Make) -> None:
    make(Budget(epochs=1)).fit()
    with pytest.raises(OutputError, match="another"):
        make(Budget(epochs=1), run="other").fit()


def test_a_loss_that_is_not_finite_reaches_no_weight_and_ends_the_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(first: torch.Tensor, second: torch.Tensor) -> TwinsLoss:
        return TwinsLoss(first.sum() * float("nan"), second.sum())

    monkeypatch.setattr(module, "barlow_twins", broken)
    learner = make(Budget(epochs=9))
    before = [weights.clone() for weights in learner.encoder.parameters()]
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(HypergeneError, match="disagreement was not finite 10 steps"),
    ):
        learner.fit()
    assert "step 1: the disagreement is not finite" in caplog.text
    for old, now in zip(before, learner.encoder.parameters(), strict=True):
        assert torch.equal(old, now)
