"""``hypergene evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli import samples as given
from hypergene.cli.genes import parse_genes
from hypergene.cli.options import option
from hypergene.errors import UsageError


def evaluate(
    samples: given.Samples = None,
    out: Annotated[
        Path | None, option("--out", "-o", help="Folder for the report and its tables.")
    ] = None,
    model: Annotated[
        str | None,
        option(
            "--model",
            help="Name or folder of the model to score.",
            autocompletion=completion.models,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        option(
            "--predictions",
            help="Another tool's output instead: .h5ad, .zarr, .csv, .tsv, or a folder of them.",
        ),
    ] = None,
    cv: Annotated[
        Literal["patient", "section"] | None,
        option("--cv", help="Train a recipe anew without each patient (or section), and score it."),
    ] = None,
    preset: Annotated[
        str | None,
        option(
            "--preset",
            help="Recipe to cross-validate.  [default: hypergene]",
            autocompletion=completion.presets,
        ),
    ] = None,
    recipe: Annotated[Path | None, option("--recipe", help="TOML file over the preset.")] = None,
    set: Annotated[
        list[str] | None,
        option("--set", help="One value of the recipe, as section.key=value. Repeatable."),
    ] = None,
    seeds: Annotated[int, option("--seeds", help="Models a fold, with --cv.", min=1)] = 3,
    truth: Annotated[
        Path | None, option("--truth", help="The measured SAMPLES, with --predictions.")
    ] = None,
    units: Annotated[
        Literal["log1p-cp10k", "counts", "other"] | None,
        option("--units", help="Of --predictions.  [default: as the file says, else other]"),
    ] = None,
    layer: Annotated[
        str | None, option("--layer", help="Layer that holds --predictions.  [default: X]")
    ] = None,
    train: Annotated[
        str | None,
        option(
            "--train",
            help="What was trained on: a sheet or folder, or names of some SAMPLES (A,B). Gene "
            "sets and controls come from there.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        option("--only", help="Score these samples only: A,B. Repeatable.  [default: all]"),
    ] = None,
    slide: given.SingleSlide = None,
    data: given.SingleData = None,
    data_format: given.DataFormat = None,
    patient: given.Patient = None,
    genes: Annotated[
        str | None,
        option("--genes", help="Genes to draw (ERBB2,KRT8), or a file with one a line."),
    ] = None,
    protocol: Annotated[
        Literal["hest-bench", "triplex"] | None,
        option(
            "--protocol",
            help="Score as published: for comparison with published figures, labelled as such.",
        ),
    ] = None,
    genes_list: Annotated[
        str | None,
        option(
            "--genes-list",
            help="Score these genes only: a file with one a line, or her2st-rule.",
        ),
    ] = None,
    gene_sets: Annotated[
        Path | None, option("--gene-sets", help="A .gmt file of gene sets to score, too.")
    ] = None,
    labels: Annotated[
        Path | None,
        option("--labels", help="Labels of slides (sample,label) or of spots (sample,spot,label)."),
    ] = None,
    replicates: Annotated[
        int, option("--replicates", help="Replicates of every bootstrap.", min=2)
    ] = 500,
    mpp: given.SamplesMpp = None,
    seed: shared.Seed = 0,
    device: shared.Device = "auto",
    workers: shared.Workers = 2,
    cache: Annotated[
        Path | None,
        option("--cache", help="Folder of features that runs may share.  [default: in --out]"),
    ] = None,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Score a model, a recipe or another tool's predictions on samples with measured expression.

    Writes report.html, summary.json and tables (CSV and Parquet); says what flatters a figure.
    """
    if out is None:
        raise UsageError(
            "There is no folder for the report.", hint="Give one with --out, e.g. --out scores."
        )
    if samples is not None and truth is not None:
        raise UsageError(
            f"Both the samples {samples} and --truth {truth} are given.", hint="Give one of them."
        )
    source = given.samples_or_pair(
        samples or truth, slide, data, format=data_format, patient=patient, mpp=mpp
    )
    drawn = parse_genes(genes)

    from hypergene.pipeline.evaluate import evaluate as score
    from hypergene.pipeline.evaluation.options import EvaluateOptions

    options = EvaluateOptions(
        model=model,
        predictions=predictions,
        cv=cv,
        preset=preset,
        recipe=recipe,
        set=tuple(set or ()),
        seeds=seeds,
        units=units,
        layer=layer,
        train=train,
        only=given.sample_names(only),
        genes=drawn,
        protocol=protocol,
        genes_list=genes_list,
        gene_sets=gene_sets,
        labels=labels,
        replicates=replicates,
        mpp=mpp,
        seed=seed,
        device=device,
        workers=workers,
        cache=cache,
        overwrite=overwrite,
    )
    typer.echo(str(score(source, out, options)))
