"""``hypergene report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import options as shared
from hypergene.cli.console import Reporter, exit_code
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option


def report(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTION",
            help="What hypergene predict wrote: .zarr or .h5ad, one or several, or a folder.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        option(
            "--out",
            "-o",
            help="HTML file for one prediction, folder for several.  [default: <stem>.html, or "
            "the folder report, beside them]",
        ),
    ] = None,
    genes: Annotated[
        str | None,
        option("--genes", help="Genes to show (ERBB2,KRT8), or a file with one a line."),
    ] = None,
    max_genes: Annotated[
        int,
        option(
            "--max-genes",
            help="Without --genes, so many of those predicted best on held-out data.",
            min=1,
        ),
    ] = 200,
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Show predictions as pages that open from disk: maps of genes, and how far to trust them.

    One HTML file a prediction; of several, a folder of them with index.html.
    """
    wanted = parse_genes(genes)

    from hypergene.pipeline.each import for_each_slide
    from hypergene.pipeline.report import (
        ReportOptions,
        predictions_in,
        report_one,
        report_several,
    )

    options = ReportOptions(genes=wanted, max_genes=max_genes, overwrite=overwrite)
    tell = Reporter(as_json=json)
    paths, is_single = predictions_in(predictions)
    if is_single:
        outcomes = for_each_slide(paths, lambda path: report_one(path, out, options), report=tell)
    else:
        index, outcomes = report_several(paths, out, options, tell=tell)
        if not json:
            typer.echo(str(index))
    raise typer.Exit(exit_code(outcomes))
