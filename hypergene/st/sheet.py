"""Which samples there are: a sheet, a folder in the HER2ST layout, or a single pair."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

from hypergene.errors import DataError
from hypergene.st.formats import format_named, format_of
from hypergene.st.formats.her2st import section_of
from hypergene.st.sample import Sample
from hypergene.st.table import read_table

_log = logging.getLogger(__name__)

_NEEDED = ("sample", "slide", "data")
_OPTIONAL = ("patient", "format", "mpp", "section", "spots")
_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".svs", ".ndpi")


def single_sample(
    slide: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    sample: str | None = None,
    patient: str | None = None,
    format: str | None = None,
    mpp: float | None = None,
    section: str | None = None,
    spots: str | os.PathLike[str] | None = None,
) -> Sample:
    """Make one checked sample of a slide and its data.

    Parameters
    ----------
    slide, data
        Existing paths; the slide is a file.
    sample
        Name; the slide's file name without suffix if None.
    patient, section
        As in :class:`Sample`.
    format
        Name of the format; found from the data's name, and logged, if None.
    mpp
        µm per level-0 px.
    spots
        Existing file with positions, if they lie in an unusual place.

    Returns
    -------
    Sample

    Raises
    ------
    DataError
        If a path does not exist, the format is unknown, or mpp or the name makes no sense.
    """
    slide, data = Path(slide), Path(data)
    spots_path = None if spots is None else Path(spots)
    name = slide.stem if sample is None else sample
    # Names become file names of caches and results.
    if not name or name in (".", "..") or any(mark in name for mark in "/\\"):
        raise DataError(
            f"{name!r} cannot name a sample.", hint="Use a name without slashes, such as B4."
        )
    if slide.is_dir():
        raise DataError(f"The slide {slide} of sample {name} is a folder, not a file.")
    for what, path in (("slide", slide), ("data", data), ("spots", spots_path)):
        if path is not None and not path.exists():
            raise DataError(f"There is no {what} {path} (sample {name}).", hint="Check the path.")
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise DataError(
            f"The mpp of sample {name} is {mpp:g}, but must be above 0.",
            hint="Give µm per pixel of the full-resolution image.",
        )
    if format is None:
        format = format_of(data)
        _log.info("%s: data format %s (by the name of %s)", name, format, data)
    else:
        format_named(format)
    return Sample(
        sample=name,
        patient=patient,
        slide=slide,
        data=data,
        format=format,
        mpp=mpp,
        section=section,
        spots=spots_path,
    )


def read_samples(path: str | os.PathLike[str]) -> list[Sample]:
    """Read which samples there are.

    Parameters
    ----------
    path
        A CSV sheet with the columns sample, slide, data and, if wanted, patient, format, mpp,
        section, spots (cells may be empty; relative paths are relative to the sheet); or a folder
        in the HER2ST layout (ST-cnts, ST-spotfiles, ST-imgs), of which every section that has an
        image is taken, with its letter as patient.

    Returns
    -------
    list of Sample
        In the order of the sheet, or by section name. A folder says nothing of mpp.

    Raises
    ------
    DataError
        No such sheet or folder; no samples; missing columns; cells, names or files that make no
        sense; a name twice, or one pair under two names.
    """
    path = Path(path)
    samples = _her2st_folder(path) if path.is_dir() else _sheet(path)
    _refuse_twice(path, samples)
    return samples


def _sheet(path: Path) -> list[Sample]:
    table = read_table(path, ",")
    table.require(*_NEEDED)
    unknown = [name for name in table.columns if name not in _NEEDED + _OPTIONAL]
    if unknown:
        _log.warning("%s: columns %s are not used", path, ", ".join(unknown))
    samples = []
    for row, line in enumerate(table.line_numbers):
        cells = {name: column[row] or None for name, column in table.columns.items()}
        empty = [name for name in _NEEDED if cells[name] is None]
        if empty:
            raise DataError(f"{path} has an empty {' and '.join(empty)} on line {line}.")
        mpp, spots = cells.get("mpp"), cells.get("spots")
        try:
            samples.append(
                single_sample(
                    path.parent / str(cells["slide"]),
                    path.parent / str(cells["data"]),
                    sample=cells["sample"],
                    patient=cells.get("patient"),
                    format=cells.get("format"),
                    mpp=None if mpp is None else _number(mpp),
                    section=cells.get("section"),
                    spots=None if spots is None else path.parent / spots,
                )
            )
        except DataError as reason:
            raise DataError(f"{path}, line {line}: {reason.message}", hint=reason.hint) from None
    return samples


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"The mpp is {cell!r}, not a number.", hint="Write it as 0.69.") from None


def _her2st_folder(folder: Path) -> list[Sample]:
    counts = folder / "ST-cnts"
    images = folder / "ST-imgs"
    if not counts.is_dir() or not images.is_dir():
        raise DataError(
            f"{folder} is not in the HER2ST layout: it has no folder "
            f"{' and no folder '.join(p.name for p in (counts, images) if not p.is_dir())}.",
            hint="Give such a folder, or a samples sheet (CSV).",
        )
    samples, without = [], []
    tables = [p for p in counts.iterdir() if p.name.endswith((".tsv", ".tsv.gz"))]
    for table in sorted(p for p in tables if not p.name.startswith(".")):
        section = section_of(table)
        found = _images_of(images / section[:1] / section)
        if not found:
            without.append(section)
            continue
        if len(found) > 1:
            raise DataError(
                f"{found[0].parent} holds {len(found)} images, and only one can be the slide.",
                hint="Name the right one in a samples sheet.",
            )
        samples.append(
            single_sample(
                found[0], table, sample=section, patient=section[:1], format="her2st",
                section=section,
            )
        )  # fmt: skip
    if not samples:
        raise DataError(
            f"{folder} has no section with both counts and an image.",
            hint="Images belong in ST-imgs/<patient>/<section>/.",
        )
    if without:
        _log.info("%s: no image, so not taken: %s", folder, ", ".join(without))
    return samples


def _images_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
    return sorted(p for p in files if not p.name.startswith("."))


def _refuse_twice(path: Path, samples: Sequence[Sample]) -> None:
    names: set[str] = set()
    pairs: dict[tuple[Path, Path], str] = {}
    for sample in samples:
        if sample.sample in names:
            raise DataError(
                f"{path} has the sample {sample.sample!r} twice.", hint="Give each its own name."
            )
        names.add(sample.sample)
        pair = (sample.slide.resolve(), sample.data.resolve())
        if pair in pairs:
            raise DataError(
                f"{path} has the same slide and data as {pairs[pair]!r} and {sample.sample!r}.",
                hint="Name each pair once, or one of them could be tested on the other.",
            )
        pairs[pair] = sample.sample
