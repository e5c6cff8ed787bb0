"""A prediction as ``hypergene predict`` writes it, of any spots and genes, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from hypergene.output import spatial_uns, write_anndata
from hypergene.spots import lay_spots, layout_named

ODD_GENES = ("ERBB2", "HLA-A/B", "Abc", "ABC", "nan", "GENE.1", "α-SMA", "radius", "x_px", 'a"b,%s')
"""Names that files and keys do not like: slashes, quotes, twins but for case, names of columns."""

UNITS = "ln(1 + counts per 10,000), scaled over all genes measured in the spot"
MPP = 0.5


class Gradient:
    """A slide whose colour says where on it one is."""

    def __init__(self, width: int, height: int) -> None:
        self.dimensions = (width, height)

    def thumbnail(self, max_px: int) -> tuple[np.ndarray, float]:
        scale = min(1.0, max_px / max(self.dimensions))
        width, height = (max(1, round(side * scale)) for side in self.dimensions)
        return self.read_box((0, 0, *map(float, self.dimensions)), (width, height)), scale

    def read_box(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
        x = box[0] + (np.arange(size[0]) + 0.5) * (box[2] - box[0]) / size[0]
        y = box[1] + (np.arange(size[1]) + 0.5) * (box[3] - box[1]) / size[1]
        pixels = np.empty((size[1], size[0], 3), np.uint8)
        pixels[..., 0] = x[None, :] * 255 / self.dimensions[0]
        pixels[..., 1] = y[:, None] * 255 / self.dimensions[1]
        pixels[..., 2] = 200
        return pixels


def tiny_prediction(
    genes: Sequence[str] = ODD_GENES,
    *,
    layout: str = "visium",
    size_px: tuple[int, int] = (1500, 1200),
    mpp: tuple[float, float] = (MPP, MPP),
    stem: str = "slide",
    archetypes: bool = False,
    **of_layout: Any,
) -> AnnData:
    """Return a prediction of every spot that the layout lays on a slide of this size."""
    laid = layout_named(layout, **of_layout)
    spots = lay_spots(laid, size_px, mpp)
    n, g = len(spots), len(genes)
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(n, np.int8),
            "array_row": spots.array_row,
            "array_col": spots.array_col,
            "tissue_fraction": rng.random(n, np.float32),
            "readable": np.ones(n, bool),
            "ood_score": rng.random(n, np.float32),
            "radius": rng.random(n, np.float32),
        },
        index=spots.names.tolist(),
    )
    if archetypes:
        obs["archetype"] = pd.Categorical(rng.integers(0, 3, n).astype(str))
    pcc = np.linspace(0.1, 0.9, g, dtype=np.float32)
    adata = AnnData(
        rng.random((n, g), np.float32) * 4,
        obs=obs,
        var=pd.DataFrame({"heldout_pcc": pcc}, index=list(genes)),
        layers={"std": rng.random((n, g), np.float32) + np.float32(0.1)},
        obsm={"spatial": spots.xy_px, "X_hypergene": rng.random((n, 4), np.float32)},
    )
    diameter_px = laid.diameter_um * 2 / sum(mpp)
    adata.uns["spatial"] = spatial_uns(Gradient(*size_px), stem, diameter_px, hires_px=500)
    adata.uns["hypergene"] = {
        "version": "0.1.0",
        "slide": f"{stem}.svs",
        "units": UNITS,
        "model": {"name": "tiny"},
        "mpp": {"x": mpp[0], "y": mpp[1], "source": "--mpp"},
        "layout": {
            "name": laid.name,
            "lattice": laid.lattice,
            "shape": laid.shape,
            "diameter_um": laid.diameter_um,
            "pitch_um": laid.pitch_um,
            "orientation_deg": laid.orientation_deg,
        },
    }
    return adata


def write_tiny_prediction(
    folder: Path, *args: Any, format: Literal["zarr", "h5ad"] = "zarr", **options: Any
) -> Path:
    """Write :func:`tiny_prediction` as ``slide.zarr`` or ``slide.h5ad``."""
    path = folder / f"{options.get('stem', 'slide')}.{format}"
    write_anndata(tiny_prediction(*args, **options), path, format=format)
    return path
