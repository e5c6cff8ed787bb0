"""SAMPLES on the command line: a sheet, a folder, or a single slide with its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypergene.cli.options import option
from hypergene.errors import UsageError

if TYPE_CHECKING:
    from hypergene.st import Sample

Samples = Annotated[
    Path | None,
    typer.Argument(
        metavar="SAMPLES",
        help="A CSV sheet (sample,patient,slide,data,format,mpp) or a folder of sections.",
        show_default=False,
    ),
]
SingleSlide = Annotated[Path | None, option("--slide", help="A single slide, instead of SAMPLES.")]
SingleData = Annotated[Path | None, option("--data", help="The single slide's expression data.")]
DataFormat = Annotated[
    str | None,
    option("--data-format", help="Format of --data.  [default: found from its name]"),
]
Patient = Annotated[str | None, option("--patient", help="The single slide's patient.")]
SamplesMpp = Annotated[
    float | None, option("--mpp", help="Microns per pixel of slides that do not say.")
]


def samples_or_pair(
    samples: Path | None,
    slide: Path | None,
    data: Path | None,
    *,
    format: str | None,
    patient: str | None,
    mpp: float | None,
) -> Path | list[Sample]:
    """Return the samples sheet or folder, or the single pair as a list of one sample.

    Raises
    ------
    UsageError
        Both are given, or neither.
    DataError
        What is wrong with the single pair.
    """
    if samples is not None:
        if slide is not None or data is not None:
            raise UsageError(
                f"Both the samples {samples} and a single --slide or --data are given.",
                hint="Give one or the other.",
            )
        return samples
    if slide is None or data is None:
        raise UsageError(
            "There are neither SAMPLES nor a single --slide with its --data.",
            hint="Give a samples sheet (CSV: sample,patient,slide,data,format,mpp), a folder, "
            "or --slide S --data D --patient P.",
        )
    from hypergene.st import single_sample

    return [single_sample(slide, data, patient=patient, format=format, mpp=mpp)]


def sample_names(values: list[str] | None) -> tuple[str, ...]:
    """Return sample names given as ``A,B``, as repeated options, or both."""
    names = [name.strip() for value in values or () for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))
