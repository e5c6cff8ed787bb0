"""How good models/her2st-small's recipe is on sections it was not trained on.

Trains the recipe of the default model once without C3 (siblings of the same patient stay in
training: optimistic) and once without B4 (another patient), for each seed, and prints the table of
docs/default-model.md. About 10 minutes a training on 2 cores.

    python tests/benchmarks/default_model.py ../shared/data/her2st --out runs/held-out --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import pandas as pd
import torch

from hypergene.pipeline.finetune import FinetuneOptions, finetune

RECIPE = Path(__file__).parents[2] / "docs/recipes/her2st-small.toml"
SETS = ["expressed", "HVG-50", "HVG-250"]
# ../shared/protocol.md: what the default model has to beat.
TO_BEAT = {
    "C3": "kernel ridge on hand-made features, modules and rings: .174/.451/.327",
    "B4": "small CNN from scratch, its own head: .165/.233/.245",
}


def held_out(data: Path, out: Path, section: str, seed: int, more: tuple[str, ...]) -> pd.DataFrame:
    """Train without a section, or read what an earlier call found; return its scores by set."""
    run = out / f"{section}-seed{seed}"
    scores = run / "scores.csv"
    if not (run / "model").exists():
        options = FinetuneOptions(
            recipe=RECIPE, set=more, test=(section,), mpp=0.69, seed=seed, device="cpu"
        )
        finetune(data, run, options)
    return pd.read_csv(scores, index_col=["sample", "gene_set"]).loc[section].loc[SETS]


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sections", nargs="+", default=list(TO_BEAT))
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads\n")
    print("| held out | seed | " + " | ".join(SETS) + " | " + " beyond depth | ".join(SETS) + " |")
    for section in arguments.sections:
        rows = []
        for seed in arguments.seeds:
            table = held_out(arguments.data, arguments.out, section, seed, tuple(arguments.set))
            rows.append([*table["pearson"], *table["pearson_beyond_depth"]])
            print(_line(section, str(seed), rows[-1]), flush=True)
        frame = pd.DataFrame(rows)
        print(_line(section, "mean", frame.mean().tolist()))
        if len(rows) > 1:
            print(_line(section, "sd", frame.std().tolist()))
        print(f"to beat on {section}: {TO_BEAT.get(section, '-')}\n", flush=True)


def _line(section: str, seed: str, values: list[float]) -> str:
    return f"| {section} | {seed} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


if __name__ == "__main__":
    main()
