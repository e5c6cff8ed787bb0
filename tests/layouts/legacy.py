"""Legacy ST: HER2ST, ST-Net, the ST Pipeline, STimage-1K4M, and what R writes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hypergene.st import Sample
from layouts.made import IDS, MPP, SYMBOLS, MadeSection

PITCH_PX = 50


@dataclass(frozen=True, eq=False)
class Grid:
    """30 spots of a square array on the tissue, and those of the array around it."""

    section: MadeSection

    @property
    def places(self) -> list[tuple[int, int]]:
        """Array column and row of each spot."""
        return [(column, row) for row in range(5, 10) for column in range(10, 16)]

    def xy_px(self, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """Centres, shape (n, 2)."""
        return (np.asarray(places) - (10, 5)) * PITCH_PX + (75, 80)

    def counts(self) -> list[list[int]]:
        """Counts (spots, genes)."""
        return self.section.draw(self.xy_px(self.places)).toarray().tolist()


def write_text(path: Path, lines: Sequence[str], end: str = "\n") -> Path:
    """Write lines, gzipped if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def _her2st(folder: Path, section: MadeSection, *, plain: bool) -> Sample:
    grid, name = Grid(section), section.name
    end = "\r\n" if plain else "\n"
    counts = ["\t".join(["", *SYMBOLS])]
    spots = ["x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected"]
    for (x, y), (px, py), row in zip(
        grid.places, grid.xy_px(grid.places), grid.counts(), strict=True
    ):
        counts.append("\t".join([f"{x}x{y}", *map(str, row)]))
        spots.append(f"{x}\t{y}\t{x + 0.02:.2f}\t{y - 0.03:.2f}\t{px}\t{py}\t1")
    data = folder / "ST-cnts" / f"{name}.tsv{'' if plain else '.gz'}"
    beside = folder / "ST-cnts" if plain else folder / "ST-spotfiles"
    write_text(data, counts, end)
    write_text(beside / f"{name}_selection.tsv", spots, end)
    slide = section.save_picture(folder / "ST-imgs" / name[0] / name, f"{name}_HE.jpg")
    return Sample(name, section.patient, slide, data, "her2st", MPP, name)


def her2st(folder: Path, section: MadeSection) -> Sample:
    """The 36 sections of Andersson et al. 2021: gzipped counts, a folder a kind of file."""
    return _her2st(folder, section, plain=False)


def her2st_plain(folder: Path, section: MadeSection) -> Sample:
    """The same, unpacked and saved on Windows, with the positions beside the counts."""
    return _her2st(folder, section, plain=True)


def stnet(folder: Path, section: MadeSection) -> Sample:
    """He et al. 2020: counts of the whole array, by Ensembl id; the prefixes BC and BT differ."""
    grid, name = Grid(section), f"23209_{section.name}"
    around = [(column, row) for row in (2, 3) for column in range(10, 16)]
    counts = ["\t".join(["", *IDS])]
    for (x, y), row in zip(grid.places, grid.counts(), strict=True):
        counts.append("\t".join([f"{x}x{y}", *map(str, row)]))
    counts += ["\t".join([f"{x}x{y}", *["1"] * len(IDS)]) for x, y in around]
    spots = [",X,Y"]
    for (x, y), (px, py) in zip(grid.places, grid.xy_px(grid.places), strict=True):
        spots.append(f"{x}x{y},{px},{py}")
    data = write_text(folder / f"BC{name}_stdata.tsv.gz", counts)
    write_text(folder / f"spots_BT{name}.csv.gz", spots)
    labels = [f"{section.name}_{x}_{y}\t{x}\t{y}\tL1\ttumor" for x, y in grid.places]
    write_text(folder / f"BC{name}_Coords.tsv", ["spot\tx\ty\ttumor", *labels], "\r")
    slide = section.save_picture(folder, f"HE_BT{name}.jpg")
    return Sample(section.name, section.patient, slide, data, "tables", MPP, None)


