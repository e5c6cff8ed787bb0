"""Which slides are to be predicted: files, the files of a folder, or the lines of a sheet."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypergene.errors import DataError, UsageError
from hypergene.pipeline.each import refuse_clashes
from hypergene.pipeline.predict import PredictOptions
from hypergene.pipeline.slide_list import SLIDES
from hypergene.st.table import Table, read_table

_log = logging.getLogger(__name__)

_COLUMNS = ("sample", "slide", "mpp", "coords", "tissue")
_OF_TRAINING = ("patient", "data", "format", "section", "spots", "spot_um", "species")


@dataclass(frozen=True)
class Job:
    """One slide to predict.

    Attributes
    ----------
    name
        Of the output, without its ending.
    slide
        The slide file.
    out
        Folder for the output.
    options
        How; with what a sheet says of this slide.
    """

    name: str
    slide: Path
    out: Path
    options: PredictOptions

    @property
    def target(self) -> Path:
        """The output."""
        return self.out / f"{self.name}.{self.options.format}"

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The output, and the map of its quality where one is drawn."""
        maps = self.out / f"{self.name}.qc.png"
        return (self.target, maps) if self.options.qc else (self.target,)


def list_jobs(
    slides: Sequence[Path], sheet: Path | None, out: Path | None, options: PredictOptions
) -> list[Job]:
    """Return one job a slide.

    Parameters
    ----------
    slides
        Slide files, and folders of which every slide file is taken (those directly in it, by
        name, known by their ending).
    sheet
        A CSV file with the column slide and, if wanted, sample (name of the output), mpp, coords
        and tissue, which go before the options; relative paths are relative to the sheet. Lines
        without a slide are left out, so a sheet for training serves as well.
    out
        Folder for the outputs; None = beside each slide, for slide files only.
    options
        Of all slides.

    Raises
    ------
    UsageError
        Nothing is named; both slides and a sheet are; a folder or sheet without `out`; two slides
        would be written to one output.
    DataError
        A folder without slides, or a sheet that makes no sense.
    """
    if bool(slides) == (sheet is not None):
        raise UsageError(
            "Both slides and a sheet of samples are given."
            if slides
            else "There is no slide to predict.",
            hint="Give slide files, a folder of slides, or --samples SHEET.",
        )
    if out is None and (sheet is not None or any(path.is_dir() for path in slides)):
        raise UsageError(
            "There is no folder for the results of so many slides.",
            hint="Give one with --out, e.g. --out predictions.",
        )
    if sheet is not None:
        assert out is not None
        return _of_sheet(sheet, out, options)
    files = [file for path in slides for file in (_of_folder(path) if path.is_dir() else [path])]
    refuse_clashes(files, out)
    return [Job(file.stem, file, file.parent if out is None else out, options) for file in files]


def _of_folder(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SLIDES and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise DataError(
            f"There is no slide in {folder}.",
            hint=f"Slides are known by their ending: {', '.join(sorted(SLIDES))}.",
        )
    return files


def _of_sheet(sheet: Path, out: Path, options: PredictOptions) -> list[Job]:
    table = read_table(sheet, ",")
    table.require("slide")
    unknown = [name for name in table.columns if name not in _COLUMNS + _OF_TRAINING]
    if unknown:
        _log.warning("%s: columns %s are not used", sheet, ", ".join(unknown))
    jobs: dict[str, Job] = {}
    without = 0
    for row, line in enumerate(table.line_numbers):
        job = _of_line(table, row, out, options)
        if job is None:
            without += 1
            continue
        if job.name in jobs:
            raise DataError(
                f"{sheet} has {job.name!r} twice, on line {line} for the second time.",
                hint="Give each slide its own name in the column sample.",
            )
        jobs[job.name] = job
    if without:
        _log.info("%s: %d lines have no slide", sheet, without)
    if not jobs:
        raise DataError(f"{sheet} names no slide.", hint="Fill in the column slide.")
    return list(jobs.values())


def _of_line(table: Table, row: int, out: Path, options: PredictOptions) -> Job | None:
    cells = {name: column[row] for name, column in table.columns.items() if column[row]}
    line = table.line_numbers[row]
    if "slide" not in cells:
        return None
    folder = table.path.parent
    slide = folder / cells["slide"]
    name = cells.get("sample", slide.stem)
    if name.startswith(".") or any(mark in name for mark in "/\\"):
        raise DataError(
            f"{table.path}, line {line}: {name!r} cannot name an output.",
            hint="Use a name without slashes or a dot in front, such as B4.",
        )
    if "mpp" in cells:
        options = replace(options, mpp=_mpp(cells["mpp"], table.path, line))
    if "coords" in cells:
        options = replace(options, coords=folder / cells["coords"])
    if "tissue" in cells:
        tissue = cells["tissue"]
        given = str(folder / tissue) if (folder / tissue).is_file() else tissue
        options = replace(options, tissue=given)
    return Job(name, slide, out, options)


def _mpp(cell: str, sheet: Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(
            f"{sheet}, line {line}: the mpp is {cell!r}, not a number above 0.",
            hint="Give µm per pixel of level 0, such as 0.25.",
        )
    return value
