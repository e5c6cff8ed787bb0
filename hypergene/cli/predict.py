"""``hypergene predict``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hypergene.cli import options as shared
from hypergene.cli.console import Reporter, exit_code
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option


def predict(
    slides: shared.Slides,
    out: shared.Out = None,
    model: Annotated[str, option("--model", help="Name or folder of a model.")] = "her2st-small",
    layout: Annotated[
        str | None,
        option(
            "--layout",
            help="visium, visium-6.5, visium-11, visium-hd-2, -8 or -16, st, xenium or grid.  "
            "[default: the model's own]",
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
    genes: Annotated[
        str | None,
        option("--genes", help="Symbols (ERBB2,KRT8) or a file with one a line.  [default: all]"),
    ] = None,
    format: Annotated[
        Literal["zarr", "h5ad"], option("--format", help="Kind of file written.")
    ] = "zarr",
    device: shared.Device = "auto",
    batch_size: Annotated[int, option("--batch-size", help="Tiles encoded at once.", min=1)] = 64,
    workers: shared.Workers = 2,
    seed: shared.Seed = 0,
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Predict gene expression from slides.

    Writes <stem>.zarr (AnnData, spots × genes) beside each slide or in --out.
    """
    wanted = parse_genes(genes)

    from hypergene.pipeline.each import for_each_slide, refuse_clashes
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
        genes=wanted,
        format=format,
        device=device,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        overwrite=overwrite,
    )
    refuse_clashes(slides, out)
    outcomes = for_each_slide(
        slides,
        lambda slide: predict_to_file(slide, out, options),
        report=Reporter(as_json=json),
    )
    raise typer.Exit(exit_code(outcomes))
