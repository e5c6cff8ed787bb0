"""Which samples there are: a sheet, a folder in the HER2ST or HEST layout, or a single pair."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from hypergene.errors import DataError
from hypergene.st.formats import FORMATS, format_named, format_of, hest
from hypergene.st.formats.her2st import section_of
from hypergene.st.sample import Sample, Species
from hypergene.st.table import read_table

_log = logging.getLogger(__name__)

_COLUMNS = ("sample", "slide", "data")
_FILLED = ("sample", "data")
_OPTIONAL = ("patient", "format", "mpp", "section", "spots", "spot_um", "species")
_HEADER = "sample,patient,slide,data,format,mpp"
_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".svs", ".ndpi")


def single_sample(
    slide: str | os.PathLike[str] | None,
    data: str | os.PathLike[str],
    *,
    sample: str | None = None,
    patient: str | None = None,
    format: str | None = None,
    mpp: float | None = None,
    section: str | None = None,
    spots: str | os.PathLike[str] | None = None,
    spot_um: float | None = None,
    species: str | None = None,
    must_exist: bool = True,
) -> Sample:
    """Make one checked sample of a slide and its data.

    Parameters
    ----------
    slide
        An existing file; None where there are counts only.
    data
        An existing file or folder.
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
    spot_um
        Side of the square spots that bins or transcripts are pooled to, in µm.
    species
        ``human`` or ``mouse``, where one table holds genes of both.
    must_exist
        Whether files that are not there are an error; else whoever opens them will say so.

    Returns
    -------
    Sample

    Raises
    ------
    DataError
        If a path does not exist, the format or species is unknown, mpp, spot_um or the name makes
        no sense, or there is neither a slide nor a name.
    """
    slide_path = None if slide is None else Path(slide)
    data = Path(data)
    spots_path = None if spots is None else Path(spots)
    if sample is None and slide_path is None:
        raise DataError(f"{data} has no slide to be named after.", hint="Give the sample a name.")
    name = slide_path.stem if sample is None and slide_path is not None else str(sample)
    # Names become file names of caches and results.
    if not name or name in (".", "..") or any(mark in name for mark in "/\\"):
        raise DataError(
            f"{name!r} cannot name a sample.", hint="Use a name without slashes, such as B4."
        )
    if slide_path is not None and slide_path.is_dir():
        raise DataError(
            f"The slide {slide_path} of sample {name} is a folder, not a file.",
            hint="Name the image in it.",
        )
    for what, path in (("slide", slide_path), ("data", data), ("spots", spots_path)):
        if must_exist and path is not None and not path.exists():
            raise DataError(f"There is no {what} {path} (sample {name}).", hint="Check the path.")
    _check_positive("mpp", mpp, name, "µm per pixel of the full-resolution image")
    _check_positive("spot_um", spot_um, name, "the side of a spot in µm")
    if species is not None and species not in get_args(Species):
        raise DataError(
            f"The species of sample {name} is {species!r}.",
            hint=f"Write {' or '.join(get_args(Species))}, or leave it empty.",
        )
    if format is None and not must_exist and not data.exists():
        format = "unknown"
    elif format is None:
        format = format_of(data)
        _log.info("%s: data format %s (by the name of %s)", name, format, data)
    else:
        format_named(format)
    return Sample(
        sample=name,
        patient=patient,
        slide=slide_path,
        data=data,
        format=format,
        mpp=mpp,
        section=section,
        spots=spots_path,
        spot_um=spot_um,
        species=cast(Species | None, species),
    )


def _check_positive(what: str, value: float | None, name: str, meaning: str) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise DataError(
            f"The {what} of sample {name} is {value:g}, but must be above 0.",
            hint=f"Give {meaning}.",
        )


def read_samples(path: str | os.PathLike[str], *, must_exist: bool = True) -> list[Sample]:
    """Read which samples there are.

    Parameters
    ----------
    path
        One of

        - a CSV sheet with the columns sample, slide, data and, if wanted, patient, format, mpp,
          section, spots, spot_um, species (cells may be empty, and a sample without slide has
          counts only; relative paths are relative to the sheet);
        - a folder in the HER2ST layout (ST-cnts, ST-spotfiles, ST-imgs): every section, with its
          letter as patient; those without image have counts only, and are logged;
        - a folder in the HEST layout (st, wsis, metadata).
    must_exist
        False takes a sheet as it is, with files that are not there and pairs named twice, for a
        check that is to report all of it.

    Returns
    -------
    list of Sample
        In the order of the sheet, or by section name. A HER2ST folder says nothing of mpp.

    Raises
    ------
    DataError
        No such sheet or folder; a folder of another layout; no samples; missing columns; cells,
        names or files that make no sense; a name twice, or one pair under two names.
    """
    path = Path(path)
    samples = _folder(path) if path.is_dir() else _sheet(path, must_exist=must_exist)
    if must_exist:
        _refuse_twice(path, samples)
    return samples


def _sheet(path: Path, *, must_exist: bool) -> list[Sample]:
    table = read_table(path, ",")
    table.require(*_COLUMNS)
    unknown = [name for name in table.columns if name not in _COLUMNS + _OPTIONAL]
    if unknown:
        _log.warning("%s: columns %s are not used", path, ", ".join(unknown))
    samples = []
    for row, line in enumerate(table.line_numbers):
        cells = {name: column[row] or None for name, column in table.columns.items()}
        empty = [name for name in _FILLED if cells[name] is None]
        if empty:
            raise DataError(
                f"{path} has an empty {' and '.join(empty)} on line {line}.",
                hint="Fill it in, or remove the line.",
            )
        slide, spots = cells["slide"], cells.get("spots")
        try:
            samples.append(
                single_sample(
                    None if slide is None else path.parent / slide,
                    path.parent / str(cells["data"]),
                    sample=cells["sample"],
                    patient=cells.get("patient"),
                    format=cells.get("format"),
                    mpp=_number("mpp", cells.get("mpp"), "0.69"),
                    section=cells.get("section"),
                    spots=None if spots is None else path.parent / spots,
                    spot_um=_number("spot_um", cells.get("spot_um"), "55"),
                    species=cells.get("species"),
                    must_exist=must_exist,
                )
            )
        except DataError as reason:
            raise DataError(f"{path}, line {line}: {reason.message}", hint=reason.hint) from None
    _say_counts_only(path, samples)
    return samples


def _number(what: str, cell: str | None, example: str) -> float | None:
    try:
        return None if cell is None else float(cell)
    except ValueError:
        raise DataError(
            f"The {what} is {cell!r}, not a number.", hint=f"Write it as {example}."
        ) from None


def _folder(folder: Path) -> list[Sample]:
    if (folder / "ST-cnts").is_dir():
        samples = _her2st_folder(folder)
        _say_counts_only(folder, samples)
        return samples
    if hest.recognises_folder(folder):
        return hest.samples_of(folder)
    raise DataError(
        f"{folder} is in neither the HER2ST layout (it has no folder ST-cnts) nor that of HEST (no "
        "folders st and wsis).",
        hint=f"Write a samples sheet, a CSV file with the header {_HEADER} and a line a sample; "
        f"known formats are {', '.join(FORMATS)}.",
    )


def _her2st_folder(folder: Path) -> list[Sample]:
    samples = []
    tables = [p for p in (folder / "ST-cnts").iterdir() if p.name.endswith((".tsv", ".tsv.gz"))]
    for table in sorted(p for p in tables if not p.name.startswith(".")):
        section = section_of(table)
        images = _images_of(folder / "ST-imgs" / section[:1] / section)
        if len(images) > 1:
            raise DataError(
                f"{images[0].parent} holds {len(images)} images, and only one can be the slide.",
                hint="Name the right one in a samples sheet.",
            )
        samples.append(
            single_sample(
                images[0] if images else None,
                table,
                sample=section,
                patient=section[:1],
                format="her2st",
                section=section,
            )
        )
    if not samples:
        raise DataError(
            f"{folder / 'ST-cnts'} holds no counts.",
            hint="They are named after their section, such as B4.tsv.gz.",
        )
    return samples


def _say_counts_only(path: Path, samples: Sequence[Sample]) -> None:
    without = [sample.sample for sample in samples if sample.slide is None]
    if without:
        _log.info("%s: no image, so counts only: %s", path, ", ".join(without))


def _images_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
    return sorted(p for p in files if not p.name.startswith("."))


def _refuse_twice(path: Path, samples: Sequence[Sample]) -> None:
    names: set[str] = set()
    pairs: dict[tuple[Path | None, Path], str] = {}
    for sample in samples:
        if sample.sample in names:
            raise DataError(
                f"{path} has the sample {sample.sample!r} twice.", hint="Give each its own name."
            )
        names.add(sample.sample)
        slide = None if sample.slide is None else sample.slide.resolve()
        pair = (slide, sample.data.resolve())
        if pair in pairs:
            what = "data" if slide is None else "slide and data"
            raise DataError(
                f"{path} has the same {what} as {pairs[pair]!r} and {sample.sample!r}.",
                hint="Name each pair once, or one of them could be tested on the other.",
            )
        pairs[pair] = sample.sample
