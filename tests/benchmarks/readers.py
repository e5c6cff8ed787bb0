"""Time and peak memory of reading one large section in each kind of layout.

    python tests/benchmarks/readers.py --folder /tmp/readers

Writes the sections first (some minutes, 1 GB), then reads each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from memory import peak_gb
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from layouts import spaceranger, visium_hd, xenium

SPOTS, GENES = 4_992, 18_000
SYMBOLS = [f"GENE{i}" for i in range(GENES)]
IDS = [f"ENSG{i:011}" for i in range(GENES)]
HD_ROWS, HD_COLUMNS = 2_000, 1_750
TRANSCRIPTS, PANEL = 50_000_000, 400


def drawn(spots: int, detected: int, genes: int = GENES) -> sparse.csr_matrix:
    """Counts (spots, genes) with about `detected` genes a spot."""
    rng = np.random.default_rng(0)
    number = spots * detected
    places = rng.integers(spots, size=number), (genes * rng.random(number) ** 3).astype(np.int64)
    table = sparse.csr_matrix((np.ones(number, np.int32), places), shape=(spots, genes))
    table.sum_duplicates()
    return table


def visium(folder: Path) -> dict[str, object]:
    """A whole 6.5 mm capture area."""
    row, half = (index.ravel() for index in np.mgrid[0:78, 0:64])
    column = 2 * half + row % 2
    names = [spaceranger.barcode(r, c) for r, c in zip(row, column, strict=True)]
    spaceranger.write_h5(
        folder / "filtered_feature_bc_matrix.h5", drawn(SPOTS, 3_000), names,
        symbols=SYMBOLS, ids=IDS,
    )  # fmt: skip
    (folder / "spatial").mkdir()
    lines = ["barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"]
    lines += [
        f"{name},1,{r},{c},{346 * r + 500:.1f},{200 * c + 500}"
        for name, r, c in zip(names, row, column, strict=True)
    ]
    (folder / "spatial" / "tissue_positions.csv").write_text("\n".join(lines) + "\n")
    spaceranger.write_scale_factors(folder / "spatial" / "scalefactors_json.json")
    return {"format": "spaceranger", "data": folder}


def hd(folder: Path) -> dict[str, object]:
    """3.5 million bins of 2 µm, pooled to 56 µm."""
    positions = visium_hd.made_bins(2, HD_ROWS, HD_COLUMNS)
    spaceranger_h5 = drawn(len(positions), 8)
    square = folder / "binned_outputs" / "square_002um"
    spaceranger.write_h5(
        square / "filtered_feature_bc_matrix.h5", spaceranger_h5, positions["barcode"].tolist(),
        symbols=SYMBOLS, ids=IDS,
    )  # fmt: skip
    (square / "spatial").mkdir()
    positions.to_parquet(square / "spatial" / "tissue_positions.parquet", index=False)
    spaceranger.write_scale_factors(
        square / "spatial" / "scalefactors_json.json", bin_size_um=2.0, microns_per_pixel=4.0
    )
    return {"format": "visium-hd", "data": folder, "spot_um": 56.0}


def transcripts(folder: Path) -> dict[str, object]:
    """50 million transcripts of a panel of 400 genes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = pa.array([f"GENE{i}" for i in range(PANEL)])
    writer = None
    for _ in range(TRANSCRIPTS // 1_000_000):
        n = 1_000_000
        genes = pa.DictionaryArray.from_arrays(pa.array(rng.integers(PANEL, size=n)), names)
        block = pa.table(
            {
                "feature_name": genes.cast(pa.string()),
                "x_location": pa.array(rng.uniform(0, 7_000, n).astype(np.float32)),
                "y_location": pa.array(rng.uniform(0, 9_000, n).astype(np.float32)),
                "qv": pa.array(rng.uniform(15, 40, n).astype(np.float32)),
                "is_gene": pa.array(np.ones(n, bool)),
            }
        )
        if writer is None:
            writer = pq.ParquetWriter(folder / "transcripts.parquet", block.schema)
        writer.write_table(block)
    if writer is not None:
        writer.close()
    xenium.write_experiment(folder, 3)
    alignment = xenium.write_alignment(folder / "he_imagealignment.csv")
    return {"format": "xenium", "data": folder, "spots": alignment}


def h5ad(folder: Path) -> dict[str, object]:
    """An AnnData with counts and their logarithm."""
    folder.mkdir(parents=True)
    counts = drawn(SPOTS, 3_000)
    adata = anndata.AnnData(
        counts.log1p().astype(np.float32),
        layers={"counts": counts},
        obs=pd.DataFrame(index=[f"s{i}" for i in range(SPOTS)]),
        var=pd.DataFrame({"gene_ids": IDS}, index=SYMBOLS),
        obsm={"spatial": np.random.default_rng(0).uniform(0, 20_000, (SPOTS, 2))},
    )
    adata.write_h5ad(folder / "section.h5ad", compression="gzip")
    return {"format": "h5ad", "data": folder / "section.h5ad"}


def tsv(folder: Path) -> dict[str, object]:
    """Legacy ST as text: a row a spot, a column a gene."""
    counts = folder / "ST-cnts" / "A1.tsv"
    counts.parent.mkdir(parents=True)
    row, column = np.divmod(np.arange(SPOTS), 64)
    table = drawn(SPOTS, 3_000)
    with counts.open("w") as file:
        file.write("\t" + "\t".join(SYMBOLS) + "\n")
        for i in range(SPOTS):
            values = table[i].toarray().ravel().tolist()
            file.write(f"{column[i]}x{row[i]}\t" + "\t".join(map(str, values)) + "\n")
    lines = ["x\ty\tpixel_x\tpixel_y\tselected"]
    lines += [
        f"{c}\t{r}\t{290 * c + 400}\t{290 * r + 400}\t1" for c, r in zip(column, row, strict=True)
    ]
    (folder / "ST-cnts" / "A1_selection.tsv").write_text("\n".join(lines) + "\n")
    return {"format": "her2st", "data": counts}


WRITERS = {"visium": visium, "hd": hd, "xenium": transcripts, "h5ad": h5ad, "tsv": tsv}


def read(sample: dict[str, object]) -> None:
    """Read one sample; print its size, the time it took and the peak memory of this process."""
    from hypergene.st import Sample, read_sample

    given = {key: Path(str(sample[key])) for key in ("data", "spots") if key in sample}
    start = time.perf_counter()
    adata = read_sample(
        Sample("made", None, None, format=str(sample["format"]), mpp=None, section=None,
               spot_um=sample.get("spot_um"), **given)
    )  # fmt: skip
    seconds = time.perf_counter() - start
    size = f"{adata.n_obs:,} spots × {adata.n_vars:,} genes, {adata.X.nnz / 1e6:.1f} M values"
    print(f"{sample['format']:12} {size}: {seconds:.1f} s, {peak_gb():.2f} GB peak", flush=True)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "readers")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(json.loads(options.read))
        return
    for name, write in WRITERS.items():
        note = options.folder / f"{name}.json"
        if not note.is_file():
            sample = write(options.folder / name)
            note.write_text(json.dumps(sample, default=str))
        subprocess.run([sys.executable, __file__, "--read", note.read_text()], check=True)


if __name__ == "__main__":
    main()
