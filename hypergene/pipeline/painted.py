"""A small H&E-like slide painted from nothing, for machines that cannot fetch a real one.

The picture is made as a section is: two dyes are laid down in optical density, haematoxylin in
nuclei and eosin in cytoplasm, collagen and muscle, and white light goes through both (Beer and
Lambert). What is painted is a tissue outline on glass, fibrous stroma, glands with a lumen, a
tumour with crowded nuclei and a sprinkling of lymphocytes. It looks like tissue and holds no
biology: predictions on it mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.special import expit

# Optical density per unit of dye in R, G, B: the reference stains of Macenko et al., ISBI 2009.
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062], dtype=np.float32)
_EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)
_LIGHT = np.array([246.0, 245.0, 247.0], dtype=np.float32)

_TILE_PX = 256
_SMALLEST_LEVEL_PX = 400

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of one kind: how crowded, how large, how dark."""

    per_mm2: float
    radius_um: float
    elongation: float
    dye: float


_STROMA = Nuclei(per_mm2=1300, radius_um=3.0, elongation=2.6, dye=0.75)
_TUMOUR = Nuclei(per_mm2=6500, radius_um=4.6, elongation=1.25, dye=0.85)
_LYMPHOCYTES = Nuclei(per_mm2=9000, radius_um=2.9, elongation=1.05, dye=1.25)
_EPITHELIUM = Nuclei(per_mm2=9000, radius_um=3.8, elongation=1.5, dye=0.9)


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted section, and what was painted where.

    Attributes
    ----------
    image
        uint8 (size, size, 3), RGB.
    tissue, tumour, infiltrate, glands
        float32 (size, size), 0..1: the section on its glass; in it crowded nuclei, lymphocytes,
        and rings of epithelium with their lumen.
    """

    image: NDArray[np.uint8]
    tissue: Field
    tumour: Field
    infiltrate: Field
    glands: Field


def paint_slide(path: Path, *, size_px: int = 2560, mpp: float = 0.75, seed: int = 0) -> Path:
    """Paint a slide and write it as a pyramidal tiled TIFF with its resolution.

    Parameters
    ----------
    path
        The file to write.
    size_px
        Side of level 0, in px. Each further level halves it.
    mpp
        Microns per pixel of level 0, on both axes.
    seed
        The same seed paints the same pixels.

    Returns
    -------
    pathlib.Path
        `path`.
    """
    return write_slide(path, paint_tissue(size_px, mpp=mpp, seed=seed).image, mpp=mpp)


def write_slide(path: Path, image: NDArray[np.uint8], *, mpp: float) -> Path:
    """Write an image, uint8 (height, width, 3), as a pyramidal tiled TIFF with its resolution.

    `mpp` is µm per px. Each further level has half the width and height. Returns `path`.
    """
    level = image
    with tifffile.TiffWriter(path) as file:
        scale = 1
        while True:
            file.write(
                level,
                photometric="rgb",
                tile=(_TILE_PX, _TILE_PX),
                compression="jpeg",
                compressionargs={"level": 90},
                subfiletype=0 if scale == 1 else 1,
                resolution=(1e4 / (mpp * scale), 1e4 / (mpp * scale)),
                resolutionunit="CENTIMETER",
                metadata=None,
                software="hypergene painted slide" if scale == 1 else None,
            )
            if min(level.shape[:2]) < 2 * _SMALLEST_LEVEL_PX:
                return path
            level = _halve(level)
            scale *= 2


def paint_tissue(
    size_px: int, *, mpp: float, seed: int = 0, dyes: tuple[float, float] = (1.0, 1.0)
) -> Painting:
    """Paint a square of H&E-like tissue on glass.

    Parameters
    ----------
    size_px
        Side of the square, in px.
    mpp
        Microns per pixel.
    seed
        The same seed paints the same pixels.
    dyes
        How strong haematoxylin and eosin are: laboratories differ in it.
    """
    rng = np.random.default_rng(seed)
    tissue = _outline(rng, size_px)
    tumour = tissue * _soft_threshold(_clouds(rng, size_px, cells=4), 0.35)
    infiltrate = tissue * _soft_threshold(_clouds(rng, size_px, cells=7), 1.25)
    fibres = _fibres(rng, size_px)

    haematoxylin = 0.03 * tissue + 0.11 * tumour + 0.05 * infiltrate
    eosin = tissue * (0.17 + 0.13 * fibres) * (1 - 0.75 * tumour)
    eosin += 0.13 * tumour * (1 + 0.2 * _clouds(rng, size_px, cells=60))
    glands = _glands(rng, haematoxylin, eosin, tissue * (1 - tumour), mpp)
    solid = (1 - glands) * tissue
    for kind, density in (
        (_STROMA, solid * (1 - tumour)),
        (_TUMOUR, solid * tumour),
        (_LYMPHOCYTES, solid * infiltrate),
    ):
        _scatter(rng, haematoxylin, density, kind, mpp)

    stain = 1 + 0.08 * _clouds(rng, size_px, cells=3)  # sections are never stained evenly
    density_rgb = (
        haematoxylin[..., None] * (_HAEMATOXYLIN * np.float32(dyes[0]))
        + eosin[..., None] * (_EOSIN * np.float32(dyes[1]))
    ) * stain[..., None]
    image = _LIGHT * np.power(10.0, -np.maximum(density_rgb, 0), dtype=np.float32)
    image += 1.6 * rng.standard_normal(image.shape, dtype=np.float32)
    return Painting(
        np.clip(np.rint(image), 0, 255).astype(np.uint8), tissue, tumour, infiltrate, glands
    )


def _clouds(rng: np.random.Generator, size_px: int, *, cells: int) -> Field:
    """Return smooth noise of mean 0 and spread 1 with about `cells` bumps along a side."""
    bumps = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    # Cubic up to 16 px a bump, then linear: the eye sees no difference and it takes a tenth.
    smooth = zoom(bumps, 16, order=3)
    field = zoom(smooth, size_px / (16 * (cells + 1)), order=1)[:size_px, :size_px]
    return (field - field.mean()) / field.std()


def _soft_threshold(field: Field, level: float, softness: float = 0.08) -> Field:
    """Return 0..1 across `level`, with an edge as soft as tissue borders are."""
    return expit((field - level) / softness).astype(np.float32)


def _outline(rng: np.random.Generator, size_px: int) -> Field:
    """Return the section's shape, 0 on glass and 1 on tissue: a disc with an uneven border."""
    axis = np.linspace(-1, 1, size_px, dtype=np.float32)
    distance = np.hypot(axis[:, None] * 1.12, axis[None, :])
    rough = 0.10 * _clouds(rng, size_px, cells=5) + 0.015 * _clouds(rng, size_px, cells=40)
    return _soft_threshold(0.86 + rough - distance, 0.0, softness=0.006)