def st_pipeline(folder: Path, section: MadeSection) -> Sample:
    """Ji et al. 2020 as in GEO: with HTSeq's counter, positions of tissue spots only."""
    grid, name = Grid(section), f"{section.name}_ST_rep1"
    counts = ["\t".join(["", "__no_feature", *SYMBOLS])]
    spots = ["x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y"]
    for (x, y), (px, py), row in zip(
        grid.places, grid.xy_px(grid.places), grid.counts(), strict=True
    ):
        counts.append("\t".join([f"{x}x{y}", "500", *map(str, row)]))
        spots.append(f"{x}\t{y}\t{x + 0.02:.2f}\t{y - 0.03:.2f}\t{px:.1f}\t{py:.1f}")
    data = write_text(folder / f"GSM4284316_{name}_stdata.tsv.gz", counts)
    write_text(folder / f"GSM4284316_spot_data-selection-{name}.tsv.gz", spots)
    slide = section.save_picture(folder, f"GSM4284316_{name}.jpg")
    return Sample(section.name, section.patient, slide, data, "tables", MPP, None)


def stimage(folder: Path, section: MadeSection) -> Sample:
    """STimage-1K4M: a folder a kind of file, the section in every name, radius given."""
    grid, name = Grid(section), f"Human_Breast_Made_2024_ST_{section.name}"
    counts, coord = [",".join(["", *SYMBOLS])], [",yaxis,xaxis,r"]
    for (x, y), (px, py), row in zip(
        grid.places, grid.xy_px(grid.places), grid.counts(), strict=True
    ):
        counts.append(",".join([f"{name}_{x}x{y}", *(f"{count}.0" for count in row)]))
        coord.append(f"{name}_{x}x{y},{py}.0,{px}.0,12.5")
    data = write_text(folder / "gene_exp" / f"{name}_count.csv", counts)
    write_text(folder / "coord" / f"{name}_coord.csv", coord)
    slide = section.save_picture(folder / "image", f"{name}.png")
    return Sample(section.name, section.patient, slide, data, "tables", MPP, None)


def transposed_csv(folder: Path, section: MadeSection) -> Sample:
    """What write.csv makes of an R matrix of genes × spots: quoted, X before a spot's place."""
    grid = Grid(section)
    counts = [",".join(['""', *(f'"X{x}x{y}"' for x, y in grid.places)])]
    for symbol, row in zip(SYMBOLS, np.transpose(grid.counts()).tolist(), strict=True):
        counts.append(",".join([f'"{symbol}"', *map(str, row)]))
    spots = ['"","pixel_x","pixel_y"']
    for (x, y), (px, py) in zip(grid.places, grid.xy_px(grid.places), strict=True):
        spots.append(f'"{x}x{y}",{px},{py}')
    data = write_text(folder / f"{section.name}_counts.csv", counts)
    write_text(folder / f"{section.name}_spots.csv", spots)
    slide = section.save_picture(folder)
    return Sample(section.name, section.patient, slide, data, "tables", MPP, None)


def transposed_tsv(folder: Path, section: MadeSection) -> Sample:
    """Thrane et al. 2018: genes × spots, genes by symbol and id; the sheet names the positions.

    The positions are what write.table makes of a data frame: its header leaves out the row names.
    """
    grid = Grid(section)
    counts = ["\t".join(["gene", *(f"{x}x{y}" for x, y in grid.places)])]
    for symbol, identifier, row in zip(
        SYMBOLS, IDS, np.transpose(grid.counts()).tolist(), strict=True
    ):
        counts.append("\t".join([f"{symbol} {identifier}", *map(str, row)]))
    spots = ["imagerow\timagecol"]
    for (x, y), (px, py) in zip(grid.places, grid.xy_px(grid.places), strict=True):
        spots.append(f"{x}_{y}\t{py}\t{px}")
    data = write_text(folder / f"ST_{section.name}_counts.tsv", counts)
    named = write_text(folder / "aligned" / "from_r.txt", spots)
    slide = section.save_picture(folder)
    return Sample(section.name, section.patient, slide, data, "tables", MPP, None, spots=named)


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "her2st": her2st,
    "her2st-plain": her2st_plain,
    "tables-stnet": stnet,
    "tables-st-pipeline": st_pipeline,
    "tables-stimage": stimage,
    "tables-transposed-csv": transposed_csv,
    "tables-transposed-tsv": transposed_tsv,
}
