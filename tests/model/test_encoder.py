"""Any timm network makes one vector of one tile; one that cannot is named in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn

from hypergene.errors import ModelError
from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder

NETWORKS = {
    "resnet10t": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 1, "embed_dim": 48},
    "convnext_atto": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    # Its output is longer than its num_features says.
    "mobilenetv3_small_050": {},
}


def encoder(name: str = "resnet10t", *, crops: int = 1, **changes: Any) -> TileEncoder:
    torch.manual_seed(0)
    changes = {"arguments": NETWORKS.get(name, {}), "tile_px": 32} | changes
    config = EncoderConfig(name=name, tile_um=tuple(range(100, 100 + crops)), **changes)
    return TileEncoder(config).eval()


def tiles(n: int, crops: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, crops, 3, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_timm_network_gives_one_vector_a_crop(name: str):
    network = encoder(name, crops=2)
    with torch.inference_mode():
        features = network(tiles(3, 2))
        none = network(tiles(0, 2))
    assert network.features == features.shape[1] == 2 * (network.features // 2)
    assert features.shape[0] == 3 and features.dtype == torch.float32
    assert features.std(0).max() > 0  # tiles differ, and so do their vectors
    assert none.shape == (0, network.features)


@torch.inference_mode()
def test_crops_are_joined_in_their_order():
    network, both = encoder(crops=2), tiles(4, 2)
    first, second = network(both[:, :1]), network(both[:, 1:])
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(network(both), torch.cat([first, second], 1))
    torch.testing.assert_close(network(both.flip(1)), torch.cat([second, first], 1))


@torch.inference_mode()
def test_uint8_and_float_tiles_give_the_same_features():
    network = encoder()
    assert torch.equal(network(tiles(3)), network(tiles(3).float()))


@torch.inference_mode()
def test_colours_are_normalised_from_0_to_255():
    network = encoder(mean=(0.5, 0.6, 0.7), std=(0.1, 0.2, 0.4))
    network.network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    white = torch.full((1, 1, 3, 32, 32), 255, dtype=torch.uint8)
    torch.testing.assert_close(network(white), torch.tensor([[5.0, 2.0, 0.75]]))


@torch.inference_mode()
def test_features_are_float32_where_the_network_runs_in_bfloat16():
    network = encoder()
    exact = network(tiles(3))
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(tiles(3))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.1)


def test_an_encoder_is_made_ready_to_train():
    config = EncoderConfig(arguments=NETWORKS["resnet10t"], tile_px=32)
    network = TileEncoder(config)
    assert all(module.training for module in network.modules())
    network(tiles(2)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "resnet10000"}, "cannot be made: Unknown model"),
        ({"name": "resnet10t", "arguments": {"colour": 1}}, "cannot be made: .*colour"),
        ({"name": "vit_tiny_patch16_224"}, "cannot read tiles of 32 px"),
        (
            {"name": "resnet10t", "arguments": {"in_chans": 4}},
            "cannot read tiles of 32 px",
        ),
        (
            {
                "name": "vit_tiny_patch16_224",
                "arguments": NETWORKS["vit_tiny_patch16_224"] | {"global_pool": ""},
            },
            "into one vector",
        ),
        ({"name": "resnet10t", "arguments": {"features_only": True}}, "into one vector"),
    ],
)
def test_a_network_that_cannot_be_used_is_one_model_error(changes: dict[str, Any], reason: str):
    config = EncoderConfig.model_validate({"tile_px": 32} | changes)
    with pytest.raises(ModelError, match=reason) as caught:
        TileEncoder(config)
    assert "\n" not in caught.value.message and repr(changes["name"]) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["hf-hub:nobody/nothing", "hf_hub:nobody/nothing", "local-dir:/tmp"]
)
def test_a_configuration_never_leads_to_a_hub(name: str):
    with pytest.raises(ModelError, match="does not say which network it is") as caught:
        TileEncoder(EncoderConfig(name=name))
    assert "encoder.architecture" in (caught.value.hint or "")
    with pytest.raises(ValidationError, match="architecture"):
        EncoderConfig(name="mine", architecture=name)


def test_the_architecture_is_what_is_made_whatever_the_name_says():
    config = EncoderConfig(
        name="hf-hub:lab/tiny@v1",
        architecture="resnet10t",
        arguments=NETWORKS["resnet10t"],
        pretrained=True,
        tile_px=32,
    )
    assert TileEncoder(config).features == 16


VIT = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 3}


def vit(embedding: str, **arguments: Any) -> TileEncoder:
    name, arguments = "vit_tiny_patch16_224", VIT | arguments
    return encoder(name, arguments=arguments, embedding=embedding)


@torch.inference_mode()
@pytest.mark.parametrize("registers", [0, 2])
def test_a_vector_is_what_the_rule_takes_of_the_tokens(registers: int):
    seen = tiles(3)
    both = vit("class+mean", reg_tokens=registers, global_pool="")
    tokens = both.network((seen.flatten(0, 1) - both.mean) / both.std)
    assert tokens.shape == (3, 1 + registers + 4, 48)
    patches = tokens[:, -4:].mean(1)
    torch.testing.assert_close(both(seen), torch.cat([tokens[:, 0], patches], 1))
    alone = vit("class", reg_tokens=registers, global_pool="")
    alone.load_state_dict(both.state_dict())
    torch.testing.assert_close(alone(seen), tokens[:, 0])
    pooled = vit("pooled", reg_tokens=registers, global_pool="token")
    pooled.load_state_dict(both.state_dict())
    torch.testing.assert_close(pooled(seen), tokens[:, 0])
    assert (both.features, alone.features, pooled.features) == (96, 48, 48)


@pytest.mark.parametrize("embedding", ["class", "class+mean"])
def test_a_network_without_a_class_token_has_no_such_vector(embedding: str):
    with pytest.raises(ModelError, match="'resnet10t' has no class token") as caught:
        encoder(embedding=embedding)
    assert "pooled" in (caught.value.hint or "")


def test_layers_are_named_and_none_but_the_known_ones():
    plain, gated = vit("pooled"), vit("pooled", mlp_layer="SwiGLUPacked", act_layer="silu")
    assert (
        gated.network.blocks[0].mlp.fc2.in_features * 2
        == plain.network.blocks[0].mlp.fc2.in_features
    )
    with pytest.raises(ModelError, match=r"no layer 'os\.system' for .* mlp_layer"):
        vit("pooled", mlp_layer="os.system")


def test_published_weights_are_loaded_and_their_classifier_is_left_out():
    network = timm.create_model("vit_tiny_patch16_224", num_classes=7, **VIT)
    config = EncoderConfig(name="vit_tiny_patch16_224", arguments=VIT, tile_px=32)
    ours = TileEncoder(config, network.state_dict())
    theirs = {k: v for k, v in network.state_dict().items() if not k.startswith("head.")}
    assert ours.network.state_dict().keys() == theirs.keys()
    assert all(torch.equal(theirs[k], v) for k, v in ours.network.state_dict().items())
    assert "state_dict" not in ours.network.pretrained_cfg


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("norm.weight"), "lacking norm.weight"),
        (lambda w: w.update({"neck.weight": torch.ones(1)}), "unknown neck.weight"),
        (lambda w: w.update({"norm.bias": torch.ones(9)}), r"norm.bias is \(9\), not \(48\)"),
        (lambda w: [w.pop(k) for k in list(w) if k.startswith("blocks.1")], "and 9 more"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Any, said: str):
    config = EncoderConfig(
        name="vit_tiny_patch16_224", arguments=VIT, tile_px=32, source="mine.safetensors"
    )
    weights = dict(TileEncoder(config).network.state_dict())
    change(weights)
    with pytest.raises(ModelError, match=f"mine.safetensors do not fit .*: .*{said}") as caught:
        TileEncoder(config, weights)
    assert "\n" not in caught.value.message and len(caught.value.message) < 300
