"""Adapters start from the published encoder, learn alone, and end as plain weights."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hypergene.errors import ModelError, UsageError
from hypergene.features.cache import ArrayCache
from hypergene.model.config import EncoderConfig, ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.model.network import HyperGene
from hypergene.training import lora
from hypergene.training.lora import add_lora, merge_lora
from hypergene.training.optimiser import parameter_groups
from hypergene.training.recipe import Lora, TargetChoice, load_recipe
from hypergene.training.section import Section
from hypergene.training.targets import build_targets
from hypergene.training.trainer import Trainer

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="the extra hypergene[lora] is not installed"
)
VIT = {"img_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 3}
SETTINGS = Lora(rank=2, alpha=4, last_blocks=2)


def config() -> EncoderConfig:
    return EncoderConfig(name="vit_tiny_patch16_224", arguments=VIT, tile_px=32)


def tiles() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 1, 3, 32, 32), generator=generator, dtype=torch.uint8)


@needs_peft
def test_adapters_stand_in_the_last_blocks_and_change_nothing_at_first():
    torch.manual_seed(0)
    plain = TileEncoder(config()).eval()
    adapted = copy.deepcopy(plain)
    add_lora(adapted, SETTINGS)
    trained = {name for name, weights in adapted.named_parameters() if weights.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all(".lora_" in name and (".1." in name or ".2." in name) for name in trained)
    assert all(weights.shape[0] == 2 or weights.shape[1] == 2 for name, weights in
               adapted.named_parameters() if name in trained)  # fmt: skip
    with torch.inference_mode():
        assert torch.equal(plain(tiles()), adapted(tiles()))


@needs_peft
def test_merging_leaves_plain_weights_that_give_the_same_vectors():
    torch.manual_seed(0)
    encoder = TileEncoder(config()).eval()
    names, before = list(encoder.state_dict()), copy.deepcopy(encoder.state_dict())
    add_lora(encoder, SETTINGS)
    with torch.no_grad():
        for name, weights in encoder.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.5)
        adapted = encoder(tiles())
        merge_lora(encoder)
        merged = encoder(tiles())
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-5)
    after = encoder.state_dict()
    assert list(after) == names
    changed = {name for name in names if not torch.equal(before[name], after[name])}
    assert changed == {
        f"network.blocks.{block}.attn.{part}.weight" for block in (1, 2) for part in ("qkv", "proj")
    }
    TileEncoder(config()).load_state_dict(after)


def test_an_encoder_without_adapters_is_merged_into_itself():
    encoder = TileEncoder(config()).requires_grad_(False)
    before = copy.deepcopy(encoder.state_dict())
    merge_lora(encoder)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not any(weights.requires_grad for weights in encoder.parameters())


@needs_peft
def test_a_network_without_attention_blocks_is_refused():
    resnet = EncoderConfig(arguments={"channels": [8, 8, 16, 16], "stem_width": 8}, tile_px=32)
    with pytest.raises(ModelError, match=r"ResNet.* has no attention blocks") as caught:
        add_lora(TileEncoder(resnet), SETTINGS)
    assert "train.encoder" in (caught.value.hint or "")


def test_where_peft_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package peft") as caught:
        add_lora(TileEncoder(config()), SETTINGS)
    assert "hypergene[lora]" in (caught.value.hint or "")


@pytest.fixture
def make_trainer(
    config: ModelConfig, make_section: Callable[..., Section], tmp_path: Path
) -> Callable[..., Trainer]:
    def make(*overrides: str, epochs: int = 4, **more: Any) -> Trainer:
        torch.manual_seed(0)
        own = EncoderConfig(
            name="vit_tiny_patch16_224", arguments=VIT, tile_um=(112.0,), tile_px=32
        )
        train = [make_section("A1", "A", 1), make_section("B1", "B", 2, offset=1.0)]
        quick = ["train.assess_every=2", "train.slides_per_batch=2", "train.spots_per_slide=12"]
        quick += ["train.encoder=lora", "train.lora.rank=2", "train.lora.last_blocks=2"]
        recipe = load_recipe(None, [*quick, f"train.epochs={epochs}", "train.ema=0.5", *overrides])
        return Trainer(
            HyperGene(config.model_copy(update={"encoder": own})),
            recipe,
            train,
            [make_section("V1", "V", 3, offset=-0.5)],
            build_targets(
                [section.expression for section in train],
                config.head.modules,
                TargetChoice(),
                ArrayCache(tmp_path / "cache"),
            ),
            {"all": list(config.genes)},
            device=torch.device("cpu"),
            seed=0,
            run="test",
            checkpoint=tmp_path / "run.pt",
            log=lambda row: None,
        )

    return make


@needs_peft
def test_training_changes_the_adapted_matrices_alone_and_leaves_plain_weights(
    make_trainer: Callable[..., Trainer],
):
    trainer = make_trainer("train.lr=0.02")
    encoder = trainer.model.encoder
    before = {name.replace(".base_layer", ""): value.clone() for name, value
              in encoder.state_dict().items() if ".lora_" not in name}  # fmt: skip
    groups = parameter_groups(trainer.model, trainer.recipe)
    ids = {id(weights) for group in groups for weights in group["params"]}
    assert {name for name, weights in encoder.named_parameters() if id(weights) in ids} == {
        name for name, _ in encoder.named_parameters() if ".lora_" in name
    }
    trainer.fit()
    after = trainer.model.encoder.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed and all(".attn." in name and name.endswith(".weight") for name in changed)
    assert not any(".blocks.0." in name for name in changed)


@needs_peft
def test_a_checkpoint_holds_adapters_and_not_what_they_stand_beside(
    make_trainer: Callable[..., Trainer],
):
    trainer = make_trainer()
    trainer.fit()
    state = torch.load(trainer.checkpoint, weights_only=True)
    names = [name for name in state["model"] if name.startswith("encoder.")]
    assert names and all(".lora_" in name for name in names)
    assert state["best_weights"].keys() == state["model"].keys() == state["average"].keys()


@needs_peft
def test_a_killed_run_with_adapters_goes_on_as_if_it_had_not_been(
    make_trainer: Callable[..., Trainer],
):
    whole = make_trainer()
    whole.fit()
    whole.checkpoint.unlink()

    class Killed(Exception):
        pass

    killed = make_trainer()

    def die(row: dict[str, Any]) -> None:
        if row["epoch"] == 3:
            raise Killed

    killed.log = die
    with pytest.raises(Killed):
        killed.fit()
    again = make_trainer()
    again.fit()
    ours, theirs = (
        {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}
        for trainer in (again, whole)
    )
    assert ours == theirs
