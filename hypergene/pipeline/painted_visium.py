"""A small Visium cohort painted from nothing, to try training and evaluation on.

The slides are those of :mod:`hypergene.pipeline.painted`; the counts are drawn so that genes follow
what was painted: each belongs to a programme (tumour, stroma, lymphoid, gland, edge, flat) and its
rate rises with how much of that lies under the spot. Patients differ in stain and in the level of
every gene, spots in depth. The genes are named after their programme and not after real ones: what
is learnt here is learnt of a picture, and must never be taken for biology.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse
from scipy.ndimage import uniform_filter

from hypergene.errors import OutputError
from hypergene.output import atomic_path
from hypergene.pipeline.painted import Painting, paint_tissue, write_slide
from hypergene.spots import Spots, lay_spots, layout_named

PATIENTS = ("P1", "P2", "P3")
PROGRAMMES = {"TUMOUR": 25, "STROMA": 25, "LYMPHOID": 20, "GLAND": 20, "EDGE": 10, "FLAT": 20}
"""Programme -> number of genes, named ``TUMOUR-01`` and so on."""

_SIZE_PX, _MPP = 1040, 1.25
_RISE = 2.0
"""Natural log of how much more a gene is counted where its programme fills the spot."""
_ABOUT = """\
Painted by hypergene (hypergene data example). No tissue, no measurement.

