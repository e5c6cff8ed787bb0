"""Visium sections as Space Ranger 1, 2 and 3 write them, and as they are passed on."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite

from hypergene.st import Sample
from layouts.made import IDS, MPP, SYMBOLS, MadeSection

PITCH_PX = 100 / MPP
HEADER = (
    *("barcode", "in_tissue", "array_row", "array_col"),
    *("pxl_row_in_fullres", "pxl_col_in_fullres"),
)
_FIRST_XY_PX = (50.0, 55.0)
"""Of the first spot under the tissue."""


@dataclass(frozen=True)
class Spots:
    """Spots of a capture area, in the order of the positions file."""

    barcodes: list[str]
    in_tissue: np.ndarray
    array_row: np.ndarray
    array_col: np.ndarray
    xy_px: np.ndarray


def made_spots(first_row: int = 10, first_column: int = 20, degrees: float = 0.0) -> Spots:
    """Lay 6 rows of 5 spots in the tissue's upper left, and a row of 5 on the glass above it."""
    row = np.repeat(np.arange(first_row - 2, first_row + 6), 5)
    row = np.delete(row, slice(5, 10))
    column = np.tile(2 * np.arange(5), 7) + first_column + (row - first_row) % 2
    right, down = (column - first_column) * PITCH_PX / 2, (row - first_row) * PITCH_PX * 3**0.5 / 2
    turn = np.deg2rad(degrees)
    x = _FIRST_XY_PX[0] + right * np.cos(turn) - down * np.sin(turn)
    y = _FIRST_XY_PX[1] + right * np.sin(turn) + down * np.cos(turn)
    in_tissue = (row >= first_row).astype(int)
    # Space Ranger's order is neither that of the array nor that of the matrix.
    order = np.random.default_rng(4).permutation(len(row))
    return Spots(
        [barcode(int(r), int(c)) for r, c in zip(row[order], column[order], strict=True)],
        in_tissue[order],
        row[order],
        column[order],
        np.column_stack([x, y])[order],
    )


def barcode(row: int, column: int) -> str:
    """Return a barcode of 16 bases, one for every place of the array."""
    number = row * 224 + column
    return "".join("ACGT"[number >> 2 * i & 3] for i in range(16)) + "-1"


def write_h5(
    path: Path,
    counts: sparse.spmatrix,
    barcodes: Sequence[str],
    *,
    symbols: Sequence[str] = SYMBOLS,
    ids: Sequence[str] = IDS,
    kinds: Sequence[str] | None = None,
    software: str = "spaceranger-2.1.0",
) -> Path:
    """Write counts (spots, features) as Cell Ranger 3 and every Space Ranger do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["chemistry_description"] = "Visium V1 Slide"
        file.attrs["library_ids"] = np.array([b"sample345"])
        file.attrs["filetype"] = "matrix"
        file.attrs["software_version"] = software
        file.attrs["version"] = 2
        group = file.create_group("matrix")
        _write_values(group, counts, barcodes)
        features = group.create_group("features")
        features["_all_tag_keys"] = np.array([b"genome"])
        for name, texts in (
            ("id", ids),
            ("name", symbols),
            ("feature_type", kinds or ["Gene Expression"] * len(ids)),
            ("genome", ["GRCh38"] * len(ids)),
        ):
            features.create_dataset(name, data=np.array(texts, dtype=np.bytes_), compression=4)
        features.create_group("target_sets")["Visium Human Probe Set"] = np.arange(len(ids))
    return path


def write_v2_h5(
    path: Path, counts: sparse.spmatrix, barcodes: Sequence[str], *, genome: str = "GRCh38"
) -> Path:
    """Write counts as Cell Ranger 2 did: a group a genome. A second call adds a genome."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        group = file.create_group(genome)
        _write_values(group, counts, barcodes)
        group["genes"] = np.array(IDS, dtype=np.bytes_)
        group["gene_names"] = np.array(SYMBOLS, dtype=np.bytes_)
    return path


def _write_values(group: h5py.Group, counts: sparse.spmatrix, barcodes: Sequence[str]) -> None:
    matrix = sparse.csr_matrix(counts)
    for name, values in (
        ("barcodes", np.array(barcodes, dtype=np.bytes_)),
        ("data", matrix.data),
        ("indices", matrix.indices.astype(np.int64)),
        ("indptr", matrix.indptr.astype(np.int64)),
    ):
        group.create_dataset(name, data=values, compression=4, shuffle=True, chunks=True)
    group["shape"] = np.array(matrix.shape[::-1], dtype=np.int32)


