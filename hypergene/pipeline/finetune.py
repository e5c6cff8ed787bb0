"""``hypergene finetune``: a samples sheet in, a model folder out."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from hypergene import __version__
from hypergene.errors import DataError, OutputError
from hypergene.evaluation import expressed, gene_sets, most_variable
from hypergene.features.cache import ArrayCache
from hypergene.features.device import pick_device
from hypergene.model.config import LayoutConfig, ModelConfig, Provenance
from hypergene.model.encoder import TileEncoder
from hypergene.model.network import HyperGene
from hypergene.output import atomic_path
from hypergene.pipeline.card import model_card
from hypergene.pipeline.metrics_log import MetricsLog
from hypergene.st import Sample, read_sample, read_samples, shared_genes
from hypergene.training.assess import EncodedSection, GeneSets, encode_sections, score_section
from hypergene.training.modules import fit_modules
from hypergene.training.recipe import Recipe, load_recipe
from hypergene.training.reliability import copy_reliability, fit_reference, measure_reliability
from hypergene.training.section import Section, prepare_section
from hypergene.training.splits import Split, split_samples
from hypergene.training.trainer import Best, Trainer
from hypergene.zoo import write_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneOptions:
    """Everything the user can say about a training run.

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
    workers
        Threads that read tiles.
    resume
        Go on from the checkpoints in the output folder.
    overwrite
        Replace a finished model.
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
    workers: int = 2
    resume: bool = True
    overwrite: bool = False


