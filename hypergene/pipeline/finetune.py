"""``hypergene finetune``: a samples sheet in, a model folder out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hypergene.errors import HypergeneError, OutputError
from hypergene.features.cache import ArrayCache
from hypergene.features.device import pick_device
from hypergene.model.config import ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.model.network import HyperGene
from hypergene.pipeline.card import model_card
from hypergene.pipeline.checks.twins import sketch
from hypergene.pipeline.configure import configure
from hypergene.pipeline.drafts import draft_of
from hypergene.pipeline.gene_choice import GeneFiles, choose_genes, sets_to_score
from hypergene.pipeline.leaks import refuse_twins_across
from hypergene.pipeline.metrics_log import MetricsLog
from hypergene.pipeline.options import as_tuple
from hypergene.pipeline.run_name import run_name
from hypergene.st import Sample, read_sample, read_samples
from hypergene.training.assess import EncodedSection, GeneSets, encode_sections, score_section
from hypergene.training.expression import Expression, Measured, keep_measured
from hypergene.training.lora import check_lora
from hypergene.training.recipe import Recipe, load_recipe
from hypergene.training.reliability import copy_reliability, fit_reference, measure_reliability
from hypergene.training.section import FrozenEncoder, Section, prepare_section
from hypergene.training.splits import Split, split_samples
from hypergene.training.targets import build_targets
from hypergene.training.trainer import Best, Trainer
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
    recipe
        TOML file over the default recipe.
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
    resume
        Go on from the checkpoints in the output folder.
    overwrite
        Replace a finished model, training it anew.
    """

    name: str | None = None
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
    **overrides: Any,
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
        ``scores.csv`` and ``genes-<sample>.csv`` of the held-out samples, ``checkpoints/`` and
        ``cache/``.
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

    Examples
    --------
    >>> import hypergene
    >>> hypergene.finetune("sections.csv", "my-model", test=("P3",), seed=1)  # doctest: +SKIP
    """
    options = replace(options or FinetuneOptions(), **overrides)
    out = Path(out)
    recipe = _recipe(options)
    device = pick_device(options.device)
    split = _split(samples, options)
    _refuse_finished(out / "model", overwrite=options.overwrite)
    if recipe.train.encoder == "lora":
        check_lora()
    # Before any data are read: access to weights that nobody may use is a short story.
    found = find_encoder(recipe.encoder)
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
    if options.overwrite or not options.resume:
        _clear(out)
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

    name = run_name(config, recipe, split, sections, expression, counts_only, options.seed)
    run = _Run(config, recipe, select_sets, start, device, options.seed, out, cache, name)
    model, best = run.train("select", train, more["select"], validation)
    if validation:
        measure_reliability(model, encode_sections(model, validation, device), device)
        if recipe.train.refit:
            chosen = model
            model, _ = run.train("refit", learnt, more["refit"], [], best)
            copy_reliability(chosen, model)
    fit_reference(model, encode_sections(model, [sections[s.sample] for s in used], device))

    patients = {sample.patient for sample in split.learnt}
    scores = _score(model, encode_sections(model, tested, device), test_sets, patients, out, device)
    with draft_of(out / "model", overwrite=options.overwrite) as folder:
        folder.mkdir()
        write_model(folder, model, model_card(model, split, recipe, best, scores))
    return out / "model"


def _recipe(options: FinetuneOptions) -> Recipe:
    path = None if options.recipe is None else Path(options.recipe)
    epochs = () if options.epochs is None else (f"train.epochs={options.epochs}",)
    return load_recipe(path, options.set + epochs)


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
        if (out / "checkpoints").exists():
            shutil.rmtree(out / "checkpoints")
        for table in (out / "metrics.csv", out / "scores.csv", *out.glob("genes-*.csv")):
            table.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"The earlier run in {out} cannot be removed ({error.strerror or error}).",
            hint="Choose another --out.",
        ) from error


@dataclass(frozen=True)
class _Run:
    """What both phases of a run share."""

    config: ModelConfig
    recipe: Recipe
    sets: GeneSets
    start: TileEncoder | None
    device: torch.device
    seed: int
    out: Path
    cache: ArrayCache
    name: str

    def train(
        self,
        phase: str,
        train: Sequence[Section],
        counts_only: Sequence[Expression],
        validation: Sequence[Section],
        best: Best | None = None,
    ) -> tuple[HyperGene, Best]:
        """Train a fresh model: until the validation is best, or as long as `best` says."""
        torch.manual_seed(self.seed)
        model = HyperGene(self.config)
        if self.start is not None and self.recipe.train.encoder == "frozen":
            model.encoder = self.start  # the very one that the cached features come from
        elif self.start is not None:
            model.encoder.load_state_dict(self.start.state_dict())
        targets = build_targets(
            [section.expression for section in train],
            self.config.head.modules,
            self.recipe.targets,
            self.cache,
            counts_only=counts_only,
            seed=self.seed,
        )
        trainer = Trainer(
            model,
            self.recipe,
            train,
            validation,
            targets,
            self.sets,
            device=self.device,
            seed=self.seed,
            run=f"{phase} {self.name}",
            checkpoint=self.out / "checkpoints" / f"{phase}.pt",
            log=MetricsLog(self.out / "metrics.csv", phase),
        )
        if best is None:
            return model, trainer.fit()
        return model, trainer.fit(stop_epoch=best.epoch, share=best.share)


def _score(
    model: HyperGene,
    tested: Sequence[EncodedSection],
    sets: GeneSets,
    patients: set[str | None],
    out: Path,
    device: torch.device,
) -> pd.DataFrame | None:
    """Score held-out sections; write ``scores.csv`` and one table of genes a section.

    The column ``held_out`` says ``patient`` where nothing was learnt of a section's patient, and
    ``section`` where something was or nobody knows: such scores are optimistic.
    """
    if not tested:
        return None
    rows = []
    for encoded in tested:
        name, patient = encoded.section.name, encoded.section.patient
        apart = None not in {patient, *patients} and patient not in patients
        by_gene, by_set = score_section(model, encoded, model.config.genes, sets, device)
        _write_csv(by_gene.rename_axis("gene"), out / f"genes-{name}.csv")
        by_set["held_out"] = "patient" if apart else "section"
        rows.append(by_set.rename_axis("gene_set").reset_index().assign(sample=name))
    table = pd.concat(rows).set_index(["sample", "gene_set"])
    _write_csv(table, out / "scores.csv")
    return table


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


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with draft_of(path, overwrite=True) as draft:
        table.to_csv(draft)
