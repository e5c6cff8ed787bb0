"""A made section as a Xenium output folder, in the layouts of several versions.

The H&E image lies turned by a quarter and shifted on the morphology image, as images of slides that
were put into the scanner the other way round do.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy import io, sparse

from hypergene.st import Sample
from layouts.made import IDS, MPP, SYMBOLS, MadeSection

PIXEL_SIZE = 0.2125
"""µm per px of the morphology image, on every instrument."""
SPOT_UM = 220.0
CONTROLS = (
    *("NegControlProbe_00042", "NegControlCodeword_0502", "antisense_PROKR2", "BLANK_0006"),
    *("UnassignedCodeword_0013", "DeprecatedCodeword_0317", "Intergenic_Region_10190"),
)
CATEGORIES = (
    *("negative_control_probe", "negative_control_codeword", "negative_control_probe"),
    *("unassigned_codeword", "unassigned_codeword", "deprecated_codeword", "genomic_control_probe"),
)
_SCALE = MPP / PIXEL_SIZE
ALIGNMENT = np.array([[0.0, _SCALE, 300.0], [-_SCALE, 0.0, 400 * _SCALE + 500.0], [0.0, 0.0, 1.0]])
"""Pixels of the picture -> pixels of the morphology image."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run on the section measured: transcripts, and the squares they were drawn in."""

    row: np.ndarray
    column: np.ndarray
    xy_px: np.ndarray
    counts: np.ndarray
    """int (squares, genes): what must come out."""
    feature: np.ndarray
    """Number of each transcript's gene; above those the controls."""
    x_um: np.ndarray
    y_um: np.ndarray
    qv: np.ndarray
    cell: np.ndarray
    cell_xy_um: np.ndarray


def to_picture(xy_um: np.ndarray) -> np.ndarray:
    """Pixels of the picture from µm of the run, shape (n, 2)."""
    homogeneous = np.column_stack([xy_um / PIXEL_SIZE, np.ones(len(xy_um))])
    return (homogeneous @ np.linalg.inv(ALIGNMENT).T)[:, :2]


def made_run(section: MadeSection, side_um: float = SPOT_UM) -> Run:
    """Draw transcripts in all squares whose centre is on tissue; three cells a square."""
    rng = np.random.default_rng(section.seed + 2000)
    row, column = (index.ravel() for index in np.mgrid[0:9, 0:9])
    xy_px = to_picture((np.column_stack([column, row]) + 0.5) * side_um)
    on_tissue = ((xy_px > [35, 35]) & (xy_px < [365, 325])).all(axis=1)
    row, column, xy_px = row[on_tissue], column[on_tissue], xy_px[on_tissue]
    counts = section.draw(xy_px).toarray()
    # Controls and transcripts of low quality lie everywhere, also where nothing else does.
    square, feature = (
        index.repeat(counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1)
    )
    noise = 40 * len(CONTROLS)
    square = np.concatenate([square, rng.integers(len(row), size=noise)])
    feature = np.concatenate([feature, np.arange(noise) % (len(SYMBOLS) + len(CONTROLS))])
    is_real = np.arange(len(square)) < len(square) - noise
    qv = np.where(is_real | (feature >= len(SYMBOLS)), rng.uniform(20, 40, len(square)), 19.9)
    within = rng.uniform(0.02, 0.98, (len(square), 2))
    cells = (
        np.column_stack([column, row])[:, None] + [[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]]
    ) * side_um
    return Run(
        row=row,
        column=column,
        xy_px=xy_px,
        counts=counts,
        feature=feature,
        x_um=(column[square] + within[:, 0]) * side_um,
        y_um=(row[square] + within[:, 1]) * side_um,
        qv=qv,
        cell=np.where(
            rng.random(len(square)) < 0.2, -1, square * 3 + rng.integers(3, size=len(square))
        ),
        cell_xy_um=cells.reshape(-1, 2),
    )


