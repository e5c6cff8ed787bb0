"""AnnData as squidpy, scanpy, cellxgene and hypergene leave it on disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from PIL import Image
from scipy import sparse

from hypergene.st import Sample, log1p_cp10k
from layouts.made import IDS, MPP, SYMBOLS, MadeSection

PITCH_PX = 100 / MPP
DIAMETER_PX = 65 / MPP
"""Space Ranger's spot_diameter_fullres is that of a theoretical spot of 65 µm."""


def visium_spots(rows: int = 6, columns: int = 5) -> pd.DataFrame:
    """Lay a patch of Visium's lattice on the tissue: array_row, array_col, x, y (px)."""
    row = np.repeat(np.arange(rows), columns)
    column = 2 * np.tile(np.arange(columns), rows) + row % 2
    return pd.DataFrame(
        {
            "in_tissue": 1,
            "array_row": row + 20,
            "array_col": column + 40,
            "x": 80 + column * PITCH_PX / 2,
            "y": 70 + row * PITCH_PX * np.sqrt(3) / 2,
        },
        index=[f"{'ACGT'[i % 4] * 15}{i:02}-1" for i in range(rows * columns)],
    )


def visium_anndata(section: MadeSection, *, places: bool = True) -> anndata.AnnData:
    """Build what ``squidpy.read.visium`` returns: counts in X, one library in uns["spatial"]."""
    spots = visium_spots()
    xy_px = spots[["x", "y"]].to_numpy()
    return anndata.AnnData(
        X=section.draw(xy_px).astype(np.float32),
        obs=spots[["in_tissue", "array_row", "array_col"] if places else []],
        var=pd.DataFrame(
            {"gene_ids": IDS, "feature_types": "Gene Expression", "genome": "GRCh38"},
            index=list(SYMBOLS),
        ),
        obsm={"spatial": xy_px},
        uns={"spatial": {section.name: library(section)}},
    )


def library(section: MadeSection) -> dict:
    """Build ``uns["spatial"][library]`` with small copies of the picture."""
    picture = Image.fromarray(section.picture)
    return {
        "images": {
            name: np.asarray(picture.reduce(factor))
            for name, factor in (("hires", 2), ("lowres", 4))
        },
        "scalefactors": {
            "tissue_hires_scalef": 0.5,
            "tissue_lowres_scalef": 0.25,
            "fiducial_diameter_fullres": 165 / MPP,
            "spot_diameter_fullres": DIAMETER_PX,
        },
        "metadata": {"chemistry_description": "Spatial 3' v1"},
    }


def in_x(section: MadeSection) -> anndata.AnnData:
    """Counts in X; no array, so the lattice is not told."""
    return visium_anndata(section, places=False)


def in_raw(section: MadeSection) -> anndata.AnnData:
    """Counts in raw; X is log-normalised and holds the variable genes only, as after scanpy."""
    adata = visium_anndata(section)
    adata.raw = adata.copy()
    adata.X = log1p_cp10k(adata.X)
    return adata[:, :12].copy()


def in_layer(section: MadeSection) -> anndata.AnnData:
    """Counts in layers["counts"], dense, and genes by Ensembl identifier, as from cellxgene."""
    adata = visium_anndata(section)
    adata.layers["counts"] = adata.X.toarray()
    adata.X = log1p_cp10k(adata.X)
    adata.var = pd.DataFrame({"feature_name": pd.Categorical(SYMBOLS)}, index=list(IDS))
    return adata


def in_columns(section: MadeSection) -> anndata.AnnData:
    """Counts in a layer of another name, stored by columns."""
    adata = visium_anndata(section)
    adata.layers["raw_counts"] = sparse.csc_matrix(adata.X)
    adata.X = log1p_cp10k(adata.X)
    return adata


def write_store(adata: anndata.AnnData, path: Path, zarr_format: int) -> None:
    """Write a Zarr store of either format, as the anndata of this and of last year do."""
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=zarr_format):
        warnings.simplefilter("ignore")
        adata.write_zarr(path)


def _h5ad(make: Callable[[MadeSection], anndata.AnnData], **options: str):
    def write(folder: Path, section: MadeSection) -> Sample:
        slide = section.save_picture(folder)
        path = folder / f"{section.name}.h5ad"
        make(section).write_h5ad(path, **options)
        return Sample(section.name, section.patient, slide, path, "h5ad", MPP, None)

    return write


def _zarr(zarr_format: int):
    def write(folder: Path, section: MadeSection) -> Sample:
        slide = section.save_picture(folder)
        path = folder / f"{section.name}.zarr"
        write_store(visium_anndata(section), path, zarr_format)
        return Sample(section.name, section.patient, slide, path, "zarr", MPP, None)

    return write


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "h5ad-x": _h5ad(in_x),
    "h5ad-raw": _h5ad(in_raw),
    "h5ad-layer": _h5ad(in_layer),
    "h5ad-columns": _h5ad(in_columns),
    "h5ad-scanpy-visium": _h5ad(visium_anndata, compression="gzip"),
    "zarr-2": _zarr(2),
    "zarr-3": _zarr(3),
}
