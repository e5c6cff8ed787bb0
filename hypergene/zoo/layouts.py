"""Names of an encoder's weights: from its publisher's layout to timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["timm", "vit", "dinov2"]
"""Whose names an encoder's weights have: timm's, or those of two models of transformers."""

# Names in the transformers library's ViT and DINOv2, and in timm's vision transformer.
_STEM: Final = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_BLOCK: Final = {
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
}
_UNUSED: Final = ("pooler.", "embeddings.mask_token")
_QKV: Final = ("query", "key", "value")


def to_timm(weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Rename published weights so that timm's network of the same architecture takes them.

    Parameters
    ----------
    weights
        By their published names.
    layout
        ``timm`` (nothing to do but for Swin transformers, see below), or ``vit`` and ``dinov2``
        of the transformers library, with or without register tokens and gated MLP. A name that
        is not of the layout stays as it is, so that loading can complain of it.

    Returns
    -------
    dict
        By timm's names. Query, key and value become one matrix. Where there are register tokens
        the class token takes its position embedding in, for timm's networks with registers give
        positions to patches only.
    """
    import torch

    if layout == "timm":
        return _with_downsampling_after(weights)
    named: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if not key.startswith(_UNUSED):
            named[_renamed(key)] = tensor
    for query in [key for key in named if ".attn.query." in key]:
        parts = [named.pop(query.replace("query", part)) for part in _QKV]
        named[query.replace("query", "qkv")] = torch.cat(parts)
    if "reg_token" in named and "pos_embed" in named and "cls_token" in named:
        named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
        named["pos_embed"] = named["pos_embed"][:, 1:]
    return named


def _renamed(key: str) -> str:
    block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias)?", key)
    if block is None:
        stem, end = re.fullmatch(r"(.+?)(\.weight|\.bias)?", key).groups(default="")  # type: ignore[union-attr]
        return _STEM.get(stem, stem) + end
    number, name, end = block.groups(default="")
    name = _BLOCK.get(name, re.sub(r"^attention\.attention\.", "attn.", name))
    return f"blocks.{number}.{name}{end}"


def _with_downsampling_after(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a Swin transformer's downsampling the number of the stage before it.

    So do its authors, and older versions of timm take headless weights in no other numbering.
    """
    named = dict(weights)
    if "layers.3.downsample.norm.weight" in named:
        named = {
            re.sub(
                r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", k
            ): v
            for k, v in named.items()
        }
    return named
