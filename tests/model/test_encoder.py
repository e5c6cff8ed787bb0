"""Any timm network makes one vector of one tile; one that cannot is named in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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
        ({"name": "nowhere:resnet"}, "cannot be made"),
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


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No network, and an empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("offline")
def test_an_encoder_on_a_hub_out_of_reach_is_one_model_error():
    with pytest.raises(ModelError, match="'hf-hub:nobody/nothing' cannot be made") as caught:
        TileEncoder(EncoderConfig(name="hf-hub:nobody/nothing"))
    assert "HF_TOKEN" in (caught.value.hint or "")


@pytest.mark.usefixtures("offline")
def test_published_weights_are_fetched_only_when_they_are_asked_for():
    config = EncoderConfig(name="resnet10t.c3_in1k", pretrained=True, tile_px=32)
    assert TileEncoder(config, weights=False).features == 512
    with pytest.raises(ModelError, match="cannot be made"):
        TileEncoder(config, weights=True)
