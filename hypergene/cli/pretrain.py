"""``hypergene pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import options as shared
from hypergene.cli import samples as given
from hypergene.cli.options import option
from hypergene.errors import UsageError


def pretrain(
    slides: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDES",
            help="A samples sheet (CSV), a folder of samples or slides, or slide files.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for the run and encoder.safetensors.")
    ] = None,
    without: Annotated[
        list[str] | None,
        option("--without", help="Samples or slides left out: A,B. Repeatable."),
    ] = None,
    recipe: Annotated[
        Path | None, option("--recipe", help="TOML file over the default recipe: its encoder.")
    ] = None,
    set: Annotated[
        list[str] | None,
        option("--set", help="One value of the recipe, as section.key=value. Repeatable."),
    ] = None,
    mpp: given.SamplesMpp = None,
    epochs: Annotated[
        int | None, option("--epochs", help="Passes over all places.  [default: 30]", min=1)
    ] = None,
    minutes: Annotated[
        float | None, option("--minutes", help="Minutes of training, instead of --epochs.")
    ] = None,
    pitch: Annotated[
        float, option("--pitch", help="Distance between the places learnt from, in µm.")
    ] = 50.0,
    most: Annotated[
        int, option("--most", help="Places a slide at most, drawn at random.", min=2)
    ] = 4000,
    seed: shared.Seed = 0,
    device: shared.Device = "auto",
    workers: shared.Workers = 2,
    cache: Annotated[
        Path | None,
        option("--cache", help="Folder of tiles that runs may share.  [default: cache/ in --out]"),
    ] = None,
    resume: Annotated[
        bool, option("--resume/--no-resume", help="Go on from the checkpoint in --out.")
    ] = True,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Train a small image encoder on slides alone, to start finetune from.

    Writes encoder.safetensors, and a recipe encoder.toml that starts from it.
    """
    if out is None:
        raise UsageError(
            "There is no folder for the encoder.", hint="Give one with --out, e.g. --out start."
        )
    names = [name.strip() for value in without or () for name in value.split(",")]

    from hypergene.pipeline.pretrain import PretrainOptions
    from hypergene.pipeline.pretrain import pretrain as train

    options = PretrainOptions(
        without=tuple(dict.fromkeys(name for name in names if name)),
        recipe=recipe,
        set=tuple(set or ()),
        mpp=mpp,
        epochs=epochs,
        minutes=minutes,
        pitch_um=pitch,
        most=most,
        seed=seed,
        device=device,
        workers=workers,
        cache=cache,
        resume=resume,
        overwrite=overwrite,
    )
    typer.echo(str(train(slides, out, options)))
