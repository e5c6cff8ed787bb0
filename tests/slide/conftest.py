"""Pictures that look enough like H&E for a test, and the files scanners would make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

#: µm per px of the painted slide.
PAINTED_MPP = 2.0


@pytest.fixture(scope="session")
def tissue_disc() -> NDArray[np.bool_]:
    """Where the painted slide has tissue: 1.2 mm across, on 2.4 x 2 mm of glass."""
    y, x = np.mgrid[:1000, :1200]
    return np.hypot(x - 500, y - 520) < 300


@pytest.fixture(scope="session")
def painted(tissue_disc: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """uint8 (1000, 1200, 3): pink stroma with blue nuclei on off-white glass."""
    rng = np.random.default_rng(3)
    shape = tissue_disc.shape
    fibres = ndimage.gaussian_filter(rng.normal(size=shape), 3)[..., None]
    nuclei = ndimage.gaussian_filter((rng.random(shape) < 0.01).astype(float), 1.5)[..., None]
    stroma = np.array([215.0, 150.0, 190.0]) + 200 * fibres
    cells = stroma - np.minimum(nuclei * 12, 1) * np.array([130.0, 90.0, 60.0])
    glass = np.array([243.0, 242.0, 244.0])
    picture = np.where(tissue_disc[..., None], cells, glass) + rng.normal(0, 1, (*shape, 3))
    return np.clip(picture, 0, 255).round().astype(np.uint8)


@pytest.fixture
def save_png(tmp_path: Path) -> Callable[..., Path]:
    def save(pixels: NDArray[np.uint8], name: str = "slide.png") -> Path:
        Image.fromarray(pixels).save(tmp_path / name, compress_level=1)
        return tmp_path / name

    return save


@pytest.fixture
def save_pyramid(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiled TIFF with levels of half the size each, as pages."""

    def save(
        pixels: NDArray[np.uint8],
        name: str = "slide.tif",
        *,
        levels: int = 3,
        mpp: tuple[float, float] | None = (PAINTED_MPP, PAINTED_MPP),
        **options: Any,
    ) -> Path:
        options = {
            "photometric": "rgb",
            "compression": "deflate",
            "tile": (128, 128),
            "metadata": None,
        } | options
        if mpp is not None:
            options |= {
                "resolution": (10_000 / mpp[0], 10_000 / mpp[1]),
                "resolutionunit": "CENTIMETER",
            }
        picture = Image.fromarray(pixels)
        with tifffile.TiffWriter(tmp_path / name) as tif:
            for level in range(levels):
                tif.write(np.asarray(picture), subfiletype=int(level > 0), **options)
                picture = picture.reduce(2)
        return tmp_path / name

    return save
