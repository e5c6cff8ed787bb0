"""``hypergene plot``."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Literal

import typer

from hypergene.cli import options as shared
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option


def plot(
    prediction: Annotated[
        Path,
        typer.Argument(metavar="PRED", help="What predict wrote: slide.zarr.", show_default=False),
    ],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT...",
            help="genes, archetypes, embedding, radius, a column of obs (ood_score), or a gene.  "
            "[default: genes]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option("--out", "-o", help="The figure: .png, .pdf or .svg.  [default: <stem>.WHAT.png]"),
    ] = None,
    genes: Annotated[
        str | None,
        option(
            "--genes",
            help="Of genes: symbols (ERBB2,KRT8) or a file with one a line.  "
            "[default: the 4 most reliable]",
        ),
    ] = None,
    layer: Annotated[
        Literal["mean", "std"],
        option("--layer", help="Of genes: predicted expression, or its standard deviation."),
    ] = "mean",
    color: Annotated[
        str | None,
        option(
            "--color",
            help="Of embedding: a gene or a column of obs.  [default: archetype or radius]",
        ),
    ] = None,
    image: Annotated[
        bool, option("--image/--no-image", help="Draw the slide under the spots.")
    ] = True,
    title: Annotated[
        str | None, option("--title", help="Over the figure.  [default: the slide's name]")
    ] = None,
    dpi: Annotated[int, option("--dpi", help="Dots per inch.", min=30, max=1200)] = 200,
    json: Annotated[bool, option("--json", help="Print one JSON object.")] = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Draw a prediction as a figure for paper or slides.

    One panel a gene or column, all in one file, with units and scale bar. What is drawn is
    predicted, not measured.
    """
    wanted = parse_genes(genes)

    from hypergene.pipeline.plot import PlotOptions, plot_to_file

    options = PlotOptions(genes=wanted, layer=layer, color=color, image=image, title=title)
    path = plot_to_file(prediction, what or (), out, options, dpi=dpi, overwrite=overwrite)
    if json:
        made = {"prediction": str(prediction), "output": str(path)}
        typer.echo(jsons.dumps(made, ensure_ascii=False))
    else:
        typer.echo(path)
