"""The stem of CTransPath: three convolutions in place of one patch projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Patches of 4 px by two strided convolutions and a projection (Wang et al. 2022).

    Takes the place of the patch embedding of timm's Swin transformer, whose constructor calls it
    with these arguments.

    Parameters
    ----------
    img_size
        Side of an image, px.
    patch_size
        Side of a patch, px; the two strides of 2 make it 4.
    in_chans
        Channels of an image.
    embed_dim
        Length of a patch's vector.
    norm_layer
        Normalisation of the vectors, if any.
    **_
        What timm passes to every patch embedding and this one has no use for.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[[int], nn.Module] | None = None,
        **_: Any,
    ) -> None:
        super().__init__()
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        patch = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
        if patch != (4, 4) or embed_dim % 8:
            raise ValueError("ConvStem needs patches of 4 px and an embed_dim divisible by 8")
        self.patch_size = patch
        self.grid_size = (self.img_size[0] // 4, self.img_size[1] // 4)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        layers: list[nn.Module] = []
        width = in_chans
        for wider in (embed_dim // 8, embed_dim // 4):
            layers += [
                nn.Conv2d(width, wider, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            width = wider
        self.proj = nn.Sequential(*layers, nn.Conv2d(width, embed_dim, 1))
        self.norm = norm_layer(embed_dim) if norm_layer is not None else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (n, 3, h, w) into patches (n, h / 4, w / 4, embed_dim)."""
        if tuple(images.shape[-2:]) != self.img_size:
            raise ValueError(f"ConvStem reads {self.img_size} px, not {tuple(images.shape[-2:])}")
        vectors: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return vectors
