"""``hypergene predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli.console import Reporter, exit_code
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option


def _count(parameter: typer.CallbackParam, value: str) -> str:
    """Let through ``auto`` and whole numbers, of readers also 0."""
    least = 0 if parameter.name == "workers" else 1
    if value != "auto" and not (value.isdecimal() and int(value) >= least):
        raise typer.BadParameter(f"{value!r} is neither auto nor a whole number >= {least}.")
    return value


def _number(value: str) -> int | Literal["auto"]:
    return "auto" if value == "auto" else int(value)


def predict(
    slides: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SLIDE...", help="Slide files, or folders of them.", show_default=False
        ),
    ] = None,
    out: shared.Out = None,
    samples: Annotated[
        Path | None,
        option("--samples", help="CSV sheet: slide, and if wanted sample, mpp, coords, tissue."),
    ] = None,
    model: Annotated[
        str,
        option("--model", help="Name or folder of a model.", autocompletion=completion.models),
    ] = "her2st-small",
    layout: Annotated[
        str | None,
        option(
            "--layout",
            help="visium, visium-6.5, visium-11, visium-hd-2, -8 or -16, st, xenium or grid.  "
            "[default: the model's own]",
            autocompletion=completion.layouts,
        ),
    ] = None,
    diameter: shared.Diameter = None,
    pitch: shared.Pitch = None,
    orientation: shared.Orientation = 0.0,
    offset: shared.Offset = None,
    coords: shared.Coords = None,
    mpp: shared.Mpp = None,
    tissue: shared.Tissue = "auto",
    min_tissue: shared.MinTissue = 0.25,
    qc: shared.Qc = False,
    genes: Annotated[
        str | None,
        option("--genes", help="Symbols (ERBB2,KRT8) or a file with one a line.  [default: all]"),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16"],
        option("--dtype", help="Numbers written; float16 takes half the room, to 3 digits."),
    ] = "float32",
    format: Annotated[
        Literal["zarr", "h5ad"], option("--format", help="Kind of file written.")
    ] = "zarr",
    device: shared.Device = "auto",
    compile: Annotated[
        bool, option("--compile", help="Compile the encoder first; for large ones on a GPU.")
    ] = False,
    batch_size: Annotated[
        str, option("--batch-size", help="Tiles encoded at once, or auto.", callback=_count)
    ] = "auto",
    workers: Annotated[
        str, option("--workers", help="Threads that read the slide, or auto.", callback=_count)
    ] = "auto",
    seed: shared.Seed = 0,
    resume: Annotated[
        bool,
        option("--resume/--no-resume", help="Of several slides, pass over those that are done."),
    ] = True,
    processes: Annotated[
        int | None,
        option("--processes", help="Slides at once.  [default: one a GPU, or one]", min=1),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        option("--engine", help="Where: on this machine, or on a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        option("--address", help="Ray cluster: auto, host:port.  [default: Ray on this machine]"),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        option("--gpus-per-worker", help="With Ray: 0.5, 1 ...  [default: 1 where there are any]"),
    ] = None,
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Predict gene expression from slides.

    Writes <stem>.zarr (AnnData, spots × genes) beside each slide or in --out. Of several slides,
    those that are done are passed over, and several processes may share one --out.
    """
    wanted = parse_genes(genes)

    from hypergene.pipeline.each import for_each_slide
    from hypergene.pipeline.predict import PredictOptions, predict_to_file

    options = PredictOptions(
        model=model,
        layout=layout,
        diameter_um=diameter,
        pitch_um=pitch,
        orientation_deg=orientation,
        offset_um=shared.parse_offset(offset),
        coords=coords,
        mpp=mpp,
        tissue=tissue,
        min_tissue=min_tissue,
        qc=qc,
        genes=wanted,
        dtype=dtype,
        format=format,
        device=device,
        compile=compile,
        batch_size=_number(batch_size),
        workers=_number(workers),
        seed=seed,
        overwrite=overwrite,
    )
    report = Reporter(as_json=json)
    alone = slides is not None and len(slides) == 1 and not slides[0].is_dir()
    if slides is not None and alone and samples is None and processes is None and engine == "local":
        outcomes = for_each_slide(
            slides, lambda slide: predict_to_file(slide, out, options), report=report
        )
        raise typer.Exit(exit_code(outcomes))

    from hypergene.pipeline.cohort import CohortOptions, predict_cohort

    outcomes = predict_cohort(
        slides or [],
        out,
        options,
        CohortOptions(
            resume=resume,
            engine=engine,
            processes=processes,
            address=address,
            gpus_per_worker=gpus_per_worker,
        ),
        sheet=samples,
        tell=report,
        tell_again=report.result,
    )
    raise typer.Exit(exit_code(outcomes))
