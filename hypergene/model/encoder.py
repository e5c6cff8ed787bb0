"""The image encoder: any timm network that turns a tile into a vector."""

from __future__ import annotations

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

    Raises
    ------
    ModelError
        timm does not know the network, or its weights cannot be fetched.
    """

    def __init__(self, config: EncoderConfig, *, weights: bool = False) -> None:
        super().__init__()
        self.crops = len(config.tile_um)
        self.network = _create(config, weights=weights and config.pretrained)
        self.features = int(self.network.num_features) * self.crops
        self.register_buffer("mean", 255 * torch.tensor(config.mean)[:, None, None], False)
        self.register_buffer("std", 255 * torch.tensor(config.std)[:, None, None], False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode spots.

        Parameters
        ----------
        tiles
            (n, crops, 3, px, px), uint8 or float in 0..255, RGB.

        Returns
        -------
        Tensor
            (n, features) float32.
        """
        spots, crops = tiles.shape[:2]
        images = (tiles.flatten(0, 1).float() - self.mean) / self.std
        vectors = self.network(images.contiguous(memory_format=torch.channels_last))
        return vectors.float().reshape(spots, crops * vectors.shape[1])


def _create(config: EncoderConfig, *, weights: bool) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(
            config.name, pretrained=weights, num_classes=0, **config.arguments
        )
    except Exception as error:  # timm and the hub raise whatever their depths raise
        raise ModelError(
            f"The image encoder {config.name!r} cannot be made: {_first_line(error)}.",
            hint="Check the name against timm.list_models(); for hf-hub: names also the network "
            "and the access token (HF_TOKEN).",
        ) from error
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
