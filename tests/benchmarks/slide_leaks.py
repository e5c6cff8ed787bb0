"""Open files and memory after 100 and after 1,000 slides, opened, read and closed.

python tests/benchmarks/slide_leaks.py
"""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from hypergene.slide import open_slide, read_tiles

SIDE, SLIDES = 512, 1_000


def write(folder: Path) -> list[Path]:
    """A small SVS and a small TIFF of no vendor, both in JPEG tiles."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    about = f"Aperio Image Library v11\n{SIDE}x{SIDE} (128x128)|MPP = 0.5"
    for name, text in {"a.svs": about, "a.tif": "no vendor"}.items():
        tifffile.imwrite(
            folder / name,
            pixels,
            photometric="rgb",
            tile=(128, 128),
            compression="jpeg",
            description=text,
            metadata=None,
        )
    return [folder / "a.svs", folder / "a.tif"]


def main() -> None:
    """Read and report."""
    centres = np.random.default_rng(0).uniform(0, SIDE, (20, 2))
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder))
        for done in range(1, SLIDES + 1):
            with open_slide(paths[done % 2], mpp=0.5) as slide:
                for _ in read_tiles(slide, centres, width_um=60, size_px=64, batch_size=8):
                    pass
            if done in (100, SLIDES):
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                memory_mb = pages * os.sysconf("SC_PAGESIZE") / 1e6
                files = len(os.listdir("/proc/self/fd"))
                print(f"{done:,} slides: {files} open files, {memory_mb:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
