"""Blur and scale show in the fine structure of tissue; brightness does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from hypergene.slide.spectrum import BANDS, spectrum_of

Tiles = NDArray[np.uint8]


def tissue(n: int = 12, size: int = 224) -> Tiles:
    """Tiles of clouds at all scales."""
    noise = np.random.default_rng(0).normal(size=(n, size, size))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    frequency[0, 0] = 1
    clouds = np.fft.ifft2(np.fft.fft2(noise) / frequency**1.5).real
    clouds /= clouds.std()
    grey = (150 - 30 * clouds).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def measured(tiles: Tiles) -> NDArray[np.float64]:
    found = spectrum_of(tiles)
    assert found is not None and found.shape == (BANDS,)
    return found


def test_blur_takes_fine_structure_and_the_finest_most() -> None:
    tiles = tissue()[:, :112, :112]
    blurred = ndimage.gaussian_filter(tiles, (0, 1.5, 1.5, 0))
    loss = measured(blurred) - measured(tiles)
    assert (loss < -0.2).all() and loss[-1] < loss[0] - 1


def test_contrast_changes_nothing() -> None:
    tiles = tissue()[:, :112, :112]
    density = -np.log((tiles.astype(float) + 1) / 256)
    paler = (256 * np.exp(-0.5 * density) - 1).round().astype(np.uint8)
    np.testing.assert_allclose(measured(paler)[:3], measured(tiles)[:3], atol=0.1)


def test_tissue_that_is_enlarged_has_less() -> None:
    tiles = tissue()
    enlarged = ndimage.zoom(tiles[:, :56, :56], (1, 2, 2, 1), order=1)
    assert measured(enlarged).mean() < measured(tiles[:, :112, :112]).mean() - 0.5


@pytest.mark.parametrize("blank", [0, 255])
def test_blank_tiles_have_no_structure(blank: int) -> None:
    assert spectrum_of(np.full((20, 112, 112, 3), blank, np.uint8)) is None
    mixed = np.concatenate([tissue()[:, :112, :112], np.full((6, 112, 112, 3), blank, np.uint8)])
    np.testing.assert_array_equal(measured(mixed), measured(tissue()[:, :112, :112]))
