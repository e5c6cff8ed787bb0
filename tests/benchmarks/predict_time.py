"""Where the time of a prediction goes: about 1,000 spots of a real section, stage by stage.

python tests/benchmarks/predict_time.py SLIDE --mpp 0.69 --pitch 90
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path

import torch

from hypergene.pipeline.predict import PredictOptions, predict_to_file


def main() -> None:
    """Parse, predict twice (the first call also loads libraries), print the second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--pitch", type=float, default=90.0, help="of a grid of squares, µm")
    parser.add_argument("--model", default="her2st-small")
    arguments = parser.parse_args()
    options = PredictOptions(
        model=arguments.model,
        layout="grid",
        diameter_um=arguments.pitch,
        pitch_um=arguments.pitch,
        mpp=arguments.mpp,
        device="cpu",
        overwrite=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        predict_to_file(arguments.slide, Path(folder), options)
        outcome = predict_to_file(arguments.slide, Path(folder), options)
    total = sum(outcome.seconds.values())
    print(f"{platform.machine()}, {torch.get_num_threads()} threads")
    print(f"{outcome.spots:,} spots × {outcome.genes:,} genes in {total:.1f} s")
    for stage, seconds in outcome.seconds.items():
        print(f"  {stage:8} {seconds:6.2f} s  {seconds / total:4.0%}")


if __name__ == "__main__":
    main()
