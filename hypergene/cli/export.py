"""``hypergene export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hypergene.cli import options as shared
from hypergene.cli.console import Reporter
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option


def export(
    prediction: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTION", help="What predict wrote: .zarr or .h5ad.", show_default=False
        ),
    ],
    to: Annotated[
        Literal["spatialdata", "geojson", "csv", "parquet", "ome-tiff", "vitessce"],
        option("--to", help="Form to write.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        option(
            "--out",
            "-o",
            help="File or folder to write, or a folder to write into.  [default: beside the "
            "prediction]",
        ),
    ] = None,
    genes: Annotated[
        str | None,
        option("--genes", help="Symbols (ERBB2,KRT8) or a file with one a line.  [default: all]"),
    ] = None,
    max_genes: Annotated[
        int | None,
        option(
            "--max-genes",
            help="Only the N genes predicted best on held-out data.  [default: 50 with geojson "
            "and ome-tiff]",
            min=1,
        ),
    ] = None,
    spread: Annotated[
        bool | None,
        option(
            "--spread/--no-spread",
            help="Also the predicted standard deviation.  [default: with spatialdata, geojson, "
            "csv, parquet]",
        ),
    ] = None,
    slide: Annotated[
        Path | None,
        option("--slide", help="With spatialdata: the slide, as an image of several scales."),
    ] = None,
    pixel_um: Annotated[
        float | None,
        option(
            "--pixel-um",
            help="Side of a pixel of the ome-tiff, or of --slide's finest scale, in µm.",
        ),
    ] = None,
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Write a prediction for another tool.

    spatialdata: napari, spatialdata-plot, LazySlide. geojson: QuPath. csv, parquet: anything that
    reads tables. ome-tiff: genes as channels over the slide. vitessce: a page for the browser.
    """
    wanted = parse_genes(genes)

    from hypergene.pipeline.export import ExportOptions
    from hypergene.pipeline.export import export as export_prediction

    options = ExportOptions(
        genes=wanted,
        max_genes=max_genes,
        spread=spread,
        slide=slide,
        pixel_um=pixel_um,
        overwrite=overwrite,
    )
    Reporter(as_json=json)(export_prediction(prediction, to, out, options))
