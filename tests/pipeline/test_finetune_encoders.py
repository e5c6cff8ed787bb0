"""Training that starts from published weights: local, of the hub, frozen with views, adapted."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hub.stand_in import ARGUMENTS, COMMIT, stand_in, tiny_timm_repository
from safetensors.numpy import load, load_file

from hypergene.errors import ModelError, UsageError
from hypergene.pipeline import finetune as finetune_module
from hypergene.pipeline.finetune import finetune
from hypergene.pipeline.predict import predict
from hypergene.training import lora
from hypergene.zoo import load_model, read_config

QUICK = ("train.epochs=2", "train.assess_every=1", "encoder.tile_um=[112.0]")


@pytest.fixture(scope="module")
def repository() -> dict[str, bytes]:
    return tiny_timm_repository()


@pytest.fixture(scope="module")
def weights(repository: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    path.write_bytes(repository["model.safetensors"])
    return path


@pytest.fixture
def start(
    tiny_cohort: Any, tiny_recipe: Path, weights: Path, tmp_path: Path
) -> Callable[..., Path]:
    """Train on the tiny cohort from a local file of a tiny vision transformer."""
    own = [
        "encoder.name=vit_tiny_patch16_224",
        f"encoder.weights={weights}",
        *(f"encoder.arguments.{key}={value}" for key, value in ARGUMENTS.items()),
    ]

    def run(*more: str, **options: Any) -> Path:
        return finetune(
            tiny_cohort.sheet,
            options.pop("out", tmp_path / "mine"),
            **{"recipe": tiny_recipe, "device": "cpu", "workers": 0, **options},
            set=(*own, *QUICK, *more),
        )

    return run


def encoder_of(folder: Path) -> dict[str, np.ndarray]:
    prefix = "encoder.network."
    held = load_file(folder / "model.safetensors")
    return {
        name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)
    }


def test_a_frozen_encoder_with_views_is_kept_as_it_was_published(
    start: Callable[..., Path], repository: dict[str, bytes], tiny_cohort: Any, tmp_path: Path
):
    model = start("train.encoder=frozen", "train.views=4")
    published = load(repository["model.safetensors"])
    ours = encoder_of(model)
    assert ours and all(np.array_equal(published[name], value) for name, value in ours.items())
    config = read_config(model).encoder
    assert (config.name, config.source, config.pretrained) == (
        *("vit_tiny_patch16_224", "tiny.safetensors"),
        True,
    )
    assert config.mean == (0.5, 0.5, 0.5)  # of timm for this network, not the default recipe's
    assert config.tile_px == 32
    # 4 sections: features of spots, of context, and of the views of those that were learnt from.
    cached = [path for path in (model.parent / "cache").glob("*.h5")]
    shapes = sorted(shape for path in cached for shape in _arrays(path, ("features", "views")))
    assert [shape for shape in shapes if len(shape) == 3] == [(3, 30, 48)] * 4
    slide = tiny_cohort.folder / "ST-imgs/A/A1/he.png"
    assert np.isfinite(predict(slide, model=model, mpp=4.0).X).all()
    # Checkpoints do not carry what is frozen.
    import torch

    state = torch.load(model.parent / "checkpoints" / "refit.pt", weights_only=True)
    assert not [name for name in state["model"] if name.startswith("encoder.")]


def _arrays(path: Path, names: tuple[str, ...]) -> list[tuple[int, ...]]:
    import h5py

    with h5py.File(path) as file:
        return [file[name].shape for name in names if name in file]


def test_views_change_what_is_learnt_and_are_part_of_the_run(
    start: Callable[..., Path], tmp_path: Path
):
    frozen = ("train.encoder=frozen", "train.refit=false")
    one = load_file(start(*frozen, out=tmp_path / "one") / "model.safetensors")
    four = load_file(start(*frozen, "train.views=4", out=tmp_path / "four") / "model.safetensors")
    assert not np.array_equal(one["head.mean.weight"], four["head.mean.weight"])
    course = pd.read_csv(tmp_path / "four" / "metrics.csv")
    assert np.isfinite(course["total"]).all()


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="no hypergene[lora]")
def test_an_adapted_encoder_is_plain_weights_in_its_folder(
    start: Callable[..., Path],
    repository: dict[str, bytes],
    tiny_cohort: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    model = start("train.encoder=lora", "train.lora.rank=2")
    published = load(repository["model.safetensors"])
    ours = encoder_of(model)
    changed = {name for name, value in ours.items() if not np.array_equal(published[name], value)}
    assert changed == {"blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"}
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    slide = tiny_cohort.folder / "ST-imgs/A/A1/he.png"
    assert np.isfinite(predict(slide, model=model, mpp=4.0).X).all()


def test_trouble_with_the_encoder_shows_before_any_data_are_read(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finetune_module, "_read", lambda *a: pytest.fail("data were read"))
    with pytest.raises(ModelError, match="There is no image encoder 'unni'"):
        start("encoder.name=unni")
    with pytest.raises(ModelError, match="is a pickle"):
        start("encoder.weights=pytorch_model.bin")
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package peft"):
        start("train.encoder=lora")
    assert not (tmp_path / "mine").exists()


def test_a_model_made_from_the_hub_predicts_without_it(
    run_cli: Callable[..., Any], repository: dict[str, bytes], tiny_cohort: Any, tmp_path: Path,
    tiny_recipe: Path,
):  # fmt: skip
    with stand_in() as hub:
        hub.repositories["lab/tiny"] = repository
        done = run_cli(
            *("finetune", tiny_cohort.sheet, "--out", tmp_path / "mine", "--recipe", tiny_recipe),
            *("--set", "encoder.name=hf-hub:lab/tiny", "--set", "train.encoder=frozen"),
            *("--set", "train.refit=false", "--epochs", "1", "--device", "cpu"),
            env=hub.environment(tmp_path / "hub"),
        )
        assert done.returncode == 0, done.stderr
        asked = len(hub.asked)
    config = json.loads((tmp_path / "mine/model/config.json").read_text())["encoder"]
    assert (config["name"], config["architecture"]) == ("hf-hub:lab/tiny", "vit_tiny_patch16_224")
    assert config["source"] == f"hf-hub:lab/tiny@{COMMIT}"
    assert config["tile_um"] == [112.0]  # its own, not the default recipe's two
    # No hub, no cache of it, and a network that would answer nobody.
    model = load_model(tmp_path / "mine/model")
    assert (
        model.encoder.features == 48 and asked == 6
    )  # may it be had, where, and here it is: of two files
