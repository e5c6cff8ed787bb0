"""What each switch of a recipe does to the inner validation metric.

    python tests/benchmarks/switches.py ../shared/data/her2st --out runs/switches --jobs 2 \
        --encoder "ssl/no-{section}/encoder.safetensors"

Trains the preset `hypergene` on cached features of a frozen encoder (four views a spot), then again
with one switch turned at a time, then the other presets. Two inner folds: validation B4 of training
C4, C5, C6 (another patient), and C4 of B4, C5, C6 (siblings in training). C3 is never opened.
`{section}` in the encoder's path is the validation section, which the encoder must not have seen
either; `hypergene pretrain` makes such a file.

Every training adds a row to OUT/results.csv; a run that was stopped goes on where it was. The table
goes to stdout: mean and standard deviation over seeds of the mean Pearson over expressed genes,
HVG-50 and HVG-250, and differences to the first row, paired by seed, with their standard error.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from switch_plan import BASE, FROZEN, SWITCHES, Switch
from tqdm import tqdm

from hypergene.features.cache import ArrayCache
from hypergene.features.context import vicinity
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.pipeline.configure import configure
from hypergene.pipeline.gene_choice import ChosenGenes, GeneFiles, choose_genes, sets_to_score
from hypergene.st import read_sample, read_samples
from hypergene.training.assess import GeneSets, encode_sections, selection_metric, validate
from hypergene.training.expression import Measured, keep_measured
from hypergene.training.recipe import Recipe, load_recipe
from hypergene.training.section import FrozenEncoder, Section, prepare_section
from hypergene.training.splits import Split, split_samples
from hypergene.training.targets import Targets, build_targets
from hypergene.training.trainer import Trainer
from hypergene.training.views import Views
from hypergene.zoo import find_encoder

MPP = 0.69
FOLDS = {"B4": ("C4", "C5", "C6"), "C4": ("B4", "C5", "C6")}
"""Validation section -> training sections."""
CPU = torch.device("cpu")
ALONE = {"head": Blend(ridge=0.0), "ridge": Blend(ridge=1.0), "kernel": Blend(0.0, kernel=1.0)}
FIELDS = (
    "key", "group", "switch", "section", "seed", "epoch", "blend", "metric", "expressed", "HVG-50",
    "HVG-250", "head", "ridge", "kernel", "best blend", "seconds", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training."""

    switch: Switch
    section: str
    seed: int
    epochs: int
    data: Path
    encoder: Path
    cache: Path

    @property
    def recipe(self) -> Recipe:
        more = (f"encoder.weights={self.encoder}", f"train.epochs={self.epochs}")
        return load_recipe(None, [*FROZEN, *more, *self.switch.set], self.switch.preset)

    @property
    def key(self) -> str:
        """Everything the result depends on but the code."""
        recipe = self.recipe.model_dump_json(exclude={"encoder": {"weights"}})
        parts = (recipe, self.section, str(self.seed), _sha256(self.encoder))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# In a worker: what trainings share is prepared once ----------------------------------------------


@dataclass(frozen=True, eq=False)
class Fold:
    """The samples of one fold, and the genes that its training sections choose."""

    split: Split
    data: Mapping[str, Measured]
    genes: ChosenGenes
    sets: GeneSets
    cache: ArrayCache

    @property
    def validation(self) -> str:
        return self.split.validation[0].sample


