"""Damage files of every layout again and again, and count what reading them comes to.

    python tests/fuzz_layouts.py --mutants 500 --seed 1 --layout tables-stnet

Each mutant is read in a child process of its own, with a time limit and a memory limit, so that
crashes and hangs are counted as well. Mutant number i is damaged with the seed ``--seed`` + i, so
one failure is repeated by its own seed and ``--mutants 1``. The exit code is 1 if anything but
clean errors and valid data came out.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # threads outlive no fork

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from child import in_child
from layouts.damage import copy_of, damage, is_readable, writers
from layouts.made import made_section

from hypergene.errors import HypergeneError
from hypergene.st import Sample, read_sample

CLEAN = ("clean error", "valid data")
OUTCOMES = (*CLEAN, "unclear error", "invalid data", "traceback", "crash", "hang")
# Imported once, before the children are forked.
PRELOADED = ("anndata", "h5py", "pyarrow.csv", "pyarrow.parquet", "scipy.io", "zarr")


def main() -> int:
    """Run all mutants; print a line a layout and a line a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200, help="of each layout [200]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", action="append", help="repeatable [all]")
    parser.add_argument("--seconds", type=float, default=20, help="time limit of a mutant [20]")
    parser.add_argument("--memory-mb", type=int, default=2048, help="a mutant may take [2048]")
    chosen = parser.parse_args()
    known = writers()
    names = chosen.layout or [*known]
    if unknown := set(names) - set(known):
        parser.error(f"there is no layout {', '.join(unknown)}; known: {', '.join(known)}")
    for module in (
        *PRELOADED,
        *(["spatialdata"] if any("spatialdata" in n for n in names) else ()),
    ):
        importlib.import_module(module)
    bad = 0
    print(f"{'layout':28}", *(f"{name:>13}" for name in OUTCOMES), " s/mutant")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            counts, failures, seconds = fuzz(name, Path(folder), chosen)
        total = sum(counts.values())
        bad += len(failures)
        print(f"{name:28}", *(f"{counts[name]:13}" for name in OUTCOMES), f"{seconds / total:9.3f}")
        for failure in failures:
            print(f"    {failure}")
        sys.stdout.flush()
    return bool(bad)


def fuzz(
    layout: str, folder: Path, chosen: argparse.Namespace
) -> tuple[Counter[str], list[str], float]:
    """Read the mutants of a layout; return outcomes, a line a failure, and seconds taken."""
    origin = folder / "origin"
    origin.mkdir()
    # Zarr and Arrow start threads, which no fork keeps: so even writing is a child's work.
    outcome, text = in_child(lambda: written(layout, origin), seconds=120)
    if outcome != "written":
        return Counter({outcome: 1}), [f"as it was written: {outcome}: {text}"], 0.0
    sample = Sample(
        **{
            name: Path(value) if name in ("data", "slide", "spots") and value else value
            for name, value in json.loads(text).items()
        }
    )
    counts: Counter[str] = Counter()
    failures = []
    start = time.monotonic()
    for seed in range(chosen.seed, chosen.seed + chosen.mutants):
        mutant = folder / f"mutant-{seed}"
        copied = copy_of(sample, origin, mutant)
        done = damage(copied, mutant, seed)
        outcome, text = in_child(
            lambda copied=copied, mutant=mutant: read(copied, mutant),
            seconds=chosen.seconds,
            memory_mb=chosen.memory_mb,
        )
        counts[outcome] += 1
        if outcome not in CLEAN:
            failures.append(f"seed {seed} ({done}): {outcome}: {text}")
        shutil.rmtree(mutant)
    return counts, failures, time.monotonic() - start


def written(layout: str, origin: Path) -> tuple[str, str]:
    """Write a layout and read it; return its sample as JSON."""
    sample = writers()[layout](origin, made_section("A1"))
    if not is_readable(sample):
        return "unclear error", f"no format {sample.format}"
    outcome, text = read(sample, origin)
    if outcome != "valid data":
        return outcome, text
    return "written", json.dumps(
        {k: v and str(v) if isinstance(v, Path) else v for k, v in asdict(sample).items()}
    )


def read(sample: Sample, folder: Path) -> tuple[str, str]:
    """Read a mutant; return the outcome and what is to be said of it."""
    try:
        adata = read_sample(sample)
    except HypergeneError as error:
        text = str(error)
        one_line = "\n" not in text and str(folder) in error.message
        return ("clean error" if one_line else "unclear error"), text
    counts = adata.layers["counts"]
    reasons = [
        reason
        for reason, wrong in {
            "no spots": adata.n_obs == 0,
            "counts": counts.dtype != np.int32 or not (counts.data > 0).all(),
            "empty spots": (np.diff(counts.indptr) == 0).any(),
            "expression": not np.isfinite(adata.X.data).all(),
            "names": not (adata.obs_names.is_unique and adata.var_names.is_unique),
            "positions": not np.isfinite(adata.obsm["spatial"]).all(),
        }.items()
        if wrong
    ]
    return ("invalid data", ", ".join(reasons)) if reasons else ("valid data", "")


if __name__ == "__main__":
    sys.exit(main())
