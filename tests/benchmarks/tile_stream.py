"""Tiles a second of the stream beside a plain loop of OpenSlide's; decodings and peak memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/tile_stream.py --data ../shared/data

Makes the mosaic (mosaic.py; 0.8 GB with the one of 16 times the area) in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mosaic
import numpy as np
import openslide
from memory import peak_gb
from numpy.typing import NDArray
from PIL import Image

from hypergene.slide import open_slide, read_tiles
from hypergene.slide.tiff_plane import Plane

TILE_PX, MPP = 224, 0.5


def corners(width: int, height: int, step: int, rows: int) -> NDArray[np.int64]:
    """Top-left corners of touching squares, row by row, the first `rows` rows."""
    y, x = np.mgrid[0 : min(height, rows * step + 1) - step : step, 0 : width - step : step]
    return np.column_stack([x.ravel(), y.ravel()])


def loop(path: Path, places: NDArray[np.int64], factor: int) -> float:
    """Tiles a second of read_region, resized where half resolution is asked."""
    with openslide.OpenSlide(path) as slide:
        start = time.perf_counter()
        for x, y in places.tolist():
            side = TILE_PX * factor
            tile = slide.read_region((x, y), 0, (side, side)).convert("RGB")
            if factor > 1:
                tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)
            np.asarray(tile)
        return len(places) / (time.perf_counter() - start)


def stream(path: Path, places: NDArray[np.int64], factor: int, workers: int) -> float:
    """Tiles a second of read_tiles."""
    side = TILE_PX * factor
    with open_slide(path) as slide:
        start = time.perf_counter()
        batches = read_tiles(
            slide, places + side / 2, width_um=side * MPP, size_px=TILE_PX, workers=workers
        )
        read = sum(len(rows) for rows, _ in batches)
        assert read == len(places)
        return read / (time.perf_counter() - start)


def speed(path: Path, rounds: int, rows: int) -> None:
    """Print both in turn, and the median of their ratios."""
    for factor, what in ((1, "native resolution"), (2, "half resolution, no such level")):
        places = corners(mosaic.WIDTH, mosaic.HEIGHT, TILE_PX * factor, rows // factor)
        ratios = []
        for _ in range(rounds):
            plain = loop(path, places, factor)
            ours = {workers: stream(path, places, factor, workers) for workers in (1, 2)}
            ratios.append([ours[1] / plain, ours[2] / plain])
            print(
                f"  {what}: loop {plain:.0f}/s, stream {ours[1]:.0f}/s with one thread, "
                f"{ours[2]:.0f}/s with two",
                flush=True,
            )
        one, two = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"{what}: {one:.1f} and {two:.1f} times the loop ({len(places):,} tiles)")


def memory(path: Path, tiles: int) -> None:
    """Stream this many tiles; print how often a file's tile was decoded, and the peak."""
    decoded: list[int] = []
    original = Plane.decode

    def counted(self: Plane, data: bytes, index: int, *rest: int) -> NDArray[np.uint8]:
        decoded.append(index)
        return original(self, data, index, *rest)

    Plane.decode = counted  # type: ignore[method-assign]
    with open_slide(path) as slide:
        width, height = slide.dimensions
        places = corners(width, height, TILE_PX, height)[:tiles]
    stream(path, places, 1, 2)
    times = len(decoded) / len(set(decoded))
    print(
        f"{width:,} x {height:,} px: {len(places):,} tiles, {len(set(decoded)):,} of the file's "
        f"decoded {times:.3f} times each, {peak_gb() * 1000:.0f} MB at the peak",
        flush=True,
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=30, help="of tiles read in a round")
    parser.add_argument("--tiles", type=int, default=25_000, help="read for the peak of memory")
    parser.add_argument("--keep", type=Path, help="folder with mosaics to use again")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory, options.tiles)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        paths = {repeat: folder / f"mosaic-{repeat}.svs" for repeat in (1, 2, 4)}
        missing = [repeat for repeat, path in paths.items() if not path.is_file()]
        if missing:
            tiles = mosaic.levels(options.data)
            for repeat in missing:
                mosaic.write(paths[repeat], tiles, repeat=repeat)
            del tiles
        speed(paths[1], options.rounds, options.rows)
        for path in paths.values():
            subprocess.run(
                [sys.executable, __file__, "--memory", path, "--tiles", str(options.tiles)],
                check=True,
            )


if __name__ == "__main__":
    main()
