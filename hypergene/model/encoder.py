"""The image encoder: any timm network that turns a tile into a vector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from hypergene.errors import ModelError, first_line
from hypergene.model.config import EncoderConfig
from hypergene.model.conv_stem import ConvStem

Published = Mapping[str, Tensor]
"""Weights of a network by their published names, in a layout that timm knows."""

# Arguments of a network that are classes, by the name a configuration gives them. No other class
# can be named, so a stranger's config.json cannot reach into the program.
_LAYERS: Final = {"SwiGLUPacked": "SwiGLUPacked", "SwiGLU": "SwiGLU", "GluMlp": "GluMlp"}
_OWN_LAYERS: Final[dict[str, type[nn.Module]]] = {"ConvStem": ConvStem}
_LAYER_ARGUMENTS: Final = ("mlp_layer", "embed_layer")
_NAMED_KEYS: Final = 3


class TileEncoder(nn.Module):
    """A timm network behind the crops of one spot.

    The same weights see every crop width; their vectors are joined. Input is uint8, so that tiles
    travel small and are normalised where they are used. Nothing is ever fetched from here.

    Parameters
    ----------
    config
        Network, crop widths (µm), normalisation and what of its output is the tile's vector.
    published
        Weights to start from; None = random ones, as when a model folder brings its own.

    Attributes
    ----------
    crops
        Number of crops a spot.
    features
        Length of a spot's feature vector: `crops` vectors of the network.

    Raises
    ------
    ModelError
        timm does not know the network, the weights do not fit it, or it does not turn a tile of
        ``config.tile_px`` into one vector.
    """

    def __init__(self, config: EncoderConfig, published: Published | None = None) -> None:
        super().__init__()
        self.crops = len(config.tile_um)
        self.embedding = config.embedding
        self.network = _create(config, published)
        self.features = self._vector_length(config) * self.crops
        self.register_buffer("mean", _per_channel(config.mean), persistent=False)
        self.register_buffer("std", _per_channel(config.std), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode spots.

        Parameters
        ----------
        tiles
            (n, crops, 3, px, px), uint8 or float in 0..255, RGB. Fewer crops than the
            configuration names are encoded as well, one like the other.

        Returns
        -------
        Tensor
            (n, features) float32, crop after crop.
        """
        images = (tiles.flatten(0, 1).float() - self.mean) / self.std
        vectors = self._embed(images.contiguous(memory_format=torch.channels_last))
        return vectors.float().unflatten(0, tiles.shape[:2]).flatten(1)

    def _embed(self, images: Tensor) -> Tensor:
        network: Any = self.network
        if self.embedding == "pooled":
            pooled: Tensor = network(images)
            return pooled
        tokens: Tensor = network.forward_features(images)
        if self.embedding == "class":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, network.num_prefix_tokens :].mean(1)], 1)

    @torch.no_grad()
    def _vector_length(self, config: EncoderConfig) -> int:
        """Length of what the network makes of one blank tile.

        Trying is the only way that holds for every network: ``num_features`` is not the length of
        the output where a layer stands between pooling and classifier (MobileNetV3, VGG, ...).
        """
        if config.embedding != "pooled" and getattr(self.network, "cls_token", None) is None:
            raise ModelError(
                f"The image encoder {config.name!r} has no class token.",
                hint="Set encoder.embedding to pooled.",
            )
        tile = torch.zeros(1, 3, config.tile_px, config.tile_px)
        try:
            self.network.eval()
            vector = self._embed(tile)
        except Exception as error:  # each network refuses a size in its own way
            raise ModelError(
                f"The image encoder {config.name!r} cannot read tiles of {config.tile_px} px: "
                f"{first_line(error)}.",
                hint="Change tile_px, or the size the network expects (arguments.img_size).",
            ) from error
        self.network.train()
        shape = tuple(vector.shape) if isinstance(vector, Tensor) else ()
        if len(shape) != 2:
            raise ModelError(
                f"The image encoder {config.name!r} does not turn a tile into one vector.",
                hint="Give it a pooling, e.g. arguments.global_pool = 'avg'.",
            )
        return shape[1]


