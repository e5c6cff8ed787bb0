"""``hypergene data``: what local data are before anything is learnt from them; an example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import options as shared
from hypergene.cli import samples as given
from hypergene.cli.console import log
from hypergene.cli.options import option

data_app = typer.Typer(
    name="data",
    help="Look at local data before training, or paint some to try it on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data_app.command()
def check(
    samples: given.Samples = None,
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for a contact sheet.  [default: none]")
    ] = None,
    slide: given.SingleSlide = None,
    data: given.SingleData = None,
    data_format: given.DataFormat = None,
    patient: given.Patient = None,
    mpp: given.SamplesMpp = None,
    json: Annotated[bool, option("--json", help="Print one JSON object.")] = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Say what samples are and what is wrong with them.

    Prints a table and a verdict with its fix for everything that stands against training on them;
    with --out draws every section's spots over its image (contact-sheet.png). Leaves with 1 if a
    verdict is a failure, and with 0 if there are warnings at most.
    """
    source = given.samples_or_pair(
        samples, slide, data, format=data_format, patient=patient, mpp=mpp
    )

    from hypergene.pipeline.data_check import CONTACT_SHEET, DataCheckOptions, check_samples

    found = check_samples(source, DataCheckOptions(mpp=mpp, out=out, overwrite=overwrite))
    typer.echo(found.as_json() if json else found.as_text())
    if out is not None:
        log.info("Contact sheet: %s", out / CONTACT_SHEET)
    if not found.ok:
        raise typer.Exit(1)


@data_app.command()
def example(
    out: Annotated[Path, option("--out", "-o", help="Folder to make.")] = Path("painted-visium"),
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Paint a small Visium cohort to try training and evaluation on.

    Three patients with two sections each, as Space Ranger writes them, their slides, and a slide
    without counts. Everything is painted: no tissue, no measurement, invented genes.
    """
    from hypergene.pipeline.painted_visium import write_painted_visium

    typer.echo(str(write_painted_visium(out)))