@cache
def read_fold(data: Path, cache_folder: Path, section: str) -> Fold:
    """Read the four sections of a fold."""
    names = {*FOLDS[section], section}
    samples = [sample for sample in read_samples(data) if sample.sample in names]
    split = split_samples(samples, validation=(section,))
    store = ArrayCache(cache_folder)
    tables = {s.sample: keep_measured(s, read_sample(s), store) for s in samples}
    choice = load_recipe().genes
    train = [sample.sample for sample in split.train]
    genes = choose_genes(tables, choice, GeneFiles.of(choice), train)
    learnt = [tables[name].expression(genes.columns[name]) for name in train]
    return Fold(split, tables, genes, sets_to_score(learnt, genes.names), store)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Sections of a fold as one encoder sees them."""

    frozen: FrozenEncoder
    train: list[Section]
    validation: list[Section]


_PREPARED: dict[str, Prepared] = {}
_NOT_OF_SECTIONS = {"source", "reader", "neighbours", "heads"}
"""Keys of the niche that decide nothing about a section but who its neighbours are."""


def prepare(fold: Fold, config: ModelConfig, recipe: Recipe, weights: str) -> Prepared:
    """Encode a fold, or take what an earlier training of this process prepared."""
    niche = config.niche.model_dump_json(exclude=_NOT_OF_SECTIONS)
    key = "".join((weights, config.encoder.model_dump_json(), niche, fold.validation))
    if key not in _PREPARED:
        encoder = find_encoder(recipe.encoder).load()
        frozen = FrozenEncoder(encoder.eval().requires_grad_(False), CPU)
        views = Views(recipe.train.views, recipe.augment.rotate, recipe.augment.stain)
        sections = {
            name: prepare_section(
                measured,
                fold.genes.columns[name],
                config,
                fold.cache,
                frozen=frozen,
                views=views,
                mpp=MPP,
                workers=1,
            )
            for name, measured in fold.data.items()
        }
        validation = sections.pop(fold.validation)
        _PREPARED[key] = Prepared(frozen, list(sections.values()), [validation])
    ready = _PREPARED[key]
    return Prepared(
        ready.frozen,
        [with_neighbours(section, config) for section in ready.train],
        [with_neighbours(section, config) for section in ready.validation],
    )


def with_neighbours(section: Section, config: ModelConfig) -> Section:
    """Find the neighbours that a model attends to, if it does."""
    near = vicinity(section.xy_um, section.context_xy_um, config).nearest
    return replace(section, nearest=near)


_TARGETS: dict[tuple[str, str, int], Targets] = {}


def targets_of(job: Job, recipe: Recipe, fold: Fold, train: Sequence[Section]) -> Targets:
    """Fit gene modules, or take those of an earlier training of this process."""
    key = (job.section, recipe.targets.model_dump_json(), recipe.head.modules)
    if key not in _TARGETS:
        slides = [section.expression for section in train]
        _TARGETS[key] = build_targets(slides, recipe.head.modules, recipe.targets, fold.cache)
    return _TARGETS[key]


def train(job: Job) -> dict[str, Any]:
    """Train once and score the validation section; an error becomes part of the row."""
    row = {"key": job.key, "group": job.switch.group, "switch": job.switch.name}
    row |= {"section": job.section, "seed": job.seed}
    start = time.perf_counter()
    try:
        row |= _scores(job)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}".replace("\n", " ")
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def _scores(job: Job) -> dict[str, Any]:
    recipe = job.recipe
    fold = read_fold(job.data, job.cache, job.section)
    found = find_encoder(recipe.encoder)
    config = configure(
        fold.split, fold.split.train, fold.data, fold.genes, recipe, found.config, "switch"
    )
    ready = prepare(fold, config, recipe, _sha256(job.encoder))
    targets = targets_of(job, recipe, fold, ready.train)
    torch.manual_seed(job.seed)
    model = HyperGene(config)
    model.encoder = ready.frozen.encoder
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            recipe,
            ready.train,
            ready.validation,
            targets,
            fold.sets,
            device=CPU,
            seed=job.seed,
            run=job.key,
            checkpoint=Path(folder) / "run.pt",
            log=lambda row: None,
        )
        best = trainer.fit()
    watched = encode_sections(model, ready.validation, CPU)
    by_blend = validate(model, watched, config.genes, fold.sets, CPU)
    alone = {name: by_blend.get(blend) for name, blend in ALONE.items()}
    return {
        "epoch": best.epoch,
        "blend": "/".join(f"{share:g}" for share in best.blend),
        "metric": best.metric,
        **best.pearson,
        **{name: selection_metric(found) for name, found in alone.items() if found is not None},
        "best blend": max(map(selection_metric, by_blend.values())),
    }


# In the main process ------------------------------------------------------------------------------


class Results:
    """The rows of earlier calls and of this one, on disk as soon as they are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text(",".join(FIELDS) + "\n")
        elif not (text := path.read_text()).endswith("\n"):  # killed while it wrote
            path.write_text(text[: text.rfind("\n") + 1])

    def read(self) -> pd.DataFrame:
        return pd.read_csv(self.path, dtype={"key": str, "error": str})

    def add(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)