def transcript_table(run: Run, version: int) -> pa.Table:
    """The columns of transcripts.parquet as version 1, 2 or 3 of the onboard analysis has them."""
    names = np.array([*SYMBOLS, *CONTROLS])[run.feature]
    order = np.random.default_rng(7).permutation(len(names))
    text = pa.binary() if version == 1 else pa.string()
    cell = (
        pa.array(run.cell[order] + (run.cell[order] >= 0), pa.int32())
        if version == 1
        else pa.array(["UNASSIGNED" if c < 0 else cell_id(c) for c in run.cell[order]], text)
    )
    columns = {
        "transcript_id": pa.array(281474976710656 + np.arange(len(names)), pa.uint64()),
        "cell_id": cell,
        "overlaps_nucleus": pa.array(np.arange(len(names)) % 2, pa.uint8()),
        "feature_name": pa.array([name.encode() for name in names[order]], pa.binary()).cast(text),
        "x_location": pa.array(run.x_um[order], pa.float32()),
        "y_location": pa.array(run.y_um[order], pa.float32()),
        "z_location": pa.array(np.full(len(names), 14.2), pa.float32()),
        "qv": pa.array(run.qv[order], pa.float32()),
    }
    if version > 1:
        columns["fov_name"] = pa.array(["G3"] * len(names), text)
        columns["nucleus_distance"] = pa.array(np.full(len(names), 1.5), pa.float32())
        columns["codeword_index"] = pa.array(run.feature[order], pa.int32())
    if version > 2:
        category = np.array([*["predesigned_gene"] * 15, *["custom_gene"] * 5, *CATEGORIES])
        columns["codeword_category"] = pa.array(category[run.feature[order]], text)
        columns["is_gene"] = pa.array(run.feature[order] < len(SYMBOLS))
    return pa.table(columns)


