"""What a training tile may look like: turned, moved, zoomed, and stained a little differently."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hypergene.training.recipe import Augmentation

MARGIN = math.sqrt(2)
"""Training tiles are read this much wider, so that a turned crop has no empty corners."""

# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok and Johnston 2001).
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


def random_views(
    tiles: Tensor, size_px: int, settings: Augmentation, generator: torch.Generator
) -> Tensor:
    """Draw one random view of every spot; all crops of a spot are turned and stained alike.

    Parameters
    ----------
    tiles
        (n, crops, 3, wide, wide) uint8, `MARGIN` times wider than the crop.
    size_px
        Width of the views, px.
    settings
        How far a view may differ.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    Tensor
        (n, crops, 3, size_px, size_px) float32 in 0..255.
    """
    n, crops = tiles.shape[:2]
    affine = _affine(n, settings, generator).repeat_interleave(crops, 0).to(tiles.device)
    grid = functional.affine_grid(affine, [n * crops, 3, size_px, size_px], align_corners=False)
    views = functional.grid_sample(
        tiles.flatten(0, 1).float(), grid, padding_mode="reflection", align_corners=False
    ).unflatten(0, (n, crops))
    return jitter_stain(views, settings.stain, generator) if settings.stain else views


def jitter_stain(views: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change the stains of (n, crops, 3, h, w) images in 0..255 at random, alike for all crops."""
    return restain(views, *draw_stain(len(views), strength, generator))


def draw_stain(n: int, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw how the stains of n spots change, (n, 3) float32 each.

    Each stain's optical density is to be multiplied by 1 ± 2 `strength` and shifted by
    ± `strength` / 2 (after Tellez et al. 2018, HED jitter).
    """
    factor = 1 + 2 * strength * _uniform((n, 3), generator)
    return factor, 0.5 * strength * _uniform((n, 3), generator)


def restain(views: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift the stains of (n, crops, 3, h, w) images in 0..255 by (n, 3) each."""
    factor, shift = factor.to(views.device), shift.to(views.device)
    stains = torch.tensor(_STAINS, device=views.device)
    density = -((views.clamp(0, 255) + 1) / 256).log()
    # Unmix, change and mix again is one 3 x 3 matrix and one offset a spot.
    unmix = torch.linalg.inv(stains)
    mix = torch.einsum("ck,nk,kd->ncd", unmix, factor, stains)
    changed = torch.einsum("nvchw,ncd->nvdhw", density, mix)
    changed = changed + (shift @ stains)[:, None, :, None, None]
    return (256 * (-changed).exp() - 1).clamp(0, 255)


def _affine(n: int, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Affine maps (n, 2, 3) from view to tile, in normalised coordinates."""
    zoom = (1 + settings.scale * _uniform((n,), generator)) / MARGIN
    shift = settings.shift / MARGIN * _uniform((n, 2), generator)
    angle = math.pi * _uniform((n,), generator) * settings.rotate
    mirror = torch.where(_uniform((n,), generator) < 0, -1.0, 1.0)
    mirror = mirror if settings.rotate else torch.ones(n)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [
        torch.stack([cos * mirror, -sin, shift[:, 0]], 1),
        torch.stack([sin * mirror, cos, shift[:, 1]], 1),
    ]
    return torch.stack(rows, 1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1
