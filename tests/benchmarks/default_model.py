"""How good models/her2st-small's recipe is on sections it was not trained on.

Trains the recipe of the default model once without C3 (siblings of the same patient stay in
training: optimistic) and once without B4 (another patient), for each seed, and prints the table of
docs/default-model.md. Every training starts from an encoder that learnt on the pixels of the other
sections alone (`hypergene pretrain --without`); finetune refuses one that saw the section.

    for held_out in C3 B4; do
        hypergene pretrain ../shared/data/her2st --mpp 0.69 --without $held_out --epochs 20 \
            --out runs/start/no-$held_out
    done
    python tests/benchmarks/default_model.py ../shared/data/her2st --out runs/held-out \
        --encoder "runs/start/no-{section}/encoder.safetensors" --seeds 0 1 2
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
# What the default model has to clear.
TO_BEAT = {"C3": ".185/.50/.36, beyond depth HVG-50 .40", "B4": ".17/.26/.26"}


def held_out(
    data: Path, out: Path, section: str, seed: int, more: tuple[str, ...], cache: Path
) -> pd.DataFrame:
    """Train without a section, or read what an earlier call found; return its scores by set."""
    run = out / f"{section}-seed{seed}"
    scores = run / "scores.csv"
    if not (run / "model").exists():
        options = FinetuneOptions(
            recipe=RECIPE,
            set=tuple(text.replace("{section}", section) for text in more),
            test=(section,),
            mpp=0.69,
            seed=seed,
            device="cpu",
            cache=cache,
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
    parser.add_argument("--encoder", help="where training starts; {section}: what is held out")
    parser.add_argument("--cache", type=Path, help="tiles that runs share; default: in --out")
    arguments = parser.parse_args()
    more = tuple(arguments.set)
    if arguments.encoder is not None:
        more += (f"encoder.weights={arguments.encoder}",)
    cache = arguments.cache or arguments.out / "cache"
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads\n")
    print("| held out | seed | " + " | ".join(SETS) + " | " + " beyond depth | ".join(SETS) + " |")
    for section in arguments.sections:
        rows = []
        for seed in arguments.seeds:
            table = held_out(arguments.data, arguments.out, section, seed, more, cache)
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
