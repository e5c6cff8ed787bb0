"""Peak memory of checks and target building, as a cohort grows.

    python tests/benchmarks/cohort_memory.py --sections 100

Writes sections of 5,000 spots × 18,000 genes (h5ad, about 2,000 genes a spot) with a small picture
under --folder, then runs in processes of their own

- ``check``: ``hypergene data check`` over all of them;
- ``targets``: what ``hypergene finetune`` does before it trains: tables to the cache, genes chosen,
  50 modules fitted, every spot scored;

and prints the wall time and peak resident memory of each, for a tenth of the sections and for all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from memory import peak_gb
from PIL import Image
from scipy import sparse

SPOTS, GENES, DETECTED = 5_000, 18_000, 2_000
MPP = 4.0


def write_cohort(folder: Path, sections: int) -> Path:
    """Write the sections that are not there yet, and a sheet; return the sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.divmod(np.arange(SPOTS), 64)
    xy_px = np.stack([100 * column + 50 * (row % 2), 100 * np.sqrt(0.75) * row], 1) / MPP + 60
    level = np.random.default_rng(0).gamma(0.3, 1.0, GENES)
    level *= DETECTED / (1 - np.exp(-level)).sum()
    lines = ["sample,patient,slide,data,mpp"]
    for number in range(sections):
        data, slide = folder / f"s{number}.h5ad", folder / f"s{number}.png"
        lines.append(f"s{number},P{number // 4},{slide.name},{data.name},{MPP:g}")
        if data.is_file() and slide.is_file():
            continue
        rng = np.random.default_rng(number + 1)
        parts = [
            sparse.csr_matrix(rng.poisson(level * rng.gamma(4, 0.25, (250, 1))).astype(np.int32))
            for _ in range(SPOTS // 250)
        ]
        adata = anndata.AnnData(
            sparse.vstack(parts, format="csr"),
            obs=pd.DataFrame(
                {"in_tissue": 1, "array_row": row, "array_col": 2 * column + row % 2},
                index=[f"spot{i}" for i in range(SPOTS)],
            ),
            var=pd.DataFrame(index=[f"GENE{i}" for i in range(GENES)]),
            obsm={"spatial": xy_px},
        )
        adata.uns["spatial"] = {
            "section": {"images": {}, "scalefactors": {"spot_diameter_fullres": 55 / MPP}}
        }
        adata.write_h5ad(data)
        pixels = rng.normal([190, 130, 180], 12, (1850, 1750, 3)).clip(0, 255).astype(np.uint8)
        pixels[:40] = pixels[-40:] = pixels[:, :40] = pixels[:, -40:] = 243
        Image.fromarray(pixels).save(slide)
    sheet = folder / f"{sections}.csv"
    sheet.write_text("\n".join(lines) + "\n")
    return sheet


def check(sheet: Path) -> None:
    """Check every sample, as the command does."""
    from hypergene.pipeline.data_check import check_samples

    print(len(check_samples(sheet).rows), "sections checked")


def targets(sheet: Path) -> None:
    """Build the targets of every sample, as training does before its first step."""
    from hypergene.features.cache import ArrayCache
    from hypergene.pipeline.gene_choice import GeneFiles, choose_genes
    from hypergene.st import read_sample, read_samples
    from hypergene.training.expression import keep_measured
    from hypergene.training.recipe import GeneChoice, TargetChoice
    from hypergene.training.targets import build_targets

    samples = read_samples(sheet)
    with tempfile.TemporaryDirectory(dir=sheet.parent) as folder:
        cache = ArrayCache(Path(folder))
        data = {s.sample: keep_measured(s, read_sample(s), cache) for s in samples}
        genes = choose_genes(data, GeneChoice(), GeneFiles())
        expression = [data[name].expression(genes.columns[name]) for name in data]
        built = build_targets(expression, 50, TargetChoice(), cache)
    print(len(built.scores), "sections scored on", len(genes.names), "genes")


def measure(what: str, sheet: Path) -> None:
    """Run one job in its own process, which prints its time and peak memory."""
    subprocess.run([sys.executable, __file__, "--job", what, "--sheet", sheet], check=True)


def run(what: str, sheet: Path) -> None:
    """Do one job; print the wall time and the peak resident memory of this process."""
    start = time.perf_counter()
    {"check": check, "targets": targets}[what](sheet)
    seconds = time.perf_counter() - start
    print(f"{what}, {sheet.stem} sections: {seconds:.0f} s, {peak_gb():.2f} GB peak", flush=True)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cohort")
    parser.add_argument("--job", choices=("check", "targets"), help=argparse.SUPPRESS)
    parser.add_argument("--sheet", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run(options.job, options.sheet)
        return
    sizes = sorted({max(1, options.sections // 10), options.sections})
    sheets = [write_cohort(options.folder, size) for size in sizes]
    for sheet in sheets:
        for what in ("targets", "check"):
            measure(what, sheet)


if __name__ == "__main__":
    main()