def write_mtx(
    folder: Path,
    counts: sparse.spmatrix,
    barcodes: Sequence[str],
    *,
    prefix: str = "",
    version: int = 3,
    kinds: Sequence[str] | None = None,
) -> Path:
    """Write counts as a Matrix Market folder: gzipped (3), or plain and without types (2)."""
    folder.mkdir(parents=True, exist_ok=True)
    ending, features = (".gz", "features") if version == 3 else ("", "genes")
    rows = [list(pair) for pair in zip(IDS, SYMBOLS, strict=True)]
    if version == 3:
        rows = [
            [*row, kind]
            for row, kind in zip(rows, kinds or ["Gene Expression"] * len(rows), strict=True)
        ]
    with _packed(folder / f"{prefix}matrix.mtx{ending}") as file:
        comment = 'metadata_json: {"software_version": "spaceranger-1.1.0", "format_version": 2}'
        mmwrite(file, sparse.csc_matrix(counts).T.tocoo(), comment, "integer", symmetry="general")
    with _packed(folder / f"{prefix}barcodes.tsv{ending}") as file:
        file.write("".join(f"{name}\n" for name in barcodes).encode())
    with _packed(folder / f"{prefix}{features}.tsv{ending}") as file:
        file.write("".join("\t".join(row) + "\n" for row in rows).encode())
    return folder


def _packed(path: Path) -> object:
    return gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb")


def positions_csv(spots: Spots, *, header: bool, whole: bool = False) -> str:
    """Return the text of tissue_positions; Space Ranger 1 wrote whole pixels."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    for i, name in enumerate(spots.barcodes):
        x, y = spots.xy_px[i]
        pixels = [round(y), round(x)] if whole else [float(y), float(x)]
        place = [int(v[i]) for v in (spots.in_tissue, spots.array_row, spots.array_col)]
        writer.writerow([name, *place, *pixels])
    return text.getvalue()


def write_spatial(
    folder: Path, made: MadeSection, positions: str, *, name: str, prefix: str = ""
) -> None:
    """Write the folder ``spatial``: positions, scale factors, small images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}{name}").write_text(positions)
    write_scale_factors(folder / f"{prefix}scalefactors_json.json")
    picture = Image.fromarray(made.picture)
    picture.resize((200, 180)).save(folder / f"{prefix}tissue_hires_image.png")
    picture.resize((60, 54)).save(folder / f"{prefix}tissue_lowres_image.png")


def write_scale_factors(path: Path, **more: float) -> None:
    """Write the scale factors of pictures of a half and 0.15 of the full resolution."""
    factors = {
        # Of a circle of 65 µm: what Space Ranger calls the spot, though 55 µm are printed.
        "spot_diameter_fullres": 65 / MPP,
        "tissue_hires_scalef": 0.5,
        "fiducial_diameter_fullres": 105 / MPP,
        "tissue_lowres_scalef": 0.15,
    }
    path.write_text(json.dumps(factors | more))


def spots_under_tissue(spots: Spots) -> tuple[list[str], np.ndarray]:
    """Return barcodes in alphabetical order, as the matrix has them, and their places."""
    at = sorted(np.flatnonzero(spots.in_tissue), key=lambda i: spots.barcodes[i])
    return [spots.barcodes[i] for i in at], spots.xy_px[at]


def all_spots(spots: Spots) -> tuple[list[str], np.ndarray]:
    """Return the barcodes and places of a raw matrix."""
    at = sorted(range(len(spots.barcodes)), key=lambda i: spots.barcodes[i])
    return [spots.barcodes[i] for i in at], spots.xy_px[at]


def _sample(folder: Path, made: MadeSection, data: Path) -> Sample:
    return Sample(
        sample=made.name,
        patient=made.patient,
        slide=made.save_picture(folder),
        data=data,
        format="spaceranger",
        mpp=MPP,
        section=None,
    )


