"""Nested cross-validation: a model a fold and seed, trained as ``hypergene finetune`` trains it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypergene import __version__
from hypergene.errors import OutputError
from hypergene.features.cache import ArrayCache, file_fingerprint
from hypergene.features.device import pick_device
from hypergene.pipeline.evaluation.data import EvaluationData, read_data
from hypergene.pipeline.evaluation.options import EvaluateOptions
from hypergene.pipeline.evaluation.own import OwnModel
from hypergene.pipeline.evaluation.run import EvaluationRun
from hypergene.pipeline.evaluation.source import OwnSource, Part
from hypergene.pipeline.evaluation.writing import as_json, write_text
from hypergene.pipeline.finetune import finetune
from hypergene.st import Sample
from hypergene.training.folds import Fold, folds_of
from hypergene.training.recipe import DEFAULT_PRESET, Recipe, load_recipe
from hypergene.zoo import load_model, weights_sha256

log = logging.getLogger(__name__)

_MADE_BY = "fold.json"


def cross_validate(run: EvaluationRun, samples: Sequence[Sample]) -> Path:
    """Train a model for every fold and seed, score what each held out, return the report.

    Epoch, blend, genes, gene sets and controls come from the training samples of the fold. Models
    stay in ``folds/<fold>-seed<k>/`` of the run; one that is there and was made alike is not
    trained again, and one that was broken off goes on.

    Parameters
    ----------
    run
        Where to, and with what options.
    samples
        All samples, of training and test.

    Raises
    ------
    UsageError
        The samples cannot be divided as asked.
    OutputError
        A fold was trained otherwise, and may not be replaced.
    """
    options = run.options
    assert options.cv is not None
    preset = options.preset or DEFAULT_PRESET
    recipe = load_recipe(options.recipe, options.set, preset)
    method = preset if options.recipe is None else Path(options.recipe).stem
    folds = folds_of(samples, options.cv, options.only)
    for fold in folds:
        (run.notes if fold.split.level == "patient" else run.warnings).append(fold.inner)
    with run.watch("read"):
        data = read_data(samples, (), run.cache)
    seeds = range(options.seed, options.seed + options.seeds)
    folders = {
        (fold.name, seed): run.out / "folds" / f"{quote(fold.name, safe=' ')}-seed{seed}"
        for seed in seeds
        for fold in folds
    }
    with run.watch("train"):
        for seed in seeds:
            for fold in folds:
                made_by = _made_by(fold, recipe, data, seed, options)
                _train(folders[fold.name, seed], fold, method, made_by, samples, seed, run)

    def parts() -> Iterator[Part]:
        for seed in seeds:
            for fold in folds:
                source = _source(folders[fold.name, seed] / "model", options, run.cache, seed)
                held_out = tuple(
                    sample
                    for sample in fold.split.test
                    if not options.only or sample.sample in options.only
                )
                chosen = replace(data, scored=held_out, train=fold.split.learnt)
                yield Part(source, chosen, f"{fold.name}, seed {seed}")

    about = {
        "kind": "cross-validation",
        "cv": options.cv,
        "seeds": list(seeds),
        "recipe": recipe.model_dump(mode="json", exclude={"about"}),
        "folds": [
            {
                "fold": fold.name,
                "test": [sample.sample for sample in fold.split.test],
                "validation": [sample.sample for sample in fold.split.validation],
                "train": [sample.sample for sample in fold.split.train],
                "validation_level": fold.split.level,
            }
            for fold in folds
        ],
    }
    return run.report(parts(), method, about)


def _made_by(
    fold: Fold, recipe: Recipe, data: EvaluationData, seed: int, options: EvaluateOptions
) -> dict[str, Any]:
    """Name everything that decides a fold's model, in plain values."""

    def said(part: Sequence[Sample]) -> list[dict[str, Any]]:
        return [
            {
                "sample": sample.sample,
                "patient": sample.patient,
                "mpp": sample.mpp,
                "slide": None if sample.slide is None else file_fingerprint(sample.slide),
                "data": data.measured[sample.sample].fingerprint,
            }
            for sample in part
        ]

    split = fold.split
    files = (recipe.encoder.weights, recipe.genes.panel, recipe.genes.aliases)
    what = {
        "version": __version__,
        "seed": seed,
        "mpp": options.mpp,
        "recipe": recipe.model_dump(mode="json"),
        "files": [file_fingerprint(Path(name)) for name in files if name and Path(name).is_file()],
        "train": said(split.train),
        "validation": said(split.validation),
        "test": said(split.test),
        "counts_only": said(split.counts_only),
    }
    made: dict[str, Any] = json.loads(as_json(what))
    return made


def _train(
    folder: Path,
    fold: Fold,
    method: str,
    made_by: dict[str, Any],
    samples: Sequence[Sample],
    seed: int,
    run: EvaluationRun,
) -> None:
    """Train the model of one fold, unless it is there."""
    options, note = run.options, folder / _MADE_BY
    is_there = (folder / "model" / "config.json").is_file()
    if note.is_file() and json.loads(note.read_text("utf-8")) == made_by:
        if is_there:
            log.info("%s: trained already", folder.name)
            return
    elif is_there and not options.overwrite:
        raise OutputError(
            f"The model in {folder} was trained otherwise than is asked for now.",
            hint="Give another --out, or --overwrite to train it anew.",
        )
    elif is_there or note.is_file():
        shutil.rmtree(folder, ignore_errors=True)
    # Before the model, so that a model is never beside the note of another.
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, as_json(made_by))
    finetune(
        samples,
        folder,
        name=method,
        preset=options.preset or DEFAULT_PRESET,
        recipe=options.recipe,
        set=options.set,
        test=[sample.sample for sample in fold.split.test],
        mpp=options.mpp,
        seed=seed,
        device=options.device,
        workers=options.workers,
        cache=run.cache.folder,
    )


def _source(folder: Path, options: EvaluateOptions, cache: ArrayCache, seed: int) -> OwnSource:
    device = pick_device(options.device)
    model = load_model(folder, device=str(device))
    own = OwnModel(model, device, cache, options.mpp, options.workers)
    return OwnSource(own, weights_sha256(folder), seed)