def _fibres(rng: np.random.Generator, size_px: int) -> Field:
    """Return wavy collagen in about -1..1: streaked noise read along slowly turning lines."""
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32)
    streaks = sum(
        field / field.std()
        for field in (gaussian_filter(noise, (1.3, 14)), gaussian_filter(noise.T, (4, 40)))
    )
    rows, columns = np.mgrid[:size_px, :size_px].astype(np.float32)
    rows += size_px / 22 * _clouds(rng, size_px, cells=4) + 3 * _clouds(rng, size_px, cells=50)
    columns += size_px / 22 * _clouds(rng, size_px, cells=4)
    warped = map_coordinates(streaks, [rows, columns], order=1, mode="wrap")
    return np.clip(0.33 * warped, -0.75, 1.5).astype(np.float32)


def _glands(
    rng: np.random.Generator, haematoxylin: Field, eosin: Field, room: Field, mpp: float
) -> Field:
    """Paint glands where there is room, and return where they lie (1 inside, 0 elsewhere).

    A gland is a ring of epithelium around an empty lumen, its nuclei at the outer edge.
    """
    size = room.shape[0]
    thickness = 15 / mpp
    taken = np.zeros_like(room)
    tries = round(14 * (size * mpp / 1000) ** 2)
    for y, x in rng.uniform(0.08 * size, 0.92 * size, size=(tries, 2)):
        outer = rng.uniform(38, 75) / mpp
        phases = rng.uniform(0, 2 * np.pi, size=2)
        box = _box(x, y, 1.5 * outer, size)
        if room[box].min() < 0.8 or taken[box].any():
            continue
        rows, columns = np.mgrid[box].astype(np.float32)
        distance = np.hypot(rows - y, columns - x)
        distance /= _rim(np.arctan2(rows - y, columns - x), phases)
        body = _soft_threshold(outer - distance, 0, softness=1.0)
        ring = body - _soft_threshold(outer - thickness - distance, 0, softness=1.0)
        haematoxylin[box] = haematoxylin[box] * (1 - body) + 0.20 * ring
        eosin[box] = eosin[box] * (1 - body) + 0.26 * ring
        taken[box] = np.maximum(taken[box], body)
        spacing = 2.1 * _EPITHELIUM.radius_um / (mpp * outer)
        for angle in np.arange(0, 2 * np.pi, spacing):
            reach = (outer - 0.42 * thickness) * _rim(angle, phases) * rng.normal(1, 0.015)
            centre = x + reach * np.cos(angle), y + reach * np.sin(angle)
            _nucleus(rng, haematoxylin, *centre, _EPITHELIUM, mpp, direction=angle)
    return taken