def _v1_mtx(folder: Path, made: MadeSection) -> Sample:
    """Space Ranger 1, Matrix Market only; the run's folder is named."""
    spots, outs = made_spots(), folder / made.name / "outs"
    barcodes, xy_px = spots_under_tissue(spots)
    write_mtx(outs / "filtered_feature_bc_matrix", made.draw(xy_px), barcodes)
    positions = positions_csv(spots, header=False, whole=True)
    write_spatial(outs / "spatial", made, positions, name="tissue_positions_list.csv")
    return _sample(folder, made, folder / made.name)


def _v1_h5(folder: Path, made: MadeSection) -> Sample:
    """Space Ranger 1: filtered and raw matrices, positions without a header."""
    spots, outs = made_spots(), folder / made.name / "outs"
    barcodes, xy_px = all_spots(spots)
    counts = made.draw(xy_px)
    under = np.isin(barcodes, spots_under_tissue(spots)[0])
    write_h5(outs / "raw_feature_bc_matrix.h5", counts, barcodes, software="spaceranger-1.1.0")
    write_h5(
        outs / "filtered_feature_bc_matrix.h5",
        counts[under],
        [name for name, kept in zip(barcodes, under, strict=True) if kept],
        software="spaceranger-1.1.0",
    )
    positions = positions_csv(spots, header=False, whole=True)
    write_spatial(outs / "spatial", made, positions, name="tissue_positions_list.csv")
    return _sample(folder, made, outs)


def _v2_h5(folder: Path, made: MadeSection) -> Sample:
    """Space Ranger 2 as downloaded: prefixed names; the .h5 itself is named."""
    spots, prefix = made_spots(degrees=3), f"V1_{made.name}_"
    barcodes, xy_px = spots_under_tissue(spots)
    data = write_h5(folder / f"{prefix}filtered_feature_bc_matrix.h5", made.draw(xy_px), barcodes)
    positions = positions_csv(spots, header=True)
    write_spatial(folder / "spatial", made, positions, name="tissue_positions.csv", prefix=prefix)
    return _sample(folder, made, data)


def _v3_h5(folder: Path, made: MadeSection) -> Sample:
    """Space Ranger 3 on a slide of 11 mm, with two antibodies beside the genes."""
    spots, outs = made_spots(first_row=100, first_column=200), folder / made.name / "outs"
    barcodes, xy_px = spots_under_tissue(spots)
    counts = sparse.hstack([made.draw(xy_px), sparse.csr_matrix(np.full((len(barcodes), 2), 7))])
    write_h5(
        outs / "filtered_feature_bc_matrix.h5",
        counts,
        barcodes,
        symbols=[*SYMBOLS, "CD3E.1", "PTPRC.1"],
        ids=[*IDS, "CD3E.1", "PTPRC.1"],
        kinds=["Gene Expression"] * len(IDS) + ["Antibody Capture"] * 2,
        software="spaceranger-3.0.0",
    )
    positions = positions_csv(spots, header=True)
    write_spatial(outs / "spatial", made, positions, name="tissue_positions.csv")
    return _sample(folder, made, outs)


def _geo(folder: Path, made: MadeSection) -> Sample:
    """As archives pass it on: flat, prefixed, gzipped, the raw matrix only, no scale factors."""
    spots, prefix = made_spots(), f"GSM123_{made.name}_"
    barcodes, xy_px = all_spots(spots)
    flat = folder / "supplement"
    write_h5(flat / f"{prefix}raw_feature_bc_matrix.h5", made.draw(xy_px), barcodes)
    positions = positions_csv(spots, header=False).encode()
    (flat / f"{prefix}tissue_positions_list.csv.gz").write_bytes(gzip.compress(positions))
    return _sample(folder, made, flat)


def _v2_mtx(folder: Path, made: MadeSection) -> Sample:
    """The plain Matrix Market folder of Cell Ranger 2; the folder itself is named."""
    spots = made_spots()
    barcodes, xy_px = spots_under_tissue(spots)
    data = folder / "filtered_feature_bc_matrix"
    write_mtx(data, made.draw(xy_px), barcodes, version=2)
    positions = positions_csv(spots, header=True)
    write_spatial(folder / "spatial", made, positions, name="tissue_positions.csv")
    return _sample(folder, made, data)


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "spaceranger-v1-mtx": _v1_mtx,
    "spaceranger-v1-h5": _v1_h5,
    "spaceranger-v2-h5": _v2_h5,
    "spaceranger-v3-h5": _v3_h5,
    "spaceranger-geo-raw": _geo,
    "spaceranger-cellranger-v2-mtx": _v2_mtx,
}
