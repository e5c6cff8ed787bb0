"""Visium HD sections as Space Ranger 3 writes them, in bins of 2, 8 and 16 µm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from hypergene.st import Sample
from layouts.made import MPP, SYMBOLS, MadeSection
from layouts.spaceranger import write_h5, write_scale_factors

_FIRST_XY_PX = (60.0, 70.0)
"""Of the corner of the array."""


def array_to_px(
    array_xy: np.ndarray, bin_um: float, degrees: float = 0.0, mpp: float = MPP
) -> np.ndarray:
    """Return the centres (x, y) in px of bins at (array_col, array_row) of a turned array."""
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return _FIRST_XY_PX + (np.asarray(array_xy) + 0.5) * bin_um / mpp @ rotation


def made_bins(
    bin_um: int, rows: int, columns: int, *, first: tuple[int, int] = (0, 0), degrees: float = 0.0
) -> pd.DataFrame:
    """Return positions as Space Ranger's, all in the tissue; `first` is (array_row, array_col)."""
    row = np.repeat(np.arange(rows), columns) + first[0]
    column = np.tile(np.arange(columns), rows) + first[1]
    xy_px = array_to_px(np.column_stack([column, row]), bin_um, degrees)
    return pd.DataFrame(
        {
            "barcode": [
                f"s_{bin_um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)
            ],
            "in_tissue": np.ones(len(row), dtype=np.int64),
            "array_row": row,
            "array_col": column,
            "pxl_row_in_fullres": xy_px[:, 1],
            "pxl_col_in_fullres": xy_px[:, 0],
        }
    )


def write_square(outs: Path, bin_um: int, positions: pd.DataFrame, counts: sparse.spmatrix) -> Path:
    """Write one ``square_XXXum`` folder: the filtered matrix of the bins in the tissue."""
    folder = outs / "binned_outputs" / f"square_{bin_um:03d}um"
    under = positions["in_tissue"].to_numpy() > 0
    write_h5(
        folder / "filtered_feature_bc_matrix.h5",
        sparse.csr_matrix(counts)[under],
        positions["barcode"][under].tolist(),
        software="spaceranger-3.1.1",
    )
    (folder / "spatial").mkdir()
    positions.to_parquet(folder / "spatial" / "tissue_positions.parquet", index=False)
    write_scale_factors(
        folder / "spatial" / "scalefactors_json.json",
        spot_diameter_fullres=bin_um / MPP,
        bin_size_um=float(bin_um),
        microns_per_pixel=MPP,
        regist_target_img_scalef=0.5,
    )
    return folder


def draw(made: MadeSection, positions: pd.DataFrame) -> sparse.csr_matrix:
    """Draw counts at the bins' centres."""
    xy_px = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    return made.draw(xy_px, half_px=1)


def _sample(folder: Path, made: MadeSection, data: Path, spot_um: float | None = None) -> Sample:
    return Sample(
        sample=made.name,
        patient=made.patient,
        slide=made.save_picture(folder),
        data=data,
        format="visium-hd",
        mpp=None,
        section=None,
        spot_um=spot_um,
    )


def _but_last(positions: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Say of the last rows that they are off the tissue: the matrix then lacks them."""
    last = positions["array_row"] > positions["array_row"].max() - rows
    return positions.assign(in_tissue=np.where(last, 0, 1))


def _hd_8(folder: Path, made: MadeSection) -> Sample:
    """All three binnings; 8 µm is what is read if nobody says."""
    outs = folder / made.name / "outs"
    for bin_um, rows, columns in ((2, 24, 20), (8, 7, 5), (16, 3, 2)):
        positions = made_bins(bin_um, rows, columns, first=(40 // bin_um, 80 // bin_um))
        if bin_um == 8:
            positions = _but_last(positions, 1)
        write_square(outs, bin_um, positions, draw(made, positions))
    (outs / "segmented_outputs" / "spatial").mkdir(parents=True)
    return _sample(folder, made, folder / made.name)


def _hd_16_folder(folder: Path, made: MadeSection) -> Sample:
    """One folder of bins, passed on alone."""
    positions = made_bins(16, 6, 5, degrees=10)
    return _sample(folder, made, write_square(folder, 16, positions, draw(made, positions)))


def _hd_pooled(folder: Path, made: MadeSection) -> Sample:
    """Spots of 56 µm from bins of 8 µm, on a turned array."""
    outs = folder / made.name / "outs"
    positions = _but_last(made_bins(8, 7 * 7, 5 * 7, degrees=5), 7)
    write_square(outs, 8, positions, draw(made, positions))
    coarse = made_bins(16, 20, 17, degrees=5)
    write_square(outs, 16, coarse, sparse.csr_matrix((len(coarse), len(SYMBOLS)), dtype=np.int32))
    return _sample(folder, made, outs, spot_um=56)


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "visium-hd-8": _hd_8,
    "visium-hd-16-folder": _hd_16_folder,
    "visium-hd-pooled": _hd_pooled,
}
