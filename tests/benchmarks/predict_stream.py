"""Memory and time of a prediction by its number of spots: 10k, 100k and 1M spots × 2,000 genes.

Everything is real but the pixels' way to features: a slide is opened, spots are laid, features
come from a random generator in place of the image encoder, and context, rings, read-out, writer,
card and file are those of `hypergene predict`. Each size runs in a process of its own; the exponent
is that of CPU time, which others on the machine disturb least.

python tests/benchmarks/predict_stream.py [--spots 10000 100000 1000000] [--dtype float16]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from memory import peak_gb

GENES, FEATURES, PX_PER_SPOT, MPP = 2000, 512, 10, 20.0


def make_slide(path: Path, spots: int) -> None:
    """A tiled TIFF of noise on which a lattice of 200 µm has so many spots."""
    import tifffile

    side = math.isqrt(spots) * PX_PER_SPOT
    tile = np.random.default_rng(0).integers(150, 250, (256, 256, 3), np.uint8)
    count = math.ceil(side / 256) ** 2
    tifffile.imwrite(
        path, (tile for _ in range(count)), shape=(side, side, 3), dtype=np.uint8,
        tile=(256, 256), compression="deflate", photometric="rgb", metadata=None,
        resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit="CENTIMETER",
    )  # fmt: skip


def make_model(folder: Path) -> None:
    """A ResNet-18 with random weights and 2,000 genes, on a square lattice of 200 µm."""
    import torch

    from hypergene.model.config import ModelConfig
    from hypergene.model.network import HyperGene
    from hypergene.zoo import write_model

    layout = {"name": "grid", "lattice": "square", "shape": "square"}
    config = ModelConfig.model_validate(
        {
            "provenance": {"name": "stream", "licence": "CC0-1.0", "tissue": "none"},
            "encoder": {"name": "resnet18", "tile_um": (112.0,), "tile_px": 224},
            "layout": {**layout, "diameter_um": 200.0, "pitch_um": 200.0},
            "geometry": {"dim": 64},
            "head": {"modules": 50},
            "genes": tuple(f"G{number}" for number in range(GENES)),
        }
    )
    torch.manual_seed(0)
    model = HyperGene(config).eval()
    assert model.encoder.features == FEATURES
    with torch.no_grad():
        for weights in (model.head.mean.weight, model.modules_to_genes.loadings):
            torch.nn.init.normal_(weights, std=0.05)
        model.modules_to_genes.mean.uniform_(0, 3)
        model.reference.fit(torch.randn(2000, FEATURES))
    folder.mkdir()
    write_model(folder, model, "# stream\n")


def random_features(table: Any, slide: Any, xy_px: Any, encoder: Any, **_: Any) -> Any:
    """Stands in for `encode_into`."""
    from hypergene.features.encode import Effort

    start = time.perf_counter()
    rng = np.random.default_rng(0)
    for first in range(0, len(xy_px), 4096):
        rows = np.arange(first, min(first + 4096, len(xy_px)))
        table[rows, slice(0, FEATURES)] = rng.standard_normal((len(rows), FEATURES), np.float32)
    return Effort(np.zeros(0, np.int64), 0.0, time.perf_counter() - start, 64)


def child(slide: Path, model: Path, out: Path, dtype: str) -> None:
    """Predict, and print what it took as JSON."""
    from hypergene.pipeline.predict import PredictOptions, predict_to_file
    from hypergene.pipeline.prediction import encode

    loaded = peak_gb()
    encode.encode_into = random_features
    options = PredictOptions(model=str(model), tissue="none", mpp=MPP, device="cpu", dtype=dtype)
    start, spent = time.perf_counter(), time.process_time()
    outcome = predict_to_file(slide, out, options)
    told = {
        "spots": outcome.spots,
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - spent,
        "peak_gb": peak_gb(),
        "imports_gb": loaded,
        "stages": outcome.seconds,
    }
    print(json.dumps(told))


def read_back(store: Path, spots: int) -> tuple[float, float, float]:
    """Seconds to read one gene and one block of 1,024 spots; GB on disk."""
    import zarr

    group = zarr.open_group(store, mode="r")
    assert group["X"].shape == (spots, GENES)
    start = time.perf_counter()
    gene = group["X"][:, GENES // 2]
    middle = time.perf_counter()
    first = spots // 2048 * 1024
    block = group["X"][first : first + 1024]
    end = time.perf_counter()
    assert gene.std() > 0 and block.std() > 0
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    return middle - start, end - middle, size / 1e9


def main() -> None:
    """Parse, run every size, print a table and the exponent of time between sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spots", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"])
    parser.add_argument("--folder", type=Path, help="where there is room  [default: temporary]")
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.dtype)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        make_model(folder / "model")
        seen = []
        for spots in arguments.spots:
            slide = folder / "slide.tiff"
            make_slide(slide, spots)
            command = [sys.executable, __file__, "--dtype", arguments.dtype, "--child"]
            done = subprocess.run(
                [*command, slide, folder / "model", folder],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            told = json.loads(done.stdout)
            gene, block, size = read_back(folder / "slide.zarr", told["spots"])
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in told["stages"].items())
            print(
                f"{told['spots']:>9,} spots × {GENES:,} genes ({arguments.dtype}): "
                f"{told['seconds']:.1f} s (CPU {told['cpu_s']:.1f} s), "
                f"peak {told['peak_gb']:.2f} GB (imports {told['imports_gb']:.2f}), "
                f"{size:.2f} GB on disk; one gene {gene:.2f} s, 1,024 spots {block * 1e3:.0f} ms"
                f"\n    {stages}",
                flush=True,
            )
            seen.append((told["spots"], told["cpu_s"]))
            shutil.rmtree(folder / "slide.zarr")
    for (few, short), (many, long) in pairwise(seen):
        exponent = math.log(long / short) / math.log(many / few)
        print(f"{few:,} -> {many:,} spots: CPU time grows with exponent {exponent:.2f}")


if __name__ == "__main__":
    main()