def run(jobs: Sequence[Job], results: Results, workers: int) -> None:
    """Train what is not in the results yet, each in a process of its own on one core."""
    rows = results.read()
    done = set(rows.loc[rows["error"].isna(), "key"])
    left = [job for job in jobs if job.key not in done]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # of the processes that are spawned
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, spawn) as pool,
        tqdm(total=len(jobs), initial=len(jobs) - len(left), unit="training") as bar,
    ):
        for finished in as_completed([pool.submit(train, job) for job in left]):
            row = finished.result()
            results.add(row)
            bar.update()
            if "error" in row:
                bar.write(f"{row['switch']}, {row['section']}, {row['seed']}: {row['error']}")


def table(rows: pd.DataFrame, jobs: Sequence[Job]) -> Iterator[str]:
    """Lines of the Markdown table of these jobs."""
    names = {job.key: job.switch.name for job in jobs}
    rows = rows[rows["key"].isin(names)].drop_duplicates("key", keep="last")
    rows = rows.assign(switch=rows["key"].map(names))
    by = {name: part.set_index(["section", "seed"]) for name, part in rows.groupby("switch")}
    none = rows.iloc[:0].set_index(["section", "seed"])
    base = by.get(BASE.name, none)
    sections = list(FOLDS)
    heads = [cell for section in sections for cell in (section, f"Δ {section}")]
    more = ("Δ both", "Δ head alone", "Δ best blend", "s")
    yield "| switch | " + " | ".join([*heads, *more]) + " |"
    yield "|---" * (1 + len(heads) + len(more)) + "|"
    group = BASE.group
    for switch in dict.fromkeys(job.switch for job in jobs):
        if switch.group != group:
            group = switch.group
            yield f"| **{group}** |" + " |" * (len(heads) + len(more))
        found = by.get(switch.name, none)
        cells = []
        for section in sections:
            values = found["metric"][found.index.get_level_values("section") == section]
            cells += [_spread(values), _change(found, base, "metric", [section])]
        cells += [_change(found, base, c, sections) for c in ("metric", "head", "best blend")]
        seconds = found["seconds"].median()
        yield f"| {switch.name} | " + " | ".join(cells) + f" | {seconds:.0f} |"
    kernels = {name: part["kernel"] for name, part in by.items() if part["kernel"].notna().any()}
    for name, values in {"ridge": base["ridge"], **kernels}.items():
        means = values.groupby("section").mean().items()
        yield f"\n{name} alone: " + ", ".join(f"{place} {value:.3f}" for place, value in means)


def _spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    if values.empty:
        return "–"
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def _change(found: pd.DataFrame, base: pd.DataFrame, column: str, sections: Sequence[str]) -> str:
    """Mean and standard error of differences paired by seed; bold from two standard errors on.

    Of several sections the mean is taken first; a seed that lacks one of them is left out.
    """
    if found is base:
        return ""
    pairs = (found[column] - base[column]).dropna().unstack("section")
    values = pairs.reindex(columns=list(sections)).dropna().mean(axis=1)
    if values.empty:
        return "–"
    if len(values) == 1:
        return f"{values.mean():+.3f}"
    mean, error = values.mean(), values.sem()
    text = f"{mean:+.3f} ({error:.3f})"
    return f"**{text}**" if abs(mean) > 2 * error else text


def main() -> int:
    """Parse, train, print; 1 if a training failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the HER2ST folder")
    parser.add_argument("--encoder", required=True, help="safetensors file; {section} is filled in")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one core each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--only", nargs="+", default=[], help="groups or names of switches")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = [
        switch
        for switch in SWITCHES
        if not arguments.only or switch == BASE or {switch.group, switch.name} & {*arguments.only}
    ]
    # Seeds outermost: what is there when a run is stopped is a whole table of fewer seeds.
    jobs = [
        Job(
            switch,
            section,
            seed,
            arguments.epochs,
            arguments.data,
            Path(arguments.encoder.format(section=section)),
            arguments.out / "cache",
        )
        for seed in arguments.seeds
        for switch in wanted
        for section in FOLDS
    ]
    results = Results(arguments.out / "results.csv")
    run(jobs, results, arguments.jobs)
    rows = results.read()
    print("\n".join(table(rows, jobs)))
    keys = {job.key for job in jobs}
    failed = keys - set(rows.loc[rows["error"].isna(), "key"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
