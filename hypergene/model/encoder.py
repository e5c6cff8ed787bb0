"""The image encoder: any timm network that turns a tile into a vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hypergene.errors import ModelError
from hypergene.model.config import EncoderConfig


class TileEncoder(nn.Module):
    """A timm network behind the crops of one spot.

    The same weights see every crop width; their vectors are joined. Input is uint8, so that tiles
    travel small and are normalised where they are used.

    Parameters
    ----------
    config
        Network, crop widths (µm) and normalisation.
    weights
        Whether to fetch the published weights that ``config.pretrained`` asks for. Off when the
        weights come from a model folder anyway.

    Attributes
    ----------
    crops
        Number of crops a spot.
    features
        Length of a spot's feature vector: `crops` vectors of the network.

    Raises
    ------
    ModelError
        timm does not know the network, its weights cannot be fetched, or it does not turn a tile
        of ``config.tile_px`` into one vector.
    """

    def __init__(self, config: EncoderConfig, *, weights: bool = False) -> None:
        super().__init__()
        self.crops = len(config.tile_um)
        self.network = _create(config, weights=weights and config.pretrained)
        self.features = _vector_length(self.network, config) * self.crops
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
        vectors = self.network(images.contiguous(memory_format=torch.channels_last))
        return vectors.float().unflatten(0, tiles.shape[:2]).flatten(1)


def _create(config: EncoderConfig, *, weights: bool) -> nn.Module:
    import timm

    arguments: dict[str, Any] = config.arguments
    try:
        network: nn.Module = timm.create_model(
            config.name, pretrained=weights, num_classes=0, **arguments
        )
    except Exception as error:  # timm and the hub raise whatever their depths raise
        raise ModelError(
            f"The image encoder {config.name!r} cannot be made: {_first_line(error)}.",
            hint="Check the name against timm.list_models(); for hf-hub: names also the network "
            "and the access token (HF_TOKEN).",
        ) from error
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def _vector_length(network: nn.Module, config: EncoderConfig) -> int:
    """Length of what the network makes of one blank tile.

    Trying is the only way that holds for every network: ``num_features`` is not the length of the
    output where a layer stands between pooling and classifier (MobileNetV3, VGG, ...).
    """
    tile = torch.zeros(1, 3, config.tile_px, config.tile_px)
    try:
        vector = network.eval()(tile)
    except Exception as error:  # each network refuses a size in its own way
        raise ModelError(
            f"The image encoder {config.name!r} cannot read tiles of {config.tile_px} px: "
            f"{_first_line(error)}.",
            hint="Change tile_px, or the size the network expects (arguments.img_size).",
        ) from error
    network.train()
    shape = tuple(vector.shape) if isinstance(vector, Tensor) else ()
    if len(shape) != 2:
        raise ModelError(
            f"The image encoder {config.name!r} does not turn a tile into one vector.",
            hint="Give it a pooling, e.g. arguments.global_pool = 'avg'.",
        )
    return shape[1]


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    """Lay values for RGB in 0..1 against images in 0..255, (3, 1, 1)."""
    return 255 * torch.tensor(values)[:, None, None]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