def _create(config: EncoderConfig, published: Published | None) -> nn.Module:
    import timm

    architecture = config.architecture or config.name
    if ":" in architecture:
        raise ModelError(
            f"The image encoder {config.name!r} cannot be made: its configuration does not say "
            "which network it is.",
            hint="Name the timm network as encoder.architecture in config.json, and its arguments.",
        )
    start: dict[str, Any] = {"pretrained": False}
    if published is not None:
        # No address beside the weights themselves: timm must have nowhere else to look.
        overlay = {"state_dict": _without_classifier(architecture, published), "num_classes": 0}
        overlay |= {
            "url": None,
            "hf_hub_id": None,
            "file": None,
            "source": "",
            "custom_load": False,
        }
        start = {"pretrained": True, "pretrained_cfg_overlay": overlay}
    try:
        network: nn.Module = timm.create_model(
            architecture, num_classes=0, **start, **_with_layers(config.arguments)
        )
    except Exception as error:  # timm raises whatever its depths raise
        misfit = _misfit(error)
        if misfit is not None:
            raise ModelError(
                f"The weights from {config.source} do not fit the image encoder {config.name!r}: "
                f"{misfit}.",
                hint="Give the weights of this very network, or its arguments as they were "
                "published.",
            ) from error
        raise ModelError(
            f"The image encoder {config.name!r} cannot be made: {first_line(error)}.",
            hint="Check the name against timm.list_models() and docs/encoders.md, and the "
            "arguments against that network.",
        ) from error
    # timm keeps a copy of what it loaded; it would follow every copy of the network.
    vars(network).get("pretrained_cfg", {}).pop("state_dict", None)
    return network.to(memory_format=torch.channels_last)


def _with_layers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put classes in place of their names."""
    import timm

    made = dict(arguments)
    for argument in _LAYER_ARGUMENTS:
        name = made.get(argument)
        if name in _OWN_LAYERS:
            made[argument] = _OWN_LAYERS[name]
        elif name in _LAYERS:
            made[argument] = getattr(timm.layers, _LAYERS[name])
        elif name is not None:
            raise ModelError(
                f"There is no layer {name!r} for the image encoder's {argument}.",
                hint=f"Known: {', '.join([*_LAYERS, *_OWN_LAYERS])}.",
            )
    return made


def _without_classifier(architecture: str, published: Published) -> dict[str, Tensor]:
    """Leave out the classifier of an encoder that was trained to classify."""
    import timm

    known = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    own: Any = known.classifier if known is not None else None
    names = {"head", *((own,) if isinstance(own, str) else own or ())}
    keys = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    return {key: tensor for key, tensor in published.items() if key not in keys}


def _misfit(error: Exception) -> str | None:
    """Say which tensors do not fit, of what torch says when it loads them; None = other trouble."""
    text = str(error)
    parts = []
    for what, said in (("lacking", "Missing"), ("unknown", "Unexpected")):
        found = re.search(rf"{said} key\(s\) in state_dict: (.+)", text)
        if found:
            keys = re.findall(r'"([^"]+)"', found[1])
            parts.append(f"{what} {_some(keys)}")
    sizes = re.findall(
        r"size mismatch for (\S+): .*?torch\.Size\(\[([^]]*)\]\).*?torch\.Size\(\[([^]]*)\]\)", text
    )
    if sizes:
        parts.append(_some([f"{key} is ({given}), not ({asked})" for key, given, asked in sizes]))
    return "; ".join(parts) or None


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_KEYS
    return ", ".join(names[:_NAMED_KEYS]) + (f" and {more} more" if more > 0 else "")


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    """Lay values for RGB in 0..1 against images in 0..255, (3, 1, 1)."""
    return 255 * torch.tensor(values)[:, None, None]
