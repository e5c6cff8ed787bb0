"""Published weights in another layout compute the same vector under timm's names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.zoo.layouts import to_timm

DIM, HEADS, DEPTH, HIDDEN, PX, PATCH = 48, 3, 2, 64, 32, 16
Weights = dict[str, Tensor]


def draw(shapes: dict[str, tuple[int, ...]]) -> Weights:
    generator = torch.Generator().manual_seed(5)
    return {key: 0.2 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (DIM,), f"{name}.bias": (DIM,)}


def published(layout: str, *, registers: int = 0, gated: bool = False) -> Weights:
    """Random weights by the names of the transformers library's ViT or DINOv2."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, DIM),
        "embeddings.position_embeddings": (1, 1 + (PX // PATCH) ** 2, DIM),
        "embeddings.patch_embeddings.projection.weight": (DIM, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (DIM,),
        **norm("layernorm"),
    }
    if layout == "dinov2":
        shapes["embeddings.mask_token"] = (1, DIM)
    else:
        shapes |= linear("pooler.dense", DIM, DIM)
    if registers:
        shapes["embeddings.register_tokens"] = (1, registers, DIM)
    for number in range(DEPTH):
        block = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{block}.attention.attention.{part}", DIM, DIM)
        shapes |= linear(f"{block}.attention.output.dense", DIM, DIM)
        if layout == "vit":
            shapes |= norm(f"{block}.layernorm_before") | norm(f"{block}.layernorm_after")
            shapes |= linear(f"{block}.intermediate.dense", HIDDEN, DIM)
            shapes |= linear(f"{block}.output.dense", DIM, HIDDEN)
            continue
        shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        shapes |= {f"{block}.layer_scale{one}.lambda1": (DIM,) for one in (1, 2)}
        names = ("weights_in", "weights_out") if gated else ("fc1", "fc2")
        shapes |= linear(f"{block}.mlp.{names[0]}", HIDDEN * (1 + gated), DIM)
        shapes |= linear(f"{block}.mlp.{names[1]}", DIM, HIDDEN)
    return draw(shapes)


def class_token(weights: Weights, layout: str, images: Tensor) -> Tensor:
    """The class token as the original models compute it, written out."""

    def apply(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def normed(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(
            x, (DIM,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6
        )

    place = "embeddings.patch_embeddings.projection"
    x = functional.conv2d(images, weights[f"{place}.weight"], weights[f"{place}.bias"], PATCH)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights["embeddings.cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + weights["embeddings.position_embeddings"]
    if "embeddings.register_tokens" in weights:
        registers = weights["embeddings.register_tokens"].expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], registers, x[:, 1:]], 1)
    for number in range(DEPTH):
        block = f"encoder.layer.{number}"
        first, second = (
            ("layernorm_before", "layernorm_after") if layout == "vit" else ("norm1", "norm2")
        )
        y = normed(f"{block}.{first}", x)
        q, k, v = (
            apply(f"{block}.attention.attention.{part}", y)
            .unflatten(2, (HEADS, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = ((q @ k.transpose(2, 3)) / (DIM / HEADS) ** 0.5).softmax(-1) @ v
        y = apply(f"{block}.attention.output.dense", mixed.transpose(1, 2).flatten(2))
        x = x + y * weights.get(f"{block}.layer_scale1.lambda1", torch.ones(()))
        y = normed(f"{block}.{second}", x)
        if layout == "vit":
            y = functional.gelu(apply(f"{block}.intermediate.dense", y))
            y = apply(f"{block}.output.dense", y)
        elif f"{block}.mlp.weights_in.weight" in weights:
            gate, value = apply(f"{block}.mlp.weights_in", y).chunk(2, -1)
            y = apply(f"{block}.mlp.weights_out", functional.silu(gate) * value)
        else:
            y = apply(f"{block}.mlp.fc2", functional.gelu(apply(f"{block}.mlp.fc1", y)))
        x = x + y * weights.get(f"{block}.layer_scale2.lambda1", torch.ones(()))
    return normed("layernorm", x)[:, 0]


GATED = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu", "mlp_ratio": 2 * HIDDEN / DIM}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "phikon": ("vit", "vit_base_patch16_224", {}, {}),
    "phikon-v2": ("dinov2", "vit_large_patch16_224", {"init_values": 1e-5}, {}),
    "hibou": (
        *("dinov2", "vit_base_patch14_reg4_dinov2", {**GATED, "patch_size": PATCH}),
        {"registers": 4, "gated": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_the_class_token_is_that_of_the_original_model(case: str):
    layout, architecture, arguments, more = CASES[case]
    weights = published(layout, **more)
    shape = {"img_size": PX, "depth": DEPTH, "embed_dim": DIM, "num_heads": HEADS}
    config = EncoderConfig(
        name=case,
        architecture=architecture,
        arguments={"mlp_ratio": HIDDEN / DIM} | arguments | shape,
        tile_px=PX,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    encoder = TileEncoder(config, to_timm(weights, layout)).eval()
    images = torch.rand(3, 3, PX, PX, generator=torch.Generator().manual_seed(1))
    vectors = encoder(255 * images[:, None])
    assert vectors.std() > 0.1
    torch.testing.assert_close(vectors, class_token(weights, layout, images), rtol=1e-4, atol=1e-4)


def test_a_name_that_nobody_knows_stays_so_that_loading_names_it():
    odd = {
        "encoder.layer.0.attention.attention.bias_table": torch.ones(1),
        "neck.weight": torch.ones(1),
    }
    assert set(to_timm(odd, "vit")) == {"blocks.0.attn.bias_table", "neck.weight"}


@pytest.mark.parametrize("numbered", ["before", "after"])
def test_ctranspath_is_read_in_either_numbering_of_its_downsampling(numbered: str):
    arguments = {"img_size": 224, "embed_layer": "ConvStem", "embed_dim": 24}
    arguments |= {"depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
    config = EncoderConfig(
        name="ctranspath", architecture="swin_tiny_patch4_window7_224", arguments=arguments,
        tile_px=224,
    )  # fmt: skip
    torch.manual_seed(2)
    original = TileEncoder(config)
    wanted = original.network.state_dict()
    weights = dict(wanted)
    if numbered == "after":
        weights = {
            re.sub(r"layers\.(\d)\.down", lambda m: f"layers.{int(m[1]) - 1}.down", key): value
            for key, value in weights.items()
        }
        weights["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
        assert "layers.0.downsample.norm.weight" in weights
    loaded = TileEncoder(config, to_timm(weights, "timm")).network.state_dict()
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(wanted[key], value) for key, value in loaded.items())
    assert "patch_embed.proj.4.running_var" in wanted
