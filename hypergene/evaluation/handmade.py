"""Hand-made colour and texture of tiles: what a model with learned features must beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Optical densities of haematoxylin, eosin and a residual (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_PERCENTILES = (10, 50, 90)
_SCALES_PX = (1, 2, 4, 8)
_TILES_AT_ONCE = 64


def handmade_features(tiles: npt.NDArray[np.uint8]) -> Floats:
    """Describe tiles by their colour and texture.

    Of each of three colours and three stains (colour deconvolution): mean, standard deviation,
    10th, 50th and 90th percentile; correlations of the stains; of haematoxylin and eosin the mean
    and standard deviation of the gradient's length after averaging over 1, 2, 4 and 8 px (how
    coarse the grain is), and the share of pixels above twice the tile's mean haematoxylin (nuclei).

    Parameters
    ----------
    tiles
        uint8 (n, px, px, 3), RGB, at least 16 px wide.

    Returns
    -------
    ndarray
        float64 (n, 50), finite.

    Raises
    ------
    ValueError
        If the tiles are of another shape or type, or too small.
    """
    if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
        raise ValueError(f"tiles must be uint8 (n, px, px, 3), not {tiles.dtype} {tiles.shape}")
    if min(tiles.shape[1:3]) < 2 * _SCALES_PX[-1]:
        raise ValueError(f"tiles must be at least {2 * _SCALES_PX[-1]} px wide, not {tiles.shape}")
    parts = [
        _features(tiles[start : start + _TILES_AT_ONCE])
        for start in range(0, len(tiles), _TILES_AT_ONCE)
    ]
    return np.concatenate(parts)


def _features(tiles: npt.NDArray[np.uint8]) -> Floats:
    density = -np.log10((tiles.astype(np.float32) + 1) / 256)
    unmix = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True))
    stains = density @ unmix.astype(np.float32)
    flat = np.concatenate([tiles.astype(np.float32) / 255, stains], axis=3)
    flat = flat.reshape(len(tiles), -1, 6)
    columns = [flat.mean(axis=1), flat.std(axis=1)]
    columns += list(np.percentile(flat, _PERCENTILES, axis=1))
    columns.append(_correlations(flat[:, :, 3:]))
    haematoxylin = stains[..., 0]
    for channel in (haematoxylin, stains[..., 1]):
        for px in _SCALES_PX:
            columns.append(_grain(channel, px))
    dark = haematoxylin > 2 * np.maximum(haematoxylin.mean(axis=(1, 2), keepdims=True), 1e-3)
    columns.append(dark.mean(axis=(1, 2))[:, None])
    return np.concatenate(columns, axis=1, dtype=np.float64)


def _correlations(stains: npt.NDArray[np.float32]) -> Floats:
    """Correlate the three stains over the pixels (n, pixels, 3): (n, 3); 0 where one is flat."""
    centred = stains - stains.mean(axis=1, keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=1))
    pairs = ((0, 1), (0, 2), (1, 2))
    dots = np.stack([(centred[..., i] * centred[..., j]).sum(axis=1) for i, j in pairs], axis=1)
    norms = np.stack([norm[:, i] * norm[:, j] for i, j in pairs], axis=1)
    return np.divide(dots, norms, out=np.zeros(dots.shape), where=norms > 1e-6)


def _grain(channel: npt.NDArray[np.float32], px: int) -> Floats:
    """Return mean and spread of the gradient's length, (n, 2), after averaging over px × px."""
    n, height, width = channel.shape
    height, width = height // px * px, width // px * px
    coarse = channel[:, :height, :width].reshape(n, height // px, px, width // px, px)
    coarse = coarse.mean(axis=(2, 4))
    length = np.hypot(np.diff(coarse, axis=1)[:, :, :-1], np.diff(coarse, axis=2)[:, :-1])
    return np.stack([length.mean(axis=(1, 2)), length.std(axis=(1, 2))], axis=1, dtype=np.float64)
