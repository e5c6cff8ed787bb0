"""HEST-1k: st/<id>.h5ad, wsis/<id>.tif, metadata/<id>.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from PIL import Image

from hypergene.st import Sample
from layouts.anndata_files import visium_spots
from layouts.made import MPP, SYMBOLS, MadeSection

CONTROLS = ("NegControlProbe_00042", "BLANK_0006", "BLANK_0069")


def write_section(
    folder: Path, section: MadeSection, spots: pd.DataFrame, stated: dict[str, Any]
) -> Sample:
    """Write one section as HEST has it: X is float32 counts, dense or not; obs has x and y too."""
    slide = section.save_picture(folder, f"wsis/{section.name}.tif")
    xy_px = spots[["x", "y"]].to_numpy()
    counts = section.draw(xy_px).astype(np.float32)
    thumbnail = np.asarray(Image.fromarray(section.picture).reduce(4))
    genes = list(SYMBOLS)
    if stated["st_technology"] == "Xenium":
        genes += CONTROLS
        counts = np.hstack([counts.toarray(), np.full((len(spots), len(CONTROLS)), 9)])
    adata = anndata.AnnData(
        X=counts.astype(np.float32),
        obs=spots.rename(columns={"x": "pxl_col_in_fullres", "y": "pxl_row_in_fullres"}),
        var=pd.DataFrame({"mito": [name.startswith("MT-") for name in genes]}, index=genes),
        obsm={"spatial": xy_px},
        uns={
            "spatial": {
                "ST": {
                    "images": {"downscaled_fullres": thumbnail},
                    # Whatever the technology, HEST writes the diameter of a Visium spot.
                    "scalefactors": {
                        "spot_diameter_fullres": 55 / MPP,
                        "tissue_downscaled_fullres_scalef": 0.25,
                    },
                }
            }
        },
    )
    for name in ("st", "metadata", "thumbnails"):
        (folder / name).mkdir(exist_ok=True)
    data = folder / "st" / f"{section.name}.h5ad"
    adata.write_h5ad(data)
    metadata = {
        "dataset_title": "A made study",
        "id": section.name,
        "image_filename": f"{section.name}.tif",
        "organ": "Breast",
        "disease_state": "Cancer",
        "oncotree_code": "IDC",
        "species": "Homo sapiens",
        "patient": f"Patient {section.patient}",
        "inter_spot_dist": float("nan"),
        "spot_diameter": float("nan"),
        "spots_under_tissue": len(spots),
        "nb_genes": len(genes),
        "treatment_comment": None,
        "pixel_size_um_embedded": 0.000548714,
        "pixel_size_um_estimated": MPP,
        "magnification": "20x",
        "fullres_px_width": section.picture.shape[1],
        "fullres_px_height": section.picture.shape[0],
        "hest_version_added": "v1_0_0",
        **stated,
    }
    (folder / "metadata" / f"{section.name}.json").write_text(json.dumps(metadata))
    return Sample(section.name, section.patient, slide, data, "hest", None, None)


def grid(step_px: float, rows: int = 5, columns: int = 6) -> pd.DataFrame:
    """Lay squares without gaps on the tissue; HEST keeps no array coordinates of pooled ones."""
    row, column = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    return pd.DataFrame(
        {"in_tissue": True, "x": 70 + column * step_px, "y": 65 + row * step_px},
        index=[str(i) for i in range(rows * columns)],
    )


def visium(folder: Path, section: MadeSection) -> Sample:
    """Write Visium: 55 µm circles, 100 µm apart."""
    stated = {"st_technology": "Visium", "inter_spot_dist": 100.0, "spot_diameter": 55.0}
    return write_section(folder, section, visium_spots(), stated)


def legacy(folder: Path, section: MadeSection) -> Sample:
    """Write legacy ST, its spots printed a little askew; HEST calls x of ``XxY`` array_row."""
    spots = grid(200 / MPP, 4, 6)
    i = np.arange(len(spots))
    spots["array_row"], spots["array_col"] = i % 6 + 8, i // 6 + 10
    spots.index = [f"{x:03}x{y:03}" for x, y in zip(spots.array_row, spots.array_col, strict=True)]
    jitter = np.random.default_rng(section.seed).normal(0, 1.5, (len(spots), 2))
    spots[["x", "y"]] += jitter
    stated = {
        "st_technology": "Spatial Transcriptomics", "inter_spot_dist": 200, "spot_diameter": 100,
    }  # fmt: skip
    return write_section(folder, section, spots, stated)


def xenium(folder: Path, section: MadeSection) -> Sample:
    """Write Xenium, pooled into squares of 100 µm, controls and all."""
    return write_section(folder, section, grid(100 / MPP), {"st_technology": "Xenium"})


def visium_hd(folder: Path, section: MadeSection) -> Sample:
    """Write Visium HD, pooled into squares of 128 µm, while the metadata speak of 2 µm bins."""
    stated = {"st_technology": "Visium HD", "inter_spot_dist": 2.0, "spot_diameter": 2.0}
    return write_section(folder, section, grid(128 / MPP), stated)


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "hest-visium": visium,
    "hest-st": legacy,
    "hest-xenium": xenium,
    "hest-visium-hd": visium_hd,
}
