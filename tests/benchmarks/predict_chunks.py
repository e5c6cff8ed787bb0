"""How fast one gene over a slide, one block of spots and everything are read, by chunk and codec.

Real predictions of a slide, its rows mixed at random until there are enough of them, so that they
compress as predictions do.

python tests/benchmarks/predict_chunks.py SLIDE --mpp 0.69 [--spots 20480] [--genes 2000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from hypergene.pipeline.predict import predict

BLOCK, REPEATS = 1024, 3
LAYOUTS: list[tuple[str, tuple[int, int], Any]] = [
    *(("zstd", (1024, columns), "auto") for columns in (1024, 256, 64)),
    ("zstd", (4096, 256), "auto"),
    ("none", (1024, 256), None),
    ("zstd, level 1", (1024, 256), ZstdCodec(level=1)),
    ("blosc zstd 1, shuffled", (1024, 256), BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")),
    ("blosc lz4, shuffled", (1024, 256), BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")),
]


def mixed(values: np.ndarray, spots: int) -> np.ndarray:
    """Rows that are means of two spots each, with random weights."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, len(values), (2, spots))
    share = rng.random((spots, 1), dtype=np.float32)
    return share * values[left] + (1 - share) * values[right]


def seconds(job: Callable[[], object]) -> float:
    """The least of a few runs."""
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        job()
        took.append(time.perf_counter() - start)
    return min(took)


def measure(values: np.ndarray, chunks: tuple[int, int], codec: Any, folder: Path) -> str:
    """Write in blocks as a prediction is written, and read back; return a row of the table."""
    array = zarr.create_array(
        store=str(folder), shape=values.shape, chunks=chunks, dtype=values.dtype,
        compressors=codec, zarr_format=3,
    )  # fmt: skip
    start = time.perf_counter()
    step = max(BLOCK, chunks[0])
    for row in range(0, len(values), step):
        array[row : row + step] = values[row : row + step]
    writing = time.perf_counter() - start
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / values.nbytes
    gene = seconds(lambda: array[:, values.shape[1] // 2])
    block = seconds(lambda: array[BLOCK : 2 * BLOCK])
    whole = seconds(lambda: array[:])
    return (
        f"{values.nbytes / 1e6 / writing:.0f} MB/s | {size:.2f} | {len(files):,} | "
        f"{gene * 1e3:.0f} ms | {block * 1e3:.0f} ms | {whole:.2f} s |"
    )


def main() -> None:
    """Parse, predict, measure every layout in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--spots", type=int, default=20 * BLOCK)
    parser.add_argument("--genes", type=int, default=2000)
    arguments = parser.parse_args()
    predicted = predict(arguments.slide, mpp=arguments.mpp, device="cpu")
    values = mixed(np.asarray(predicted.X)[:, : arguments.genes], arguments.spots)
    print(f"{values.shape[0]:,} spots × {values.shape[1]:,} genes")
    print("| dtype | codec | chunk | written | size | files | one gene | 1,024 spots | all |")
    print("|---|---|---|---|---|---|---|---|---|")
    for dtype in (np.float32, np.float16):
        for name, chunks, codec in LAYOUTS:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(values.astype(dtype), chunks, codec, Path(folder) / "a.zarr")
            print(f"| {np.dtype(dtype)} | {name} | {chunks[0]} × {chunks[1]} | {row}", flush=True)


if __name__ == "__main__":
    main()
