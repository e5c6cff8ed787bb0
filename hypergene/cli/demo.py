"""``hypergene demo``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli.console import Reporter
from hypergene.cli.options import option

log = logging.getLogger(__name__)


def demo(
    slide: Annotated[
        Path | None,
        typer.Argument(metavar="SLIDE", help="A slide to use instead of the sample."),
    ] = None,
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for the results.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        option(
            "--model",
            help="Name or folder of a model.  [default: her2st-small]",
            autocompletion=completion.models,
        ),
    ] = None,
    mpp: shared.Mpp = None,
    device: shared.Device = "auto",
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Try hypergene on a sample slide.

    Predicts on OpenSlide's public CMU-1-Small-Region.svs, or without a network on a slide that
    hypergene paints itself, and draws a few genes. Results go to ./hypergene-demo, which later
    demos replace, or to --out.
    """
    from hypergene.pipeline.demo import DemoOptions
    from hypergene.pipeline.demo import demo as run_demo

    options = DemoOptions(model=model, mpp=mpp, device=device, overwrite=overwrite or out is None)
    outcome, picture = run_demo(slide, out or Path("hypergene-demo"), options)
    Reporter(as_json=json)(outcome)
    log.info("Expression: %s", outcome.output)
    log.info("Picture:    %s", picture)
