"""A whole prediction beside the bare bfloat16 encoder, on an NVIDIA GPU.

`hypergene predict` from opening an SVS (the mosaic of real sections, mosaic.py) to the written Zarr
with a ViT-L/16 at 224 px (random weights), beside the same encoder under bfloat16 on tiles that
lie on the card; and the shipped model beside what its readers deliver without any encoder. With
the share of the time that the card waited, and where.

python tests/benchmarks/predict_h200.py --data ../shared/data [--repeat 2] [--compile]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import mosaic
import torch
from predict_speed import TILE_PX, TILE_UM, make_model

from hypergene.features.batches import automatic_batch
from hypergene.features.device import encoder_precision
from hypergene.features.machine import available_cpus
from hypergene.model.network import HyperGene
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.predict import PredictOptions, predict_to_file
from hypergene.slide import open_slide, read_tiles
from hypergene.spots import lay_spots, layout_named
from hypergene.zoo import find_model, load_model

WARM, TIMED = 3, 20


@torch.inference_mode()
def bare(model: HyperGene, device: torch.device) -> float:
    """Tiles a second of the network alone, bfloat16 and channels_last, on tiles on the card."""
    batch = automatic_batch(device, TILE_PX)
    images = torch.randn(batch, 3, TILE_PX, TILE_PX, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    with encoder_precision(device, training=False):
        for _ in range(WARM):
            model.encoder.network(images)
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(TIMED):
            model.encoder.network(images)
        torch.cuda.synchronize(device)
    return batch * TIMED / (time.perf_counter() - start)


def readers(slide: Path, widths_um: tuple[float, ...], size_px: int, pitch_um: float) -> float:
    """Tiles a second that the readers deliver where nothing encodes them."""
    with open_slide(slide) as opened:
        layout = layout_named("grid", diameter_um=pitch_um, pitch_um=pitch_um)
        xy_px = lay_spots(layout, opened.dimensions, (opened.mpp.x, opened.mpp.y)).xy_px
        start = time.perf_counter()
        count = 0
        for width_um in widths_um:
            batches = read_tiles(
                opened, xy_px, width_um=width_um, size_px=size_px, workers=available_cpus()
            )
            count += sum(len(rows) for rows, _ in batches)
        return count / (time.perf_counter() - start)


def told(outcome: Outcome, crops: int, seconds: float) -> float:
    """Print how a prediction went; return its tiles a second."""
    rate = outcome.spots * crops / seconds
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in outcome.seconds.items())
    print(
        f"  {outcome.spots:,} spots in {seconds:.1f} s, {rate:.0f} tiles/s; the card waited "
        f"{outcome.wait_share:.0%} of the encoding\n  {stages}",
        flush=True,
    )
    return rate


def predicted(slide: Path, folder: Path, options: PredictOptions, crops: int) -> float:
    """Predict twice, the first time to load and compile; return tiles a second of the second."""
    predict_to_file(slide, folder, options)
    start = time.perf_counter()
    outcome = predict_to_file(slide, folder, options)
    return told(outcome, crops, time.perf_counter() - start)


def main() -> None:
    """Parse, run both comparisons, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeat", type=int, default=2, help="the mosaic, along both sides")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can use; nothing was measured.")
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, {available_cpus()} CPU cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = mosaic.write(
            folder / "mosaic.svs", mosaic.levels(arguments.data), repeat=arguments.repeat
        )

        make_model(folder / "model", "vit_large_patch16_224")
        alone = bare(load_model(folder / "model", device=device), device)
        print(f"ViT-L/16, bare encoder: {alone:.0f} tiles/s")
        options = PredictOptions(
            model=str(folder / "model"), compile=arguments.compile, overwrite=True
        )
        print(f"  ratio {predicted(slide, folder / 'out', options, 1) / alone:.2f} (goal 0.85)")

        config = load_model(find_model("her2st-small")).config
        widths, size = config.encoder.tile_um, config.encoder.tile_px
        ready = readers(slide, widths, size, TILE_UM)
        print(f"her2st-small, readers alone: {ready:.0f} tiles/s")
        options = PredictOptions(
            layout="grid", diameter_um=TILE_UM, pitch_um=TILE_UM, overwrite=True
        )
        rate = predicted(slide, folder / "out", options, len(widths))
        print(f"  ratio {rate / ready:.2f} (goal 0.5)")


if __name__ == "__main__":
    main()