def _rim(angle: Any, phases: NDArray[np.float64]) -> Any:
    """Return a gland's radius at an angle, relative to its mean: no gland is round."""
    return 1 + 0.10 * np.cos(2 * angle + phases[0]) + 0.06 * np.cos(5 * angle + phases[1])


def _scatter(
    rng: np.random.Generator, haematoxylin: Field, density: Field, kind: Nuclei, mpp: float
) -> None:
    """Paint nuclei of one kind, as many as `density` (0..1 per px) of their crowding allows."""
    size = density.shape[0]
    tries = round(kind.per_mm2 * (size * mpp / 1000) ** 2)
    xy = rng.uniform(0, size, size=(tries, 2))
    here = density[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    for x, y in xy[rng.uniform(size=tries) < here]:
        _nucleus(rng, haematoxylin, x, y, kind, mpp)


def _nucleus(
    rng: np.random.Generator,
    haematoxylin: Field,
    x: float,
    y: float,
    kind: Nuclei,
    mpp: float,
    *,
    direction: float | None = None,
) -> None:
    """Paint one nucleus: an ellipse with a darker rim and clumped chromatin."""
    radius = kind.radius_um * rng.lognormal(0, 0.16) / mpp
    long = radius * kind.elongation**0.5
    short = radius / kind.elongation**0.5
    theta = rng.uniform(0, np.pi) if direction is None else direction
    box = _box(x, y, long + 2, haematoxylin.shape[0])
    rows, columns = np.mgrid[box].astype(np.float32)
    if rows.size == 0:
        return
    along = (columns - x) * np.cos(theta) + (rows - y) * np.sin(theta)
    across = (rows - y) * np.cos(theta) - (columns - x) * np.sin(theta)
    distance = np.hypot(along / long, across / short)
    inside = np.clip((1 - distance) * short + 0.5, 0, 1)
    chromatin = 0.72 + 0.28 * distance**2 + 0.14 * rng.standard_normal(rows.shape, dtype=np.float32)
    dye = kind.dye * rng.lognormal(0, 0.18) * inside * chromatin
    haematoxylin[box] = np.maximum(haematoxylin[box], dye)


def _box(x: float, y: float, reach: float, size: int) -> tuple[slice, slice]:
    return (
        slice(max(0, int(y - reach)), min(size, int(y + reach) + 1)),
        slice(max(0, int(x - reach)), min(size, int(x + reach) + 1)),
    )


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image at half the size, each px the mean of 2 × 2 (odd edges are left out)."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
