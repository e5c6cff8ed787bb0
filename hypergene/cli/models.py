"""``hypergene models``: which models there are, what they are, and how they travel."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli.console import columns, log, say_error
from hypergene.cli.options import option

models_app = typer.Typer(
    name="models",
    help="List, show, fetch, publish and verify models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_UNKNOWN = "–"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A bundled model, a model folder, or hf-hub:org/name[@revision].",
        show_default=False,
        autocompletion=completion.models,
    ),
]


@models_app.command("list")
def list_(
    hub: Annotated[bool, option("--hub", help="Ask the Hugging Face hub, too.")] = False,
    encoders: Annotated[
        bool, option("--encoders", help="List image encoders that a recipe can name instead.")
    ] = False,
    json: Annotated[bool, option("--json", help="Print one JSON array.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """List models: bundled, in the Hugging Face cache, and with --hub those on the hub.

    On the hub, models are found by the tag that hypergene models push gives them.
    """
    if encoders:
        _list_encoders(as_json=json)
        return

    from dataclasses import asdict

    from hypergene.errors import ModelError
    from hypergene.zoo.listing import list_hub_models, list_local_models

    found = list_local_models()
    if hub:
        try:
            here = {model.name for model in found}
            found += [model for model in list_hub_models() if model.name not in here]
        except ModelError as error:
            log.warning("Models on the hub are not listed: %s %s", error.message, error.hint or "")
    if json:
        typer.echo(dumps([asdict(model) for model in found], ensure_ascii=False))
        return
    rows = [("name", "where", "size", "genes", "tissue", "licence", "")]
    rows += [
        (
            model.name,
            model.where,
            _size(model.size_bytes),
            _UNKNOWN if model.genes is None else f"{model.genes:,}",
            model.tissue or _UNKNOWN,
            model.licence or _UNKNOWN,
            model.note,
        )
        for model in found
    ]
    typer.echo(columns(rows, to_the_right=(2, 3)))


@models_app.command()
def show(
    model: Model,
    card: Annotated[bool, option("--card", help="Print the whole card.")] = False,
    # No variable of its own: HYPERGENE_GENES names the genes that predict gives.
    genes: Annotated[
        bool, typer.Option("--genes", help="Print every gene with its reliability as CSV.")
    ] = False,
    json: Annotated[bool, option("--json", help="Print one JSON object.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Say what a model is, what it learnt from, and how far its genes may be trusted."""
    from hypergene.pipeline.models.facts import model_facts

    found = model_facts(model)
    if card:
        text = found.card or f"{found.folder} has no card."
    elif genes:
        text = found.genes_as_csv()
    else:
        text = found.as_json() if json else found.as_text()
    typer.echo(text.rstrip("\n"))


@models_app.command()
def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="hf-hub:org/name or hf-hub:org/name@revision.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        option("--out", "-o", help="Folder for a copy to carry away.  [default: only the cache]"),
    ] = None,
    overwrite: Annotated[bool, option("--overwrite", help="Replace a model at --out.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Fetch a model from the hub and verify it.

    Afterwards it is used without a network; with --out it can be carried to a machine that never
    has one, as --model FOLDER there. Prints the folder.
    """
    from hypergene.pipeline.models.pull import pull_model

    typer.echo(str(pull_model(model, out, overwrite=overwrite)))


@models_app.command()
def push(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="A model folder, or a bundled model.", show_default=False
        ),
    ],
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="Repository.", show_default=False)
    ],
    private: Annotated[bool, option("--private", help="Only the organisation can see it.")] = False,
    dry_run: Annotated[
        bool, option("--dry-run", help="List what would be uploaded; ask nobody.")
    ] = False,
    json: Annotated[bool, option("--json", help="Print one JSON object.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Publish a model folder on the Hugging Face hub.

    Checks that it loads and that its card states a licence and the training data, and uploads the
    files of a model, nothing else. Needs an access token that may write, in HF_TOKEN.
    """
    from hypergene.zoo.push import plan_push
    from hypergene.zoo.push import push as upload
    from hypergene.zoo.registry import find_model

    plan = plan_push(find_model(folder), repository)
    if plan.public:
        log.info("Names that everyone who sees the model can read: %s.", ", ".join(plan.public))
    if plan.left_out:
        log.info("Left where it is: %s.", ", ".join(plan.left_out))
    for warning in plan.warnings:
        log.warning("%s", warning)
    address = None if dry_run else upload(plan, private=private)
    files = [
        {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
        for file in plan.files
    ]
    if json:
        about = {"repository": repository, "commit": address, "files": files}
        typer.echo(dumps(about | {"left_out": plan.left_out, "public": plan.public}))
    elif address is not None:
        typer.echo(address)
    else:
        rows = [("file", "bytes", "sha256")]
        rows += [(file.name, f"{file.size_bytes:,}", file.sha256) for file in plan.files]
        typer.echo(columns(rows, to_the_right=(1,)))
        log.info("Nothing was uploaded. Without --dry-run this goes to %s.", repository)


@models_app.command()
def verify(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Bundled models, model folders, or hf-hub:org/name of the cache.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ],
    json: Annotated[bool, option("--json", help="Print one JSON object a model.")] = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Compare models with their checksums, and load them; needs no network.

    Leaves with 1 if anything is wrong.
    """
    from dataclasses import asdict

    from hypergene.zoo.verify import verify_model

    all_well = True
    for name in models:
        found = verify_model(name)
        all_well = all_well and found.ok
        if json:
            folder = None if found.folder is None else str(found.folder)
            typer.echo(dumps(asdict(found) | {"folder": folder, "ok": found.ok}))
        elif found.ok:
            compared = ", ".join(f"{file.name} ({file.against})" for file in found.files)
            typer.echo(f"{name}: OK  {compared}")
        else:
            typer.echo(f"{name}: FAILED")
        if not found.ok:
            say_error(" ".join(found.problems), found.hint)
    if not all_well:
        raise typer.Exit(1)


def _list_encoders(*, as_json: bool) -> None:
    from hypergene.zoo.encoders import known_encoders

    known = known_encoders()
    if as_json:
        typer.echo(dumps([{"name": name} | row.model_dump() for name, row in known.items()]))
        return
    rows = [("encoder.name", "encoder", "million weights", "crop µm", "licence", "gated")]
    rows += [
        (
            name,
            row.title,
            f"{row.parameters:,.1f}",
            f"{row.tile_um:g}",
            row.licence,
            "yes" if row.gated else "no",
        )
        for name, row in known.items()
    ]
    typer.echo(columns(rows, to_the_right=(2, 3)))


def _size(size_bytes: int | None) -> str:
    return _UNKNOWN if size_bytes is None else f"{size_bytes / 1e6:,.1f} MB"