slides/          H&E-like pictures, painted; new-patient.tiff has no counts
visium/*/outs/   folders as Space Ranger writes them, with counts that follow the pictures
sections.csv     the samples sheet: three patients with two sections each

Nothing learnt from this says anything about biology.
"""


def write_painted_visium(folder: Path) -> Path:
    """Write three patients with two painted sections each, and a slide without counts.

    Parameters
    ----------
    folder
        Made, and whole or not there at all: ``sections.csv``, ``slides/``, ``visium/``. A section
        is 1.3 mm wide at 1.25 µm per px, with some 100 spots of 55 µm under its tissue and counts
        of 120 genes.

    Returns
    -------
    pathlib.Path
        The samples sheet in `folder`.

    Raises
    ------
    OutputError
        If `folder` is there already, or cannot be written.
    """
    if folder.exists():
        raise OutputError(
            f"{folder} exists already.", hint="Give another folder with --out, or remove this one."
        )
    rng = np.random.default_rng(7)
    level = rng.lognormal(np.log(20), 0.8, sum(PROGRAMMES.values()))
    with atomic_path(folder, overwrite=False) as draft:
        (draft / "slides").mkdir(parents=True)
        rows = [["sample", "patient", "slide", "data", "format"]]
        for number, patient in enumerate(PATIENTS):
            dyes = (float(rng.uniform(0.85, 1.15)), float(rng.uniform(0.85, 1.15)))
            own = level * rng.lognormal(0, 0.25, len(level))
            for letter in "ab":
                seed = 10 * number + "ab".index(letter)
                sample = f"{patient}-{letter}"
                painting = paint_tissue(_SIZE_PX, mpp=_MPP, seed=seed, dyes=dyes)
                slide, outs = f"slides/{sample}.tiff", f"visium/{sample}/outs"
                write_slide(draft / slide, painting.image, mpp=_MPP)
                _write_outs(draft / outs, painting, own, rng)
                rows.append([sample, patient, slide, outs, "spaceranger"])
        new = paint_tissue(_SIZE_PX, mpp=_MPP, seed=99, dyes=(1.05, 0.95))
        write_slide(draft / "slides" / "new-patient.tiff", new.image, mpp=_MPP)
        (draft / "README.txt").write_text(_ABOUT, encoding="utf-8")
        with (draft / "sections.csv").open("w", newline="", encoding="utf-8") as sheet:
            csv.writer(sheet, lineterminator="\n").writerows(rows)
    return folder / "sections.csv"


def gene_names() -> list[str]:
    """Return the names of the painted genes, programme by programme."""
    return [f"{name}-{n:02}" for name, many in PROGRAMMES.items() for n in range(1, many + 1)]


def _write_outs(
    outs: Path, painting: Painting, level: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Write a section's counts and positions as Space Ranger 3 does."""
    spots = lay_spots(layout_named("visium"), (_SIZE_PX, _SIZE_PX), (_MPP, _MPP))
    shares = _shares(painting, spots)
    in_tissue = shares.pop("tissue") >= 0.5
    barcodes = [_barcode(int(r), int(c)) for r, c in zip(*_places(spots), strict=True)]

    amount = np.repeat(
        np.stack([shares[name] for name in PROGRAMMES], axis=1), list(PROGRAMMES.values()), axis=1
    )
    # Where cells are crowded more is counted of everything, as in real sections.
    crowded = shares["TUMOUR"] + shares["LYMPHOID"]
    depth = (rng.lognormal(0, 0.3, len(barcodes)) * (0.6 + 0.8 * crowded))[:, None]
    counts = rng.poisson(depth * level * np.exp(_RISE * (amount - 0.5))).astype(np.int32)
    under = np.flatnonzero(in_tissue)
    _write_matrix(outs, sparse.csr_matrix(counts[under]), [barcodes[i] for i in under])

    spatial = outs / "spatial"
    spatial.mkdir()
    with (spatial / "tissue_positions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        places = ("barcode", "in_tissue", "array_row", "array_col")
        writer.writerow([*places, "pxl_row_in_fullres", "pxl_col_in_fullres"])
        for i, (row, column) in enumerate(zip(*_places(spots), strict=True)):
            x, y = spots.xy_px[i]
            writer.writerow([barcodes[i], int(in_tissue[i]), row, column, float(y), float(x)])
    factors = {
        "spot_diameter_fullres": 65 / _MPP,  # what Space Ranger says of spots of 55 µm
        "fiducial_diameter_fullres": 105 / _MPP,
        "tissue_hires_scalef": 0.5,
        "tissue_lowres_scalef": 0.25,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")
    picture = Image.fromarray(painting.image)
    picture.reduce(2).save(spatial / "tissue_hires_image.png")
    picture.reduce(4).save(spatial / "tissue_lowres_image.png")


def _shares(painting: Painting, spots: Spots) -> dict[str, NDArray[np.float64]]:
    """Return how much of each programme, and of tissue, lies under each spot, 0..1."""
    rest = np.clip(painting.tissue - painting.tumour - painting.infiltrate - painting.glands, 0, 1)
    around = uniform_filter(painting.tumour, round(300 / _MPP))
    fields = {
        "tissue": painting.tissue,
        "TUMOUR": painting.tumour,
        "STROMA": rest,
        "LYMPHOID": np.minimum(painting.infiltrate, 1),
        "GLAND": painting.glands,
        "EDGE": 4 * around * (1 - around),
        "FLAT": np.full_like(rest, 0.5),
    }
    x, y = np.rint(spots.xy_px).astype(int).T
    width = round(spots.layout.diameter_um / _MPP)
    return {
        name: uniform_filter(field.astype(np.float64), width)[y, x]
        for name, field in fields.items()
    }


def _places(spots: Spots) -> tuple[list[int], list[int]]:
    return spots.array_row.tolist(), spots.array_col.tolist()


def _barcode(row: int, column: int) -> str:
    """Return a barcode of 16 bases, another one for every place of the array."""
    number = row * 128 + column
    return "".join("ACGT"[number >> 2 * i & 3] for i in range(16)) + "-1"


def _write_matrix(outs: Path, counts: sparse.csr_matrix, barcodes: list[str]) -> None:
    """Write counts (spots, genes) as ``filtered_feature_bc_matrix.h5``, which is genes × spots."""
    outs.mkdir(parents=True)
    genes = np.array(gene_names(), dtype=np.bytes_)
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "w") as file:
        file.attrs.update(chemistry_description="painted", software_version="spaceranger-3.0.0")
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(barcodes, dtype=np.bytes_)
        matrix["data"] = counts.data
        matrix["indices"] = counts.indices.astype(np.int64)
        matrix["indptr"] = counts.indptr.astype(np.int64)
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        features = matrix.create_group("features")
        features["id"] = features["name"] = genes
        features["feature_type"] = np.full(len(genes), b"Gene Expression")
        features["genome"] = np.full(len(genes), b"painted")
