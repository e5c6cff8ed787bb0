"""A prediction made of numbers alone, as ``hypergene predict`` would write it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

HOSTILE = "</script><script>document.title='broken'</script>"
"""A gene symbol, a spot name and a warning that try to be markup."""
GENES = ("ERBB2", "KRT8", "KRT18", "COL1A1", "MALAT1", HOSTILE)


def tiny_prediction(
    rows: int = 8, columns: int = 10, *, archetypes: int = 0, shape: str = "circle", seed: int = 0
) -> AnnData:
    """Spots of 100 µm, 200 µm apart, at 0.5 µm/px, with every column that a page can show."""
    random = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(rows * columns), columns)
    spots, genes = rows * columns, len(GENES)
    across = (row / rows + column / columns)[:, None]
    low = np.array([0.4, 0.2, 0.05, -0.1, np.nan, 0.0], np.float32)
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(spots, np.int8),
            "array_row": row.astype(np.int32),
            "array_col": column.astype(np.int32),
            "tissue_fraction": random.uniform(0.3, 1, spots).astype(np.float32),
            "ood_score": random.uniform(0, 1, spots).astype(np.float32),
            "radius": random.gamma(2, 0.2, spots).astype(np.float32),
            "focus": np.where(row == 0, np.nan, random.gamma(2, 200, spots)).astype(np.float32),
            "pen": np.arange(spots) == 3,
        },
        index=[HOSTILE, *(f"r{r}c{c}" for r, c in zip(row[1:], column[1:], strict=True))],
    )
    if archetypes:
        state = random.integers(0, archetypes, spots)
        obs["archetype"] = pd.Categorical(list(map(str, state)))
    var = pd.DataFrame(
        {
            "gene_ids": [f"ENSG{number:011}" for number in range(genes)],
            "heldout_pcc": low + 0.1,
            "heldout_low": low,
            "heldout_high": low + 0.2,
            "ceiling_pcc": np.float32(0.7),
            "coverage_80": np.float32(0.79),
            "reliability": pd.Categorical(["A", "B", "C", "refuse", "refuse", "refuse"]),
            "readable_at": pd.Categorical(["spot", "1 ring", "2 rings", "none", "none", "none"]),
        },
        index=list(GENES),
    )
    scale = 10.0 ** -np.arange(genes)  # genes of very different ranges
    expression = (across + random.gamma(2, 0.1, (spots, genes))) * scale
    return AnnData(
        expression.astype(np.float32),
        obs=obs,
        var=var,
        layers={"std": (0.2 * expression + 0.05 * scale).astype(np.float32)},
        obsm={"spatial": np.stack([300 + 400.0 * column, 300 + 400.0 * row], axis=1)},
        uns={"hypergene": _about(shape), "spatial": {"slide": _library(rows, columns)}},
    )


def _about(shape: str) -> dict[str, Any]:
    return {
        "version": "0",
        "slide": "slide.svs",
        "mpp": {"x": 0.5, "y": 0.5, "source": "openslide.mpp-x"},
        "layout": {"name": "st", "shape": shape, "diameter_um": 100.0, "orientation_deg": 0.0},
        "model": {
            "name": "tiny",
            "licence": "CC0-1.0",
            "sha256": "0" * 64,
            "validation": "patient",
            "interval": "spot-block",
        },
        "tile_um": np.array([112.0, 300.0]),
        "units": "ln(1 + counts per 10,000), scaled over all genes measured in the spot",
        "calibration": "none",
        "arguments": {"qc": True},
        "seconds": {"encode": 1.25},
        "card": {
            "verdict": "caution",
            "reasons": np.array(["Its dyes are unusual."], dtype=object),
            "tissue_share": 0.4321,
            "ood_share": 0.01,
        },
        "warnings": np.array(["Its dyes are unusual.", f"A warning {HOSTILE}"], dtype=object),
    }


def _library(rows: int, columns: int) -> dict[str, Any]:
    width, height = 600 + 400 * columns, 600 + 400 * rows
    scale = 0.1
    picture = np.full((round(height * scale), round(width * scale), 3), 230, np.uint8)
    picture[20:-20, 20:-20] = (200, 150, 190)
    return {
        "images": {"hires": picture, "lowres": picture[::3, ::3]},
        "scalefactors": {
            "tissue_hires_scalef": scale,
            "tissue_lowres_scalef": scale / 3,
            "spot_diameter_fullres": 200.0,
        },
        "metadata": {"fullres_width_px": width, "fullres_height_px": height},
    }