def cell_id(number: int) -> str:
    """The identifier of a cell: its number in letters a-p, and the suffix of the data set."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in f"{number + 0x1A2B:08x}") + "-1"


def write_experiment(outs: Path, version: int) -> None:
    """Write experiment.xenium, shortened."""
    manifest = {
        "major_version": 5,
        "run_name": "made",
        "region_name": "Region_1",
        "preservation_method": "FFPE",
        "panel_name": "Made Panel",
        "panel_organism": "Human",
        "panel_tissue_type": "Breast",
        "panel_num_targets_predesigned": 15,
        "panel_num_targets_custom": 5,
        "pixel_size": PIXEL_SIZE,
        "analysis_sw_version": f"xenium-{version}.0.0.0",
        "xenium_explorer_files": {"transcripts_zarr_filepath": "transcripts.zarr.zip"},
    }
    (outs / "experiment.xenium").write_text(json.dumps(manifest, indent=2))


def write_panel(outs: Path) -> None:
    """Write gene_panel.json: the genes, and one gene of which no transcript was found."""
    genes = [*zip(SYMBOLS, IDS, strict=True), ("SILENT1", "ENSG00000999999")]
    targets = [
        {"codewords": [i], "type": {"data": {"id": number, "name": name}, "descriptor": "gene"}}
        for i, (name, number) in enumerate(genes)
    ]
    targets += [
        {"codewords": [500 + i], "type": {"data": {"name": name}, "descriptor": category}}
        for i, (name, category) in enumerate(zip(CONTROLS, CATEGORIES, strict=True))
    ]
    payload = {"panel": {"species": "Human"}, "targets": targets}
    (outs / "gene_panel.json").write_text(json.dumps({"metadata": {}, "payload": payload}))


def write_alignment(path: Path, matrix: np.ndarray = ALIGNMENT) -> Path:
    """Write a matrix as Xenium Explorer exports it."""
    path.write_text("".join(",".join(repr(float(x)) for x in row) + "\n" for row in matrix))
    return path


def write_cells(outs: Path, run: Run, *, kind: str) -> None:
    """Write cells.parquet (string identifiers) or cells.csv.gz (numbers)."""
    numbers = np.arange(len(run.cell_xy_um))
    x_um, y_um = run.cell_xy_um.T
    if kind == "parquet":
        columns = {"cell_id": [cell_id(i) for i in numbers], "x_centroid": x_um, "y_centroid": y_um}
        columns["transcript_counts"] = np.ones(len(numbers), dtype=np.int64)
        parquet.write_table(pa.table(columns), outs / "cells.parquet", compression="zstd")
        return
    lines = ['"cell_id","x_centroid","y_centroid","transcript_counts","cell_area"']
    lines += [f"{i + 1},{x},{y},1,50.5" for i, x, y in zip(numbers, x_um, y_um, strict=True)]
    (outs / "cells.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))


def cell_counts(run: Run) -> sparse.csc_matrix:
    """Counts (genes and controls, cells): transcripts of good quality inside cells."""
    good = (run.qv >= 20) & (run.cell >= 0)
    at = (run.feature[good], run.cell[good])
    shape = (len(SYMBOLS) + len(CONTROLS), len(run.cell_xy_um))
    return sparse.csc_matrix((np.ones(good.sum(), dtype=np.int32), at), shape=shape)


def _features() -> tuple[list[str], list[str], list[str]]:
    kinds = ["Negative Control Probe", "Negative Control Codeword", "Negative Control Probe"]
    kinds += ["Unassigned Codeword"] * 2 + ["Deprecated Codeword", "Genomic Control"]
    return [*IDS, *CONTROLS], [*SYMBOLS, *CONTROLS], ["Gene Expression"] * len(SYMBOLS) + kinds


def write_h5(outs: Path, run: Run) -> None:
    """Write cell_feature_matrix.h5."""
    counts = cell_counts(run)
    with h5py.File(outs / "cell_feature_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        packed = {"compression": "gzip", "compression_opts": 1}
        barcodes = [cell_id(i).encode() for i in range(counts.shape[1])]
        group.create_dataset("barcodes", data=np.array(barcodes), **packed)
        group.create_dataset("data", data=counts.data, **packed)
        group.create_dataset("indices", data=counts.indices.astype(np.int64), **packed)
        group.create_dataset("indptr", data=counts.indptr.astype(np.int64), **packed)
        group.create_dataset("shape", data=np.array(counts.shape, dtype=np.int32))
        features = group.create_group("features")
        ids, names, kinds = _features()
        for name, texts in (("id", ids), ("name", names), ("feature_type", kinds)):
            features.create_dataset(name, data=np.array(texts, dtype="S"))


def write_mtx(outs: Path, run: Run) -> None:
    """Write the folder cell_feature_matrix, with numbers for cells."""
    folder = outs / "cell_feature_matrix"
    folder.mkdir()
    counts = cell_counts(run)
    with gzip.open(folder / "matrix.mtx.gz", "wb", 1) as file:
        io.mmwrite(file, counts.tocoo(), field="integer")
    rows = ["\t".join(row) for row in zip(*_features(), strict=True)]
    (folder / "features.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode(), 1))
    cells = "\n".join(str(i + 1) for i in range(counts.shape[1]))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(cells.encode(), 1))


def _folder(folder: Path, section: MadeSection, version: int) -> tuple[Path, Run]:
    outs = folder / f"output-XETG00042__0003392__{section.name}__20250101__101010"
    outs.mkdir(parents=True)
    write_experiment(outs, version)
    section.save_picture(folder, f"{section.name}_he_image.png")
    return outs, made_run(section)


def _sample(folder: Path, section: MadeSection, data: Path, spots: Path | None = None) -> Sample:
    return Sample(
        sample=section.name,
        patient=section.patient,
        slide=folder / f"{section.name}_he_image.png",
        data=data,
        format="xenium",
        mpp=None,
        section=None,
        spots=spots,
        spot_um=SPOT_UM,
    )


def write_transcripts(folder: Path, section: MadeSection) -> Sample:
    """Version 3 and later: is_gene, codeword_category; the alignment inside."""
    outs, run = _folder(folder, section, 3)
    write_panel(outs)
    table = transcript_table(run, 3)
    parquet.write_table(table, outs / "transcripts.parquet", compression="zstd")
    write_alignment(outs / f"{section.name}_he_imagealignment.csv")
    return _sample(folder, section, outs)


def write_transcripts_v2(folder: Path, section: MadeSection) -> Sample:
    """Version 2: only the panel says what is a gene; the alignment named in the sheet."""
    outs, run = _folder(folder, section, 2)
    write_panel(outs)
    table = transcript_table(run, 2)
    parquet.write_table(table, outs / "transcripts.parquet", compression="zstd")
    alignment = write_alignment(folder / f"{section.name}_he_image_matrix.csv")
    return _sample(folder, section, outs / "transcripts.parquet", alignment)


def write_transcripts_v1(folder: Path, section: MadeSection) -> Sample:
    """Version 1: bytes for names, numbers for cells, no panel; the alignment beside the folder."""
    outs, run = _folder(folder, section, 1)
    table = transcript_table(run, 1)
    parquet.write_table(table, outs / "transcripts.parquet", row_group_size=5000)
    write_alignment(folder / f"{section.name}_he_imagealignment.csv")
    write_alignment(folder / f"{section.name}_if_imagealignment.csv", np.eye(3))
    return _sample(folder, section, outs)


def write_cells_h5(folder: Path, section: MadeSection) -> Sample:
    """No transcripts: cells.parquet and cell_feature_matrix.h5."""
    outs, run = _folder(folder, section, 3)
    write_cells(outs, run, kind="parquet")
    write_h5(outs, run)
    write_alignment(outs / f"{section.name}_he_imagealignment.csv")
    return _sample(folder, section, outs)


def write_cells_mtx(folder: Path, section: MadeSection) -> Sample:
    """No transcripts, and text files throughout: cells.csv.gz and the folder of the matrix."""
    outs, run = _folder(folder, section, 1)
    write_cells(outs, run, kind="csv")
    write_mtx(outs, run)
    write_alignment(outs / f"{section.name}_he_imagealignment.csv")
    return _sample(folder, section, outs)


def write_run(
    folder: Path,
    *,
    feature=("ERBB2", "ERBB2", "KRT8", "KRT8"),
    x=(10.0, 20.0, 60.0, 70.0),
    y=(10.0, 20.0, 10.0, 115.0),
    qv=(40.0, 40.0, 40.0, 40.0),
    kind: pa.DataType | None = None,
    alignment: str | None = "1,0,0\n0,1,0\n0,0,1\n",
    experiment: str = '{"pixel_size": 0.2125}',
    panel: str | None = None,
    **columns,
) -> Path:
    """A run of a few transcripts; its image is the morphology image."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.xenium").write_text(experiment)
    if alignment is not None:
        (folder / "A_he_imagealignment.csv").write_text(alignment)
    if panel is not None:
        (folder / "gene_panel.json").write_text(panel)
    given = {"feature_name": pa.array(feature, kind), "x_location": x, "y_location": y, "qv": qv}
    table = {name: values for name, values in (given | columns).items() if values is not None}
    parquet.write_table(pa.table(table), folder / "transcripts.parquet")
    return folder


def panel_of(*genes: str, controls: tuple[str, ...] = ()) -> str:
    """The text of a gene_panel.json."""
    targets = [{"type": {"descriptor": "gene", "data": {"name": g, "id": f"E{g}"}}} for g in genes]
    targets += [{"type": {"descriptor": "blank", "data": {"name": g}}} for g in controls]
    return json.dumps({"payload": {"targets": targets}})


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "xenium-transcripts": write_transcripts,
    "xenium-transcripts-v2": write_transcripts_v2,
    "xenium-transcripts-v1": write_transcripts_v1,
    "xenium-cells": write_cells_h5,
    "xenium-cells-mtx": write_cells_mtx,
}
