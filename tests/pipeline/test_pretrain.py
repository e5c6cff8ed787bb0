"""From slides to the weights that a recipe starts from."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hypergene.errors import OutputError, UsageError
from hypergene.model.config import EncoderChoice
from hypergene.pipeline.pretrain import PretrainOptions, pretrain
from hypergene.zoo import find_encoder

TINY = """
[encoder]
name = "resnet10t"
arguments = { channels = [8, 8, 8, 8], stem_width = 8 }
tile_um = [60.0, 120.0]
tile_px = 32
mean = [0.7, 0.6, 0.7]
std = [0.2, 0.2, 0.2]
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, painted_slide: Path, recipe: Path
) -> tuple[Path, PretrainOptions]:
    """A finished run of one pass over one painted slide."""
    out = tmp_path_factory.mktemp("run") / "start"
    options = PretrainOptions(recipe=recipe, epochs=1, pitch_um=60, most=128, workers=0)
    assert pretrain(painted_slide, out, options) == out / "encoder.safetensors"
    return out, options


def test_finetune_starts_from_exactly_these_weights(run: tuple[Path, PretrainOptions]) -> None:
    out, _ = run
    choice = tomllib.loads((out / "encoder.toml").read_text())["encoder"]
    found = find_encoder(EncoderChoice.model_validate(choice))
    assert found.config.pretrained and found.config.tile_um == (60.0, 120.0)
    written = load_file(out / "encoder.safetensors")
    loaded = found.load().network.state_dict()
    assert written.keys() == loaded.keys()
    assert all(torch.equal(written[name], weights) for name, weights in loaded.items())
    torch.manual_seed(0)  # of the run
    untrained = find_encoder(found_choice(choice)).load().network.state_dict()
    assert not torch.equal(untrained["conv1.0.weight"], written["conv1.0.weight"])


def found_choice(choice: dict[str, object]) -> EncoderChoice:
    return EncoderChoice.model_validate({k: v for k, v in choice.items() if k != "weights"})


def test_the_weights_say_what_they_were_trained_on(run: tuple[Path, PretrainOptions]) -> None:
    out, _ = run
    with safe_open(out / "encoder.safetensors", "pt") as file:
        about = json.loads(file.metadata()["hypergene"])
    assert about["slides"] == ["painted"] and about["places"] == [128]
    assert about["steps"] == len(pd.read_csv(out / "metrics.csv")) == 1


def test_a_finished_run_is_not_replaced_unless_asked(
    run: tuple[Path, PretrainOptions], painted_slide: Path
) -> None:
    out, options = run
    with pytest.raises(OutputError, match="exists already"):
        pretrain(painted_slide, out, options)


def test_training_anew_gives_the_same_weights(
    run: tuple[Path, PretrainOptions], painted_slide: Path, tmp_path: Path
) -> None:
    out, options = run
    weights = pretrain(painted_slide, tmp_path, options, cache=out / "cache")
    before, after = load_file(out / "encoder.safetensors"), load_file(weights)
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = pretrain(painted_slide, tmp_path, options, cache=out / "cache", overwrite=True, seed=1)
    assert not torch.equal(load_file(again)["conv1.0.weight"], before["conv1.0.weight"])


def test_only_the_slides_that_stay_are_opened(
    painted_slide: Path, recipe: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.svs"
    broken.write_bytes(b"no slide")
    options = PretrainOptions(recipe=recipe, epochs=1, pitch_um=60, most=8, workers=0)
    weights = pretrain([painted_slide, broken], tmp_path / "out", options, without="broken")
    with safe_open(weights, "pt") as file:
        assert json.loads(file.metadata()["hypergene"])["slides"] == ["painted"]
    assert all(torch.isfinite(values).all() for values in load_file(weights).values())


def test_epochs_and_minutes_do_not_go_together(painted_slide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--epochs and --minutes"):
        pretrain(painted_slide, tmp_path / "out", epochs=3, minutes=1.0)
    with pytest.raises(UsageError, match="-1 minutes"):
        pretrain(painted_slide, tmp_path / "out", minutes=-1.0)
    assert not (tmp_path / "out").exists()
