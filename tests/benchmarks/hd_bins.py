"""What laying, judging, drawing and writing millions of Visium HD bins costs.

    python tests/benchmarks/hd_bins.py [millions ...]

For each number (default 1 and 10): a painted slide of 2 µm/px as large as so many bins of 2 µm,
``hypergene.tile(layout="visium-hd-2", tissue="none")`` in a process of its own, its wall time and
peak resident memory; what `import hypergene.pipeline.tile` alone needs stands above.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from memory import peak_gb

MPP = 2.0


def write_slide(path: Path, side_px: int) -> Path:
    """Write noise in the colours of H&E."""
    draw = np.random.default_rng(0)
    pixels = np.array([220, 160, 200]) + draw.integers(-30, 30, (side_px, side_px, 1))
    tifffile.imwrite(
        path, pixels.astype(np.uint8), photometric="rgb", tile=(256, 256), compression="deflate"
    )
    return path


def measure(slide: str) -> None:
    """Tile one slide (or none) in this process, and print what it cost as JSON."""
    import hypergene.pipeline.tile

    if not slide:
        print(json.dumps({"gb": peak_gb()}))
        return
    start = time.perf_counter()
    outcome = hypergene.pipeline.tile.tile(slide, layout="visium-hd-2", tissue="none", mpp=MPP)
    seconds = time.perf_counter() - start
    print(json.dumps({"bins": outcome.spots, "seconds": seconds, "gb": peak_gb()}))


def child(slide: str) -> dict[str, float]:
    """Run :func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--child", slide]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(millions: list[float]) -> None:
    """Print one line a number of bins."""
    print(f"imports alone: {child('')['gb']:.2f} GB")
    for number in millions:
        with tempfile.TemporaryDirectory() as folder:
            slide = write_slide(Path(folder) / "slide.tif", round(math.sqrt(number * 1e6)))
            cost = child(str(slide))
            size = sum(f.stat().st_size for f in Path(folder).glob("*.zarr/**/*") if f.is_file())
        print(
            f"{cost['bins']:>12,} bins: {cost['seconds']:6.1f} s, "
            f"{cost['seconds'] / cost['bins'] * 1e6:5.2f} s a million, peak {cost['gb']:.2f} GB, "
            f"{size / 1e6:.0f} MB on disk"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        measure(sys.argv[2])
    else:
        main([float(word) for word in sys.argv[1:]] or [1, 10])
