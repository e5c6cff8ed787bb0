"""A whole prediction beside the bare image encoder, in one run, on a CPU.

`hypergene predict` from opening an SVS (the mosaic of real sections, mosaic.py) to the written
Zarr, in tiles a second; and the same encoder with the same weights, threads and batch on tiles that
lie in memory as float32. Both in turn, several times; the ratio is of the medians.

OMP_NUM_THREADS=2 python tests/benchmarks/predict_speed.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import mosaic
import torch

from hypergene.features.batches import CPU_TILES
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.pipeline.predict import PredictOptions, predict_to_file
from hypergene.slide import open_slide, read_tiles
from hypergene.spots import lay_spots, layout_named
from hypergene.zoo import load_model, write_model

TILE_UM, TILE_PX, GENES = 112.0, 224, 2000


def make_model(folder: Path, network: str) -> None:
    """A model with random weights on squares of 112 µm that touch."""
    side = {"diameter_um": TILE_UM, "pitch_um": TILE_UM}
    config = ModelConfig.model_validate(
        {
            "provenance": {"name": "speed", "licence": "CC0-1.0", "tissue": "none"},
            "encoder": {"name": network, "tile_um": (TILE_UM,), "tile_px": TILE_PX},
            "layout": {"name": "grid", "lattice": "square", "shape": "square", **side},
            "geometry": {"dim": 64},
            "head": {"modules": 50},
            "genes": tuple(f"G{number}" for number in range(GENES)),
        }
    )
    torch.manual_seed(0)
    folder.mkdir()
    write_model(folder, HyperGene(config).eval(), "# speed\n")


@torch.inference_mode()
def bare(model: HyperGene, images: torch.Tensor, batches: int) -> float:
    """Tiles a second of the network alone, in channels_last, on a batch that lies in memory."""
    network = model.encoder.network
    start = time.perf_counter()
    for _ in range(batches):
        network(images)
    return len(images) * batches / (time.perf_counter() - start)


def first_tiles(slide: Path) -> torch.Tensor:
    """A batch of real tiles, (64, 3, 224, 224) float32, normalised, channels_last."""
    with open_slide(slide) as opened:
        mpp = (opened.mpp.x, opened.mpp.y)
        layout = layout_named("grid", diameter_um=TILE_UM, pitch_um=TILE_UM)
        xy_px = lay_spots(layout, opened.dimensions, mpp).xy_px[:CPU_TILES]
        _, tiles = next(read_tiles(opened, xy_px, width_um=TILE_UM, size_px=TILE_PX))
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255 - 0.7
    return images.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Parse, run both in turn, print rates, stages and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--slide", type=Path, help="an SVS to use instead of the mosaic")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=16, help="of the bare encoder a round")
    parser.add_argument("--workers", default="auto")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = arguments.slide or mosaic.write(
            folder / "mosaic.svs", mosaic.levels(arguments.data)
        )
        make_model(folder / "model", arguments.network)
        model = load_model(folder / "model")
        images = first_tiles(slide)
        workers = "auto" if arguments.workers == "auto" else int(arguments.workers)
        options = PredictOptions(
            model=str(folder / "model"), device="cpu", workers=workers, overwrite=True
        )
        bare(model, images, 1)
        alone, whole = [], []
        for _ in range(arguments.rounds):
            alone.append(bare(model, images, arguments.batches))
            start = time.perf_counter()
            outcome = predict_to_file(slide, folder / "out", options)
            whole.append(outcome.spots / (time.perf_counter() - start))
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in outcome.seconds.items())
            print(
                f"bare encoder {alone[-1]:.1f} tiles/s, whole prediction {whole[-1]:.1f} "
                f"({outcome.spots:,} tiles; {stages})",
                flush=True,
            )
        ratio = statistics.median(whole) / statistics.median(alone)
        print(f"{torch.get_num_threads()} threads, {arguments.network}: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
