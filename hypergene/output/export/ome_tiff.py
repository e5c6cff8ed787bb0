"""Genes as channels of a pyramidal OME-TIFF that lies over the slide."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from hypergene.errors import UsageError
from hypergene.output.atomic import atomic_path
from hypergene.output.export.chosen import Chosen
from hypergene.spots import Spots

TILE_PX = 512
PX_ACROSS_A_SPOT = 8
"""Pixels along a spot's diameter, unless their size is given."""

_SMALLEST_LEVEL_PX = 512
_GENES_AT_ONCE = 64
_PIXELS_AT_ONCE = 2**20
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML may hold."""

NOWHERE = -1
"""Where no spot lies."""


def write_ome_tiff(
    chosen: Chosen, path: Path, *, pixel_um: float | None = None, overwrite: bool = False
) -> None:
    """Write one float32 channel a gene, pixel (0, 0) at the slide's top left corner.

    A pixel is a whole number k of level-0 px wide and high, so that the picture lies on the slide
    when it is enlarged k times. It has the value of the spot its centre lies in, in the units of
    the prediction, and 0 where there is no spot; smaller levels leave out pixels and average none.
    The spread, if wanted, follows as further channels, ``<gene> std``.

    Parameters
    ----------
    chosen
        The prediction, its genes, and whether the spread is wanted.
    path
        The file, ``.ome.tif``: BigTIFF, deflate, tiles of ``TILE_PX``.
    pixel_um
        Side of a pixel, µm, made a whole number of level-0 px; None = an eighth of a spot's
        diameter.
    overwrite
        Whether an earlier file may be replaced.

    Raises
    ------
    UsageError
        If the side of a pixel is no positive number.
    OutputError
        If the file exists and may not be replaced, or cannot be written.
    DataError
        If the prediction is damaged.

    References
    ----------
    OME-TIFF specification 6.0 and OME model 2016-06: sub-resolutions in SubIFDs, PhysicalSizeX.
    """
    spots = chosen.spots
    k = _px_of_slide(spots, pixel_um)
    width, height = (math.ceil(side / k) for side in chosen.size_px)
    mpp = tuple(float(axis * k) for axis in chosen.mpp)
    levels = _levels(max(width, height))
    with (
        atomic_path(path, overwrite=overwrite) as draft,
        tempfile.TemporaryFile(dir=draft.parent) as scratch,
    ):
        plane = np.memmap(scratch, dtype=np.int32, mode="w+", shape=(height, width))
        paint_spots(spots, k, plane)
        channels = [*chosen.genes]
        channels += [f"{gene} {layer}" for layer in chosen.layers for gene in chosen.genes]
        with tifffile.TiffWriter(draft, bigtiff=True, ome=True) as file:
            for level in range(levels):
                step = 2**level
                shown = plane[step // 2 :: step, step // 2 :: step]
                file.write(
                    _tiles(shown, chosen),
                    shape=(len(channels), *shown.shape),
                    dtype=np.float32,
                    tile=(TILE_PX, TILE_PX),
                    compression="zlib",
                    photometric="minisblack",
                    subifds=levels - 1 if level == 0 else 0,
                    subfiletype=0 if level == 0 else 1,
                    resolution=tuple(1e4 / (axis * step) for axis in mpp),
                    resolutionunit="CENTIMETER",
                    metadata=_metadata(chosen, channels, mpp, k) if level == 0 else None,
                )
        del plane


def paint_spots(spots: Spots, k: int, plane: NDArray[np.int32]) -> None:
    """Fill a plane with the row of the spot that each pixel's centre lies in.

    Parameters
    ----------
    spots
        The spots; where two overlap, the later one is on top. One that holds no pixel's centre is
        given the pixel in which its own centre lies.
    k
        Level-0 px along a pixel of the plane.
    plane
        int32 (height, width), filled with rows and :data:`NOWHERE`.
    """
    plane[:] = NOWHERE
    layout, um = spots.layout, k * np.asarray(spots.mpp)
    half_um, turn = layout.diameter_um / 2, math.radians(layout.orientation_deg)
    reach_x, reach_y = (math.ceil(layout.reach_um / side) + 1 for side in um)
    # All pixels that a spot could touch, around the one in which its centre lies.
    around = np.mgrid[-reach_x : reach_x + 1, -reach_y : reach_y + 1].reshape(2, -1).T
    step = max(1, _PIXELS_AT_ONCE // len(around))
    for start in range(0, len(spots), step):
        centre = spots.xy_px[start : start + step] / k
        rows = np.arange(start, start + len(centre), dtype=np.int32)
        home = np.floor(centre).astype(np.int64)
        pixel = home[:, None, :] + around
        x_um, y_um = np.moveaxis((pixel + 0.5 - centre[:, None, :]) * um, -1, 0)
        if layout.shape == "circle":
            inside = x_um**2 + y_um**2 <= half_um**2
        else:
            along = x_um * math.cos(turn) + y_um * math.sin(turn)
            across = y_um * math.cos(turn) - x_um * math.sin(turn)
            # Half open, so that of squares that touch each has its own pixels.
            inside = (-half_um <= along) & (along < half_um)
            inside &= (-half_um <= across) & (across < half_um)
        _mark(plane, home, rows)
        _mark(plane, pixel[inside], np.broadcast_to(rows[:, None], inside.shape)[inside])


def _mark(plane: NDArray[np.int32], pixel: NDArray[np.int64], rows: NDArray[np.int32]) -> None:
    height, width = plane.shape
    x, y = pixel.T
    on = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    plane[y[on], x[on]] = rows[on]


def _px_of_slide(spots: Spots, pixel_um: float | None) -> int:
    if pixel_um is None:
        pixel_um = spots.layout.diameter_um / PX_ACROSS_A_SPOT
    if not (math.isfinite(pixel_um) and pixel_um > 0):
        raise UsageError(
            f"A pixel cannot be {pixel_um:g} µm wide.", hint="Give --pixel-um a number above 0."
        )
    return max(1, round(pixel_um / (sum(spots.mpp) / 2)))


def _levels(longer_px: int) -> int:
    return 1 + max(0, math.ceil(math.log2(longer_px / _SMALLEST_LEVEL_PX)))


def _channels(chosen: Chosen) -> Iterator[NDArray[np.float32]]:
    """Yield (spots + 1,) a channel, some genes read at a time; the last value is of no spot."""
    for layer in (None, *chosen.layers):
        for start in range(0, len(chosen.genes), _GENES_AT_ONCE):
            some = chosen.genes[start : start + _GENES_AT_ONCE]
            read = chosen.prediction.read(some, layers=() if layer is None else (layer,))
            matrix: Any = read.X if layer is None else read.layers[layer]
            for column in range(len(some)):
                yield np.append(matrix[:, column], np.float32(0))


def _tiles(plane: NDArray[np.int32], chosen: Chosen) -> Iterator[NDArray[np.float32]]:
    height, width = plane.shape
    for values in _channels(chosen):
        for top in range(0, height, TILE_PX):
            for left in range(0, width, TILE_PX):
                # NOWHERE is -1 and so takes the last value, which is 0.
                yield values[plane[top : top + TILE_PX, left : left + TILE_PX]]


def _metadata(
    chosen: Chosen, channels: list[str], mpp: tuple[float, ...], k: int
) -> dict[str, Any]:
    return {
        "axes": "CYX",
        "Name": _for_xml(f"Predicted expression, {chosen.slide}"),
        "Description": _for_xml(
            f"{chosen.statement} 0 where there is no spot. One px is {k} px of the slide's level 0."
        ),
        "PhysicalSizeX": mpp[0],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp[1],
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": [_for_xml(f"{name} (predicted)") for name in channels]},
    }


def _for_xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
