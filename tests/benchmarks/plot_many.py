"""How long a figure of many spots takes, and how large its file is.

    python tests/benchmarks/plot_many.py --spots 1000 250000 --genes 4

The spots are made up: bins of 8 µm side by side on a slide of 2,000 px preview; time is that of
``hypergene.plot`` on the table in memory and of ``savefig``.
"""

from __future__ import annotations

import argparse
import io
import resource
import time

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.pipeline.plot import plot


def made(spots: int, genes: int, shape: str) -> AnnData:
    """A prediction of so many bins on a square, a smooth pattern a gene."""
    side = int(np.ceil(np.sqrt(spots)))
    row, column = np.divmod(np.arange(spots), side)
    rng = np.random.default_rng(0)
    waves = [
        np.sin(row / side * 6 * k) + np.cos(column / side * 4 * k) for k in range(1, genes + 1)
    ]
    values = np.column_stack(waves).astype(np.float32)
    space = rng.normal(size=(spots, 16)).astype(np.float32)
    length = np.linalg.norm(space, axis=1)
    adata = AnnData(
        values,
        obs=pd.DataFrame({"radius": np.arcsinh(length)}, index=np.arange(spots).astype(str)),
        var=pd.DataFrame({"heldout_pcc": 0.5}, index=[f"GENE{k}" for k in range(genes)]),
        layers={"std": values},
    )
    adata.obsm["spatial"] = np.column_stack([column, row]) * 16.0 + 8
    adata.obsm["X_hypergene"] = space
    scale = 2000 / (16 * side)
    adata.uns["spatial"] = {
        "made": {
            "images": {"hires": rng.integers(150, 255, (2000, 2000, 3), np.uint8)},
            "scalefactors": {"tissue_hires_scalef": scale, "spot_diameter_fullres": 16.0},
        }
    }
    adata.uns["hypergene"] = {
        "slide": "made", "model": {"name": "made"}, "units": "made", "mpp": {"x": 0.5, "y": 0.5},
        "layout": {"shape": shape},
    }  # fmt: skip
    return adata


def main() -> None:
    """Print a line a size, shape and kind of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spots", type=int, nargs="+", default=[1000, 250_000])
    parser.add_argument("--genes", type=int, default=4)
    arguments = parser.parse_args()
    for spots in arguments.spots:
        for shape in ("square", "circle"):
            adata = made(spots, arguments.genes, shape)
            for kind in ("png", "pdf", "svg"):
                start = time.perf_counter()
                figure = plot(adata, "genes", "embedding")
                buffer = io.BytesIO()
                figure.savefig(buffer, format=kind, dpi=200)
                took = time.perf_counter() - start
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                print(
                    f"{spots:>8,} {shape}s, {arguments.genes} genes and embedding, {kind}: "
                    f"{took:5.1f} s, {buffer.tell() / 2**20:5.1f} MiB (peak so far {peak:.2f} GiB)"
                )


if __name__ == "__main__":
    main()
