"""``hypergene finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli import samples as given
from hypergene.cli.console import is_speaker
from hypergene.cli.options import option
from hypergene.errors import UsageError


def finetune(
    samples: given.Samples = None,
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for the run and the model it makes.")
    ] = None,
    slide: given.SingleSlide = None,
    data: given.SingleData = None,
    data_format: given.DataFormat = None,
    patient: given.Patient = None,
    name: Annotated[
        str | None, option("--name", help="The model's name.  [default: the folder's]")
    ] = None,
    preset: Annotated[
        str,
        option(
            "--preset",
            help="Recipe to start from: hypergene, hyperst, delst, nh2st or clip.",
            autocompletion=completion.presets,
        ),
    ] = "hypergene",
    recipe: Annotated[Path | None, option("--recipe", help="TOML file over the preset.")] = None,
    set: Annotated[
        list[str] | None,
        option("--set", help="One value of the recipe, as section.key=value. Repeatable."),
    ] = None,
    test: Annotated[
        list[str] | None,
        option("--test", help="Samples held out entirely and scored at the end: A,B. Repeatable."),
    ] = None,
    validation: Annotated[
        list[str] | None,
        option("--validation", help="Samples for the early stop.  [default: by patient]"),
    ] = None,
    mpp: given.SamplesMpp = None,
    seed: shared.Seed = 0,
    epochs: Annotated[
        int | None, option("--epochs", help="Most epochs.  [default: the recipe's]", min=1)
    ] = None,
    device: shared.Device = "auto",
    workers: shared.Workers = 2,
    cache: Annotated[
        Path | None,
        option("--cache", help="Folder of tiles that runs may share.  [default: cache/ in --out]"),
    ] = None,
    tensorboard: Annotated[
        bool, option("--tensorboard", help="Write curves for TensorBoard into --out, too.")
    ] = False,
    resume: Annotated[
        bool, option("--resume/--no-resume", help="Go on from the last checkpoint in --out.")
    ] = True,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Train a model on slides with measured expression.

    Writes a model folder that predict --model takes, with its metrics and its card.
    """
    if out is None:
        raise UsageError(
            "There is no folder for the model.", hint="Give one with --out, e.g. --out my-model."
        )
    source = given.samples_or_pair(
        samples, slide, data, format=data_format, patient=patient, mpp=mpp
    )

    from hypergene.pipeline.finetune import FinetuneOptions
    from hypergene.pipeline.finetune import finetune as train

    options = FinetuneOptions(
        name=name,
        preset=preset,
        recipe=recipe,
        set=tuple(set or ()),
        test=given.sample_names(test),
        validation=given.sample_names(validation),
        mpp=mpp,
        seed=seed,
        epochs=epochs,
        device=device,
        workers=workers,
        cache=cache,
        tensorboard=tensorboard,
        resume=resume,
        overwrite=overwrite,
    )
    model = train(source, out, options)
    if is_speaker():
        typer.echo(str(model))