def finetune(
    samples: str | Path | Sequence[Sample], out: str | Path, options: FinetuneOptions | None = None
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

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    HypergeneError
        Whatever is wrong with samples, recipe or output, in one sentence.
    """
    options = options or FinetuneOptions()
    out = Path(out)
    overrides = options.set + ((f"train.epochs={options.epochs}",) if options.epochs else ())
    recipe = load_recipe(options.recipe, overrides)
    device = pick_device(options.device)
    split = _split(samples, options)
    folder = _prepare_output(out, options)

    data = {sample.sample: read_sample(sample) for sample in split.learnt + split.test}
    config, sets = _configure(split, data, recipe, options.name or out.resolve().name)
    torch.manual_seed(options.seed)
    frozen = (
        TileEncoder(config.encoder, weights=True) if recipe.train.encoder == "frozen" else None
    )
    cache = ArrayCache(out / "cache")
    sections = {
        sample.sample: prepare_section(
            sample,
            data[sample.sample],
            config.genes,
            config,
            cache,
            frozen=frozen,
            device=device,
            mpp=options.mpp,
            workers=options.workers,
        )
        for sample in split.learnt + split.test
    }
    del data, frozen

    run = _Run(config, recipe, sets, device, options.seed, out, _run_name(split, recipe, options))
    train = [sections[s.sample] for s in split.train]
    validation = [sections[s.sample] for s in split.validation]
    learnt = [sections[s.sample] for s in split.learnt]

    model, best = run.train("select", train, validation)
    if validation:
        measure_reliability(model, encode_sections(model, validation, device), device)
        if recipe.train.refit:
            chosen, (model, _) = model, run.train("refit", learnt, [], best)
            copy_reliability(chosen, model)
    encoded = encode_sections(model, learnt if recipe.train.refit else train, device)
    fit_reference(model, encoded)
    model.to(device)

    tested = encode_sections(model, [sections[s.sample] for s in split.test], device)
    scores = _score(model, tested, sets, out)
    with atomic_path(folder, overwrite=options.overwrite) as temporary:
        temporary.mkdir()
        write_model(temporary, model, model_card(model, split, recipe, best, scores))
    return folder


@dataclass(frozen=True)
class _Run:
    """What both phases of a run share."""

    config: ModelConfig
    recipe: Recipe
    sets: GeneSets
    device: torch.device
    seed: int
    out: Path
    name: str

    def train(
        self,
        phase: str,
        train: Sequence[Section],
        validation: Sequence[Section],
        best: Best | None = None,
    ) -> tuple[HyperGene, Best]:
        torch.manual_seed(self.seed)
        model = HyperGene(self.config, weights=True)
        modules = fit_modules(
            [section.expression for section in train], self.config.head.modules, seed=self.seed
        )
        trainer = Trainer(
            model,
            self.recipe,
            train,
            validation,
            modules,
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


def _split(samples: str | Path | Sequence[Sample], options: FinetuneOptions) -> Split:
    listed = read_samples(samples) if isinstance(samples, str | Path) else list(samples)
    return split_samples(listed, test=options.test, validation=options.validation)


def _prepare_output(out: Path, options: FinetuneOptions) -> Path:
    """Refuse a finished run, or clear what is not to be resumed; return the model's folder."""
    folder = out / "model"
    if folder.exists() and not options.overwrite:
        raise OutputError(
            f"{folder} exists already.", hint="Give --overwrite to replace it, or another --out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume or options.overwrite:
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            (out / "metrics.csv").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {out} cannot be written: {error.strerror or error}.",
            hint="Choose another --out.",
        ) from error
    return folder


def _configure(
    split: Split, data: dict[str, AnnData], recipe: Recipe, name: str
) -> tuple[ModelConfig, GeneSets]:
    """Choose genes on everything but the test, and put the model's configuration together."""
    learnt = [data[sample.sample] for sample in split.learnt]
    shared = shared_genes([adata.var_names for adata in learnt])
    pooled = _pooled(learnt, shared)
    among = expressed(pooled, min_share=recipe.genes.min_detected)
    if not among.any():
        raise DataError(
            f"None of the {len(shared):,} genes that all samples share is detected in "
            f"{recipe.genes.min_detected:.0%} of the training spots.",
            hint="Lower it with --set genes.min_detected=0.02.",
        )
    columns = (
        np.flatnonzero(among)
        if recipe.genes.most is None
        else np.sort(most_variable(pooled, recipe.genes.most, among))
    )
    genes = tuple(shared[column] for column in columns)
    chosen = set(genes)
    sets = {
        set_name: [gene for gene in members if gene in chosen]
        for set_name, members in gene_sets(pooled, shared).items()
    }
    patients = {sample.patient for sample in split.learnt} - {None}
    config = ModelConfig(
        provenance=Provenance(
            name=name,
            trained_on=tuple(
                s.sample for s in (split.learnt if recipe.train.refit else split.train)
            ),
            patients=len(patients) or None,
            validated_on=tuple(s.sample for s in split.validation),
            validation=split.level,
            hypergene=__version__,
        ),
        encoder=recipe.encoder,
        layout=recipe.layout or _layout(split.learnt, data),
        niche=recipe.niche,
        geometry=recipe.geometry,
        head=recipe.head,
        genes=genes,
    )
    return config, sets


def _pooled(learnt: Sequence[AnnData], genes: Sequence[str]) -> object:
    from scipy import sparse

    return sparse.vstack([adata[:, list(genes)].X for adata in learnt], format="csr")


def _layout(samples: Sequence[Sample], data: dict[str, AnnData]) -> LayoutConfig:
    """Return the layout that all samples share: the model's own lattice."""
    layouts = {}
    for sample in samples:
        found = data[sample.sample].uns["hypergene"].get("layout")
        if found is None:
            raise DataError(
                f"The spot layout of {sample.data} is not known.",
                hint="Give it in the recipe, e.g. [layout] name='visium' lattice='hexagon' "
                "shape='circle' diameter_um=55 pitch_um=100.",
            )
        lattice = "square" if found["lattice"] == "given" else found["lattice"]
        layouts[sample.sample] = LayoutConfig(**(dict(found) | {"lattice": lattice}))
    first = next(iter(layouts.values()))
    for name, layout in layouts.items():
        if abs(layout.pitch_um / first.pitch_um - 1) > 0.1:
            raise DataError(
                f"The samples differ in pitch: {samples[0].sample} has {first.pitch_um:g} µm, "
                f"{name} has {layout.pitch_um:g} µm.",
                hint="Train them apart, or give one [layout] in the recipe.",
            )
    return first


def _score(
    model: HyperGene, tested: Sequence[EncodedSection], sets: GeneSets, out: Path
) -> pd.DataFrame | None:
    """Score held-out sections; write ``scores.csv`` and one table of genes a section."""
    if not tested:
        return None
    rows = []
    for encoded in tested:
        name = encoded.section.name
        by_gene, by_set = score_section(
            model, encoded, model.config.genes, sets, next(model.parameters()).device
        )
        by_gene.to_csv(out / f"genes-{name}.csv", index_label="gene")
        rows.append(by_set.rename_axis("gene_set").reset_index().assign(sample=name))
    table = pd.concat(rows).set_index(["sample", "gene_set"])
    table.to_csv(out / "scores.csv")
    return table


def _run_name(split: Split, recipe: Recipe, options: FinetuneOptions) -> str:
    """Name everything that decides the course of a run, so that no other run is resumed."""
    what = {
        "recipe": recipe.model_dump(mode="json"),
        "train": [str(s.data) for s in split.train],
        "validation": [str(s.data) for s in split.validation],
        "seed": options.seed,
        "mpp": options.mpp,
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
