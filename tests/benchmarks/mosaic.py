"""A large SVS made of the real sections, for the benchmarks beside this file; never committed.

    python tests/benchmarks/mosaic.py /tmp/mosaic.svs --data ../shared/data

27,780 x 19,800 px at 0.5 µm/px in tiles of 256 px (JPEG, quality 80, 4:2:0), levels 1, 4 and 16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

WIDTH, HEIGHT, TILE = 27_780, 19_800, 256
DOWNSAMPLES = (1, 4, 16)
_ACROSS, _DOWN = 3, 2


def picture(data: Path) -> NDArray[np.uint8]:
    """The sections side by side, uint8 (HEIGHT, WIDTH, 3); places without one are filled again."""
    sections = sorted((data / "her2st" / "ST-imgs").glob("*/*/*.jpg"))
    whole = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    height, width = HEIGHT // _DOWN, WIDTH // _ACROSS
    for index, (row, column) in enumerate(product(range(_DOWN), range(_ACROSS))):
        section = np.asarray(JpegImagePlugin.JpegImageFile(sections[index % len(sections)]))
        rows = np.arange(row * height, (row + 1) * height)
        columns = np.arange(column * width, (column + 1) * width)
        # What a section lacks of its place is its own beginning again.
        found = np.take(section, range(height), axis=0, mode="wrap")
        whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = np.take(
            found, range(width), axis=1, mode="wrap"
        )
    return whole


def encoded(pixels: NDArray[np.uint8]) -> list[list[bytes]]:
    """Tiles as JPEG, by row and column."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)), "edge")
    return [
        [
            simplejpeg.encode_jpeg(
                np.ascontiguousarray(padded[y : y + TILE, x : x + TILE]),
                quality=80,
                colorsubsampling="420",
            )
            for x in range(0, padded.shape[1], TILE)
        ]
        for y in range(0, padded.shape[0], TILE)
    ]


def write(path: Path, tiles: list[list[list[bytes]]], *, repeat: int = 1) -> Path:
    """Write an SVS of these levels; its sides are `repeat` times the mosaic's, tiles repeated."""

    def repeated(level: list[list[bytes]], width: int, height: int) -> Iterator[bytes]:
        for row, column in product(range(-(-height // TILE)), range(-(-width // TILE))):
            yield level[row % len(level)][column % len(level[0])]

    about = f"Aperio Image Library v11\n{WIDTH * repeat}x{HEIGHT * repeat} (256x256)|MPP = 0.5"
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for index, (downsample, level) in enumerate(zip(DOWNSAMPLES, tiles, strict=False)):
            width, height = WIDTH * repeat // downsample, HEIGHT * repeat // downsample
            tif.write(
                repeated(level, width, height),
                shape=(height, width, 3),
                dtype=np.uint8,
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                tile=(TILE, TILE),
                subfiletype=int(index > 0),
                description=about,
                metadata=None,
            )
    return path


def levels(data: Path) -> list[list[list[bytes]]]:
    """The encoded tiles of all levels."""
    whole = picture(data)
    smaller = [np.asarray(Image.fromarray(whole).reduce(d)) for d in DOWNSAMPLES[1:]]
    return [encoded(pixels) for pixels in (whole, *smaller)]


def main() -> None:
    """Parse the command line and write the mosaic."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeat", type=int, nargs="*", default=[1])
    options = parser.parse_args()
    tiles = levels(options.data)
    for repeat in options.repeat:
        name = options.path.with_stem(f"{options.path.stem}-{repeat}")
        print(write(name, tiles, repeat=repeat))


if __name__ == "__main__":
    main()
