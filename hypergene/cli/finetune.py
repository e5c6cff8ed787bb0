"""``hypergene finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypergene.cli import options as shared
from hypergene.cli.options import option
from hypergene.errors import UsageError

if TYPE_CHECKING:
    from hypergene.st import Sample


def finetune(
    samples: Annotated[
        Path | None,
        typer.Argument(
            metavar="SAMPLES",
            help="A CSV sheet (sample,patient,slide,data,format,mpp) or a folder of sections.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for the run and the model it makes.")
    ] = None,
    slide: Annotated[
        Path | None, option("--slide", help="A single slide, instead of SAMPLES.")
    ] = None,
    data: Annotated[
        Path | None, option("--data", help="The single slide's expression data.")
    ] = None,
    data_format: Annotated[
        str | None,
        option("--data-format", help="Format of --data.  [default: found from its name]"),
    ] = None,
    patient: Annotated[str | None, option("--patient", help="The single slide's patient.")] = None,
    name: Annotated[
        str | None, option("--name", help="The model's name.  [default: the folder's]")
    ] = None,
    recipe: Annotated[
        Path | None, option("--recipe", help="TOML file over the default recipe.")
    ] = None,
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
    mpp: Annotated[
        float | None, option("--mpp", help="Microns per pixel of slides that do not say.")
    ] = None,
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
    source = _source(samples, slide, data, format=data_format, patient=patient, mpp=mpp)

    from hypergene.pipeline.finetune import FinetuneOptions
    from hypergene.pipeline.finetune import finetune as train

    options = FinetuneOptions(
        name=name,
        recipe=recipe,
        set=tuple(set or ()),
        test=_names(test),
        validation=_names(validation),
        mpp=mpp,
        seed=seed,
        epochs=epochs,
        device=device,
        workers=workers,
        cache=cache,
        resume=resume,
        overwrite=overwrite,
    )
    typer.echo(str(train(source, out, options)))


def _names(values: list[str] | None) -> tuple[str, ...]:
    """Return sample names given as ``A,B``, as repeated options, or both."""
    names = [name.strip() for value in values or () for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def _source(
    samples: Path | None,
    slide: Path | None,
    data: Path | None,
    *,
    format: str | None,
    patient: str | None,
    mpp: float | None,
) -> Path | list[Sample]:
    """Return the samples sheet or folder, or the single pair as a list of one sample."""
    if samples is not None:
        if slide is not None or data is not None:
            raise UsageError(
                f"Both the samples {samples} and a single --slide or --data are given.",
                hint="Give one or the other.",
            )
        return samples
    if slide is None or data is None:
        raise UsageError(
            "Training needs SAMPLES, or a single --slide with its --data.",
            hint="Give a samples sheet (CSV: sample,patient,slide,data,format,mpp), a folder, "
            "or --slide S --data D --patient P.",
        )
    from hypergene.st import single_sample

    return [single_sample(slide, data, patient=patient, format=format, mpp=mpp)]
