"""Tiles a second of the stream beside a plain loop of OpenSlide's; decodings and peak memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/tile_stream.py --data ../shared/data

Makes the mosaics of mosaic.py (once, four and 16 times the area, and one without lower levels;
0.9 GB) in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


def loop(path: Path, places: NDArray[np.int64], factor: int) -> None:
    """read_region for each, resized where a lower resolution is asked."""
    side = TILE_PX * factor
    with openslide.OpenSlide(path) as slide:
        for x, y in places.tolist():
            tile = slide.read_region((x, y), 0, (side, side)).convert("RGB")
            if factor > 1:
                tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)
            np.asarray(tile)


def stream(path: Path, places: NDArray[np.int64], factor: int, workers: int) -> None:
    """read_tiles for all."""
    side = TILE_PX * factor
    with open_slide(path) as slide:
        batches = read_tiles(
            slide, places + side / 2, width_um=side * MPP, size_px=TILE_PX, workers=workers
        )
        assert sum(len(rows) for rows, _ in batches) == len(places)


def timed(read: Callable[[], None], tiles: int) -> tuple[float, float]:
    """Tiles a second of wall time, and of CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    read()
    return tiles / (time.perf_counter() - wall), tiles / (time.process_time() - cpu)


def speed(paths: dict[str, Path], rounds: int, rows: int) -> None:
    """Print all in turn, and the medians of their ratios to the loop."""
    for factor, pyramid in ((1, "1"), (2, "1"), (4, "flat")):
        path = paths[pyramid]
        places = corners(mosaic.WIDTH, mosaic.HEIGHT, TILE_PX * factor, rows)
        ratios = []
        for _ in range(rounds):
            what = path, places, factor
            plain = timed(partial(loop, *what), len(places))
            one = timed(partial(stream, *what, workers=1), len(places))
            two = timed(partial(stream, *what, workers=2), len(places))
            print(
                f"  1/{factor}: loop {plain[0]:.0f}/s ({plain[1]:.0f} a CPU second), stream "
                f"{one[0]:.0f}/s ({one[1]:.0f}) with one thread, {two[0]:.0f}/s ({two[1]:.0f}) "
                "with two",
                flush=True,
            )
            ratios.append([one[0] / plain[0], two[0] / plain[0], one[1] / plain[1]])
        ours = [statistics.median(column) for column in zip(*ratios, strict=True)]
        print(
            f"1/{factor} of the resolution, {len(places):,} tiles: {ours[0]:.1f} times the loop "
            f"with one thread, {ours[1]:.1f} with two; {ours[2]:.1f} a CPU second",
            flush=True,
        )


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
    parser.add_argument("--rows", type=int, default=16, help="of tiles read in a round")
    parser.add_argument("--tiles", type=int, default=25_000, help="read for the peak of memory")
    parser.add_argument("--keep", type=Path, help="folder with mosaics to use again")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory, options.tiles)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        paths = {name: folder / f"mosaic-{name}.svs" for name in ("1", "2", "4", "flat")}
        missing = [name for name, path in paths.items() if not path.is_file()]
        if missing:
            tiles = mosaic.levels(options.data)
            for name in missing:
                if name == "flat":
                    mosaic.write(paths[name], tiles[:1])
                else:
                    mosaic.write(paths[name], tiles, repeat=int(name))
            del tiles
        speed(paths, options.rounds, options.rows)
        command = [sys.executable, __file__, "--tiles", str(options.tiles), "--memory"]
        for name in ("1", "2", "4"):
            subprocess.run([*command, paths[name]], check=True)


if __name__ == "__main__":
    main()
