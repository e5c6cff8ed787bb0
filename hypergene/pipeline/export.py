"""``hypergene export``: a prediction in the form that another tool opens."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack, get_args

from hypergene.errors import DataError, UsageError
from hypergene.output import PredictionFile, open_prediction
from hypergene.output.export import (
    Chosen,
    best_predicted,
    write_csv,
    write_ome_tiff,
    write_parquet,
    write_qupath,
    write_spatialdata,
    write_vitessce,
)
from hypergene.pipeline.keywords import ExportKeywords
from hypergene.pipeline.options import with_overrides
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.slide import Slide, open_slide

log = logging.getLogger(__name__)

ExportFormat = Literal["spatialdata", "geojson", "csv", "parquet", "ome-tiff", "vitessce"]

_SUFFIXES: dict[str, str] = {
    "spatialdata": ".sdata.zarr",
    "geojson": ".predicted.geojson",
    "csv": ".csv",
    "parquet": ".parquet",
    "ome-tiff": ".predicted.ome.tif",
    "vitessce": ".vitessce",
}
_FEW_GENES = {"geojson": 50, "ome-tiff": 50}
"""Formats whose readers hold every gene in memory, and how many they get unless told."""

_SPREAD = frozenset({"spatialdata", "geojson", "csv", "parquet"})
"""Formats that have the spread unless told; vitessce has no place for it."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of :func:`export`, named as on the command line.

    Attributes
    ----------
    genes
        Symbols, in the order wanted; None = all, or as many as ``max_genes`` says.
    max_genes
        The N genes that were predicted best on held-out data; None = all, of ``geojson`` and
        ``ome-tiff`` 50.
    spread
        Whether the predicted standard deviation is exported too; None = with all but ``ome-tiff``
        and ``vitessce``, which has no place for it.
    slide
        The slide, for ``spatialdata``: an image of several scales is made from it.
    pixel_um
        Side of a pixel, µm: of the ``ome-tiff`` (None = an eighth of a spot's diameter), or of the
        finest scale made from ``slide`` (None = the slide's own).
    overwrite
        Replace outputs that exist.
    """

    genes: tuple[str, ...] | None = None
    max_genes: int | None = None
    spread: bool | None = None
    slide: Path | None = None
    pixel_um: float | None = None
    overwrite: bool = False


def export(
    prediction: str | Path,
    to: ExportFormat,
    out: str | Path | None = None,
    options: ExportOptions | None = None,
    **overrides: Unpack[ExportKeywords],
) -> Outcome:
    """Write a prediction in the form that another tool opens.

    - ``spatialdata``: SpatialData store (Zarr) of image, spots and table; LazySlide opens it, too
    - ``geojson``: detections with measurements, for QuPath
    - ``csv``: one table, spots in rows; its description is in ``<out>-metadata.json``
    - ``parquet``: the same, with units in the schema
    - ``ome-tiff``: pyramid of one channel a gene that lies over the slide
    - ``vitessce``: folder with a Vitessce view config, the data and a page that shows them

    Parameters
    ----------
    prediction
        What ``hypergene predict`` wrote: a Zarr store or an h5ad file.
    to
        One of the formats above.
    out
        What to write; a folder that is there = in it under the default name; None = beside the
        prediction, ``<stem>.sdata.zarr``, ``.predicted.geojson``, ``.csv``, ``.parquet``,
        ``.predicted.ome.tif`` or ``.vitessce``.
    options
        See :class:`ExportOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    Outcome
        ``output`` is what was written, ``slide`` the prediction.

    Raises
    ------
    UsageError
        If the format or a gene is unknown, or an option makes no sense with the format.
    DataError
        If there is no such prediction, it is damaged, or the slide is not its slide.
    SlideError
        If the slide cannot be read.
    OutputError
        If the output exists and may not be replaced, cannot be written, or needs a package that is
        not installed.

    Examples
    --------
    >>> import hypergene
    >>> done = hypergene.export("slide.zarr", to="geojson", genes=("ERBB2", "CD3E"))
    >>> done.output.name
    'slide.predicted.geojson'
    """
    options = with_overrides(options or ExportOptions(), overrides)
    _check(to, options)
    watch = Stopwatch()
    with watch("open"):
        opened = open_prediction(prediction)
    chosen = Chosen(
        opened,
        _genes(opened, to, options),
        (to in _SPREAD if options.spread is None else options.spread) and "std" in opened.layers,
    )
    target = _target(opened.path, to, None if out is None else Path(out))
    again = options.overwrite
    with _slide_of(chosen, options.slide) as slide, watch("write"):
        match to:
            case "spatialdata":
                write_spatialdata(
                    chosen, target, slide=slide, pixel_um=options.pixel_um, overwrite=again
                )
            case "geojson":
                write_qupath(chosen, target, overwrite=again)
            case "csv":
                write_csv(chosen, target, overwrite=again)
            case "parquet":
                write_parquet(chosen, target, overwrite=again)
            case "ome-tiff":
                write_ome_tiff(chosen, target, pixel_um=options.pixel_um, overwrite=again)
            case "vitessce":
                write_vitessce(chosen, target, overwrite=again)
    return Outcome(
        slide=opened.path,
        output=target,
        spots=len(chosen),
        genes=len(chosen.genes),
        seconds=watch.seconds,
        warnings=[] if slide is None else list(slide.warnings),
    )


def _check(to: str, options: ExportOptions) -> None:
    if to not in get_args(ExportFormat):
        raise UsageError(
            f"There is no export format '{to}'.",
            hint=f"Known: {', '.join(get_args(ExportFormat))}.",
        )
    if options.genes is not None and options.max_genes is not None:
        raise UsageError("--genes and --max-genes exclude each other.", hint="Give one of them.")
    if options.max_genes is not None and options.max_genes < 1:
        raise UsageError(
            f"--max-genes {options.max_genes} leaves no gene.", hint="Give a number of at least 1."
        )
    if options.slide is not None and to != "spatialdata":
        raise UsageError(
            f"--slide has no meaning with --to {to}.", hint="It is for --to spatialdata."
        )
    if options.pixel_um is not None and to != "ome-tiff" and options.slide is None:
        raise UsageError(
            f"--pixel-um has no meaning with --to {to}"
            + (" without --slide." if to == "spatialdata" else "."),
            hint="It is for --to ome-tiff, and for --to spatialdata with --slide.",
        )
    if options.spread and to == "vitessce":
        raise UsageError(
            "Vitessce has no place for the spread.", hint="Leave --spread out, or export it alone."
        )


def _genes(prediction: PredictionFile, to: str, options: ExportOptions) -> tuple[str, ...]:
    """Return the genes wanted; which those are is said where the user did not name them."""
    if options.genes is not None:
        prediction.read(options.genes, slice(0, 0), ())  # one that is unknown is refused now
        return tuple(options.genes)
    most = _FEW_GENES.get(to) if options.max_genes is None else options.max_genes
    if most is None or most >= len(prediction.genes):
        return prediction.genes
    if "heldout_pcc" not in prediction.var:
        raise UsageError(
            f"{prediction.path} does not say which of its {len(prediction.genes):,} genes are "
            "predicted best.",
            hint="Name the ones you want with --genes.",
        )
    log.info(
        "The %d of %s genes that were predicted best on held-out data; --genes chooses others.",
        most,
        f"{len(prediction.genes):,}",
    )
    return best_predicted(prediction, prediction.genes, most)


def _target(prediction: Path, to: str, out: Path | None) -> Path:
    name = f"{prediction.stem}{_SUFFIXES[to]}"
    if out is None:
        return prediction.with_name(name)
    if out.resolve() == prediction.resolve():
        raise UsageError(
            f"{out} is the prediction itself.", hint="Give another -o, or leave it out."
        )
    # An earlier export, or any other store, is no folder to put things into.
    is_output = any((out / one).exists() for one in ("zarr.json", ".zgroup", "vitessce.json"))
    return out / name if out.is_dir() and not is_output else out


def _slide_of(chosen: Chosen, path: Path | None) -> Slide | nullcontext[None]:
    """Open the slide of a prediction.

    Raises
    ------
    DataError
        If the slide is of another size than the one that was predicted.
    """
    if path is None:
        return nullcontext(None)
    # The resolution that was predicted at holds, whatever the file says.
    mpp = chosen.mpp
    slide = open_slide(path, mpp=sum(mpp) / 2)
    if slide.dimensions != chosen.size_px:
        width, height = slide.dimensions
        slide.close()
        raise DataError(
            f"{path} ({width} x {height} px) is not the slide of {chosen.prediction.path} "
            f"({chosen.size_px[0]} x {chosen.size_px[1]} px).",
            hint=f"Give --slide the file that was predicted, {chosen.slide}.",
        )
    return slide
