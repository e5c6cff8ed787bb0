"""``hypergene finetune``: a samples sheet in, a model folder out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from hypergene.errors import HypergeneError, OutputError
from hypergene.features.cache import ArrayCache
from hypergene.output import atomic_path
from hypergene.pipeline.card import model_card
from hypergene.pipeline.checks.twins import sketch
from hypergene.pipeline.configure import configure
from hypergene.pipeline.evaluation.held_out import standings
from hypergene.pipeline.gene_choice import GeneFiles, choose_genes, sets_to_score
from hypergene.pipeline.held_out import score_held_out
from hypergene.pipeline.hierarchy import draw_hierarchy
from hypergene.pipeline.keywords import FinetuneKeywords
from hypergene.pipeline.leaks import refuse_seen_pixels, refuse_twins_across
from hypergene.pipeline.options import as_tuple, with_overrides
from hypergene.pipeline.run_name import run_name
from hypergene.pipeline.tensorboard_log import check_tensorboard
from hypergene.pipeline.training_run import TrainingRun
from hypergene.st import Sample, read_sample, read_samples
from hypergene.training import distributed
from hypergene.training.archetypes import fit_archetypes
from hypergene.training.assess import encode_sections
from hypergene.training.expression import Measured, keep_measured
from hypergene.training.lora import check_lora
from hypergene.training.recipe import DEFAULT_PRESET, Recipe, load_recipe
from hypergene.training.reliability import (
    copy_reliability,
    fit_reference,
    held_out_ratios,
    hold_out_reference,
    measure_reliability,
)
from hypergene.training.section import FrozenEncoder, prepare_section
from hypergene.training.splits import Split, split_samples
from hypergene.training.views import Views
from hypergene.zoo import find_encoder, write_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of :func:`finetune`, named as on the command line.

    Attributes
    ----------
    name
        The model's name; None = the name of the output folder.
    preset
        Recipe to start from, see :func:`hypergene.training.recipe.presets`.
    recipe
        TOML file over the preset.
    set
        Single values of the recipe, ``"section.key=value"``.
    test
        Samples held out entirely and scored at the end.
    validation
        Samples that choose epoch and blend; none = chosen by patient.
    mpp
        Microns per pixel of slides for which neither sheet nor file says it.
    seed
        Of weights, batches and views.
    epochs
        Most epochs; None = the recipe's.
    device
        ``auto``, ``cpu`` or ``cuda``.
    cache
        Folder of tiles and tables that runs may share; None = ``cache/`` in the output folder.
    workers
        Threads that read tiles.
    tensorboard
        Write the course of training for TensorBoard, too, into ``tensorboard/`` of the run.
    resume
        Go on from the checkpoints in the output folder.
    overwrite
        Replace a finished model, training it anew.
    """

    name: str | None = None
    preset: str = DEFAULT_PRESET
    recipe: Path | None = None
    set: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    mpp: float | None = None
    seed: int = 0
    epochs: int | None = None
    device: str = "auto"
    cache: Path | None = None
    workers: int = 2
    tensorboard: bool = False
    resume: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Take names as any sequence of texts, or one."""
        for field in ("set", "test", "validation"):
            object.__setattr__(self, field, as_tuple(getattr(self, field)))


def finetune(
    samples: str | Path | Sequence[Sample],
    out: str | Path,
    options: FinetuneOptions | None = None,
    **overrides: Unpack[FinetuneKeywords],
) -> Path:
    """Train a model on slides with measured expression.

    The samples are split by patient; the validation samples choose the number of epochs and the
    blend of both readouts, and say how far each gene can be trusted; then, unless the recipe says
    otherwise, a fresh model is trained on training and validation samples for as many epochs. Test
    samples are scored at the very end and choose nothing.

    Parameters
    ----------
    samples
        A samples sheet, a folder in the HER2ST layout, or the samples themselves.
    out
        Folder of the run: ``model/`` (what ``predict --model`` takes), ``metrics.csv``,
        ``hierarchy.png``, ``scores.csv`` and ``genes-<sample>.csv`` of the held-out samples,
        ``checkpoints/`` and ``cache/``.
    options
        See :class:`FinetuneOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    pathlib.Path
        The model folder.

    Raises
    ------
    HypergeneError
        Whatever is wrong with samples, recipe or output, in one sentence.

    Notes
    -----
    Under torchrun every process calls this alike; the main one writes.

    Examples
    --------
    >>> import hypergene
    >>> model = hypergene.finetune("sections.csv", "run", recipe="small.toml", test=("B1", "B2"))
    >>> adata = hypergene.predict("slide.svs", model=model)
    """
    options = with_overrides(options or FinetuneOptions(), overrides)
    out = Path(out)
    with distributed.session(options.device) as device:
        _finetune(samples, out, options, device)
    return out / "model"


def _finetune(
    samples: str | Path | Sequence[Sample],
    out: Path,
    options: FinetuneOptions,
    device: torch.device,
) -> None:
    recipe = _recipe(options)
    split = _split(samples, options)
    _refuse_finished(out / "model", overwrite=options.overwrite)
    if recipe.train.encoder == "lora":
        check_lora()
    if options.tensorboard:
        check_tensorboard()
    # Before any data are read: access to weights that nobody may use is a short story.
    found = find_encoder(recipe.encoder)
    refuse_seen_pixels(split, recipe.encoder.weights)
    gene_files = GeneFiles.of(recipe.genes)

    used, last = (split.learnt, "refit") if recipe.train.refit else (split.train, "select")
    counts_only = _counts_only(split, recipe)
    cache = ArrayCache(Path(options.cache or out / "cache"))
    data = _read(split, counts_only[last], cache, out)
    genes = choose_genes(data, recipe.genes, gene_files, [sample.sample for sample in used])
    name = options.name or out.resolve().name
    config = configure(split, used, data, genes, recipe, found.config, name, counts_only[last])
    expression = {name: data[name].expression(genes.columns[name]) for name in data}
    # What is held out chooses no gene set that it is scored on: not the validation its own either.
    select_sets, test_sets = (
        sets_to_score([expression[sample.sample] for sample in part], config.genes)
        for part in (split.train, used)
    )
    if distributed.is_main() and (options.overwrite or not options.resume):
        _clear(out)
    distributed.barrier()
    torch.manual_seed(options.seed)
    is_frozen = recipe.train.encoder == "frozen"
    start = found.load() if is_frozen or found.weights is not None else None
    frozen = FrozenEncoder(start, device) if is_frozen and start is not None else None
    views = Views(recipe.train.views, recipe.augment.rotate, recipe.augment.stain)
    sections = {
        sample.sample: prepare_section(
            data[sample.sample],
            genes.columns[sample.sample],
            config,
            cache,
            frozen=frozen,
            views=views if sample in used else None,
            mpp=options.mpp,
            workers=options.workers,
        )
        for sample in split.learnt + split.test
    }
    train, validation, learnt, tested = (
        [sections[sample.sample] for sample in part]
        for part in (split.train, split.validation, split.learnt, split.test)
    )
    more = {
        phase: [expression[sample.sample] for sample in samples]
        for phase, samples in counts_only.items()
    }

    run = TrainingRun(
        config=config,
        recipe=recipe,
        sets=select_sets,
        start=start,
        device=device,
        seed=options.seed,
        out=out,
        cache=cache,
        name=run_name(config, recipe, split, sections, expression, counts_only, options.seed),
        tensorboard=options.tensorboard,
    )
    chosen = final = run.train("select", train, more["select"], validation)
    if validation and recipe.train.refit:
        final = run.train("refit", learnt, more["refit"], [], chosen.best)
    if not distributed.is_main():
        return
    seen = encode_sections(final.model, [sections[sample.sample] for sample in used], device)
    fit_reference(final.model, seen)
    if validation:
        watched = encode_sections(chosen.model, validation, device)
        apart = split.level == "patient"
        measure_reliability(chosen.model, watched, device, apart=apart, seed=options.seed)
        copy_reliability(chosen.model, final.model)
        ratios = held_out_ratios(
            chosen.model, encode_sections(chosen.model, train, device), watched
        )
        hold_out_reference(final.model, ratios, "patient" if apart else "section")
    fit_archetypes(final.model, seen, final.targets.scores, device, options.seed)
    draw_hierarchy(final.model, seen, final.targets.scores, device, out / "hierarchy.png")

    held_out = encode_sections(final.model, tested, device)
    standing = standings(split.test, split.learnt, {})  # the same tissue twice is refused by now
    scores = score_held_out(final.model, held_out, test_sets, standing, out, device)
    with atomic_path(out / "model", overwrite=options.overwrite) as folder:
        folder.mkdir()
        card = model_card(final.model, split, recipe, chosen.best, scores)
        write_model(folder, final.model, card)


def _recipe(options: FinetuneOptions) -> Recipe:
    path = None if options.recipe is None else Path(options.recipe)
    epochs = () if options.epochs is None else (f"train.epochs={options.epochs}",)
    return load_recipe(path, options.set + epochs, options.preset)


def _split(samples: str | Path | Sequence[Sample], options: FinetuneOptions) -> Split:
    listed = read_samples(samples) if isinstance(samples, str | Path) else list(samples)
    split = split_samples(listed, test=options.test, validation=options.validation)
    for part in ("train", "validation", "test"):
        names = ", ".join(sample.sample for sample in getattr(split, part)) or "none"
        log.info("%s: %s", part, names)
    return split


def _counts_only(split: Split, recipe: Recipe) -> dict[str, tuple[Sample, ...]]:
    """List samples without slide that serve each phase: none of a patient it holds out."""
    held_out = {"select": split.test + split.validation}
    if recipe.train.refit:
        held_out["refit"] = split.test
    return {
        phase: split.counts_apart_from(samples) if recipe.targets.counts_only else ()
        for phase, samples in held_out.items()
    }


def _refuse_finished(folder: Path, *, overwrite: bool) -> None:
    """Refuse a model that is there already, and never replace what is no model."""
    if not folder.exists():
        return
    if not (folder / "config.json").is_file():
        raise OutputError(
            f"{folder} is there and is not a model, so it is not replaced.",
            hint="Choose another --out.",
        )
    if not overwrite:
        raise OutputError(
            f"{folder} exists already.", hint="Give --overwrite to replace it, or another --out."
        )


def _clear(out: Path) -> None:
    """Remove what an earlier run left, but for its model and the cache."""
    try:
        for folder in (out / "checkpoints", out / "tensorboard"):
            if folder.exists():
                shutil.rmtree(folder)
        for table in (out / "metrics.csv", out / "scores.csv", *out.glob("genes-*.csv")):
            table.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"The earlier run in {out} cannot be removed ({error.strerror or error}).",
            hint="Choose another --out.",
        ) from error


def _read(
    split: Split, counts_only: Sequence[Sample], cache: ArrayCache, out: Path
) -> dict[str, Measured]:
    """Read the samples one after the other; a bad one leaves no folder that was not there."""
    is_new = not out.exists()
    data, sketches = {}, {}
    try:
        for sample in (*split.learnt, *split.test, *counts_only):
            adata = read_sample(sample)
            data[sample.sample] = keep_measured(sample, adata, cache)
            sketches[sample.sample] = sketch(adata)
        refuse_twins_across(split, counts_only, sketches)
    except HypergeneError:
        if is_new:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return data
