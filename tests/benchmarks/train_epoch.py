"""How long an epoch of heads and objectives takes on cached features, and where the time goes.

    OMP_NUM_THREADS=2 python tests/benchmarks/train_epoch.py

trains on four slides of 3,400 hexagonal spots with 512 features and 2,000 genes each, with the
guard and every objective on, and prints what an epoch costs. The first epoch is not counted. The
target is 15 s for such an epoch of 13,600 spots on two cores, and 4 GB.

    --set niche.reader=attention     any key of the recipe, over these
    --profile                        then says where the time of one more epoch went
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from memory import peak_gb
from scipy import sparse

from hypergene.features.cache import ArrayCache
from hypergene.features.context import vicinity
from hypergene.model.config import EncoderConfig, LayoutConfig, ModelConfig, Provenance
from hypergene.model.network import HyperGene
from hypergene.spots import rings
from hypergene.training.expression import Expression, average_with
from hypergene.training.recipe import Recipe, TargetChoice, load_recipe
from hypergene.training.section import Section, SectionFeatures
from hypergene.training.targets import build_targets
from hypergene.training.trainer import Trainer

SLIDES, ROWS, COLUMNS = 4, 68, 50
FEATURES, GENES, PITCH_UM = 512, 2000, 100.0
EVERYTHING = (
    "train.encoder=frozen",
    "loss.guard=true",
    "loss.contrast.soft=0.3",
    "loss.relative.weight=0.3",
    *(f"loss.{term}.weight=0.1" for term in ("hca", "pairs", "hea", "cross", "intra")),
    *(f"loss.{term}.weight=0.1" for term in ("radius", "collapse", "clusters")),
)


class Made:
    """Tables that were made up: log1p CP10k and counts of one slide."""

    def __init__(self, counts: sparse.csr_matrix) -> None:
        self._counts = counts
        scale = 1e4 / np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
        self._log = sparse.csr_matrix(counts.multiply(scale[:, None])).log1p().astype(np.float32)

    def counts(self) -> sparse.csr_matrix:
        """Return the counts (n, genes)."""
        return self._counts

    def log(self) -> sparse.csr_matrix:
        """Return log1p CP10k (n, genes)."""
        return self._log


def model_config(recipe: Recipe) -> ModelConfig:
    """Return the configuration of a model whose encoder gives 512 features, and is never run."""
    return ModelConfig(
        provenance=Provenance(name="benchmark"),
        encoder=EncoderConfig(
            name="resnet10t", arguments={"channels": [8, 8, 16, FEATURES], "stem_width": 8}
        ),
        layout=LayoutConfig(
            name="visium", lattice="hexagon", shape="circle", diameter_um=55, pitch_um=PITCH_UM
        ),
        niche=recipe.niche,
        geometry=recipe.geometry,
        head=recipe.head,
        readout=recipe.readout,
        genes=tuple(f"G{number}" for number in range(GENES)),
    )


def make_section(config: ModelConfig, number: int) -> Section:
    """Make a slide of 3,400 spots whose features tell some of their expression."""
    rng = np.random.default_rng(number)
    row, column = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    xy_um = PITCH_UM * np.stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)], 1)
    hidden = rng.normal(size=(len(xy_um), 8))
    mixing = np.random.default_rng(99)
    features = hidden @ mixing.normal(size=(8, FEATURES)) + rng.normal(size=(len(xy_um), FEATURES))
    rate = np.exp(0.3 * hidden @ mixing.normal(size=(8, GENES)) - 0.5)
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.int32))
    seen = vicinity(xy_um, xy_um, config)
    near = rings(xy_um, xy_um, (0.0, config.ring_edges_um[1]))[0]
    table = features.astype(np.float32)
    return Section(
        name=f"S{number}",
        patient=f"P{number}",
        xy_um=xy_um,
        expression=Expression(
            name=f"S{number}",
            tables=Made(counts),
            columns=np.arange(GENES),
            fingerprint=f"made-{number}",
            around=lambda: average_with(near),
        ),
        log_depth=np.log(np.asarray(counts.sum(1), np.float64).ravel()),
        context_xy_um=xy_um,
        rings=seen.rings,
        neighbours=average_with(near),
        images=SectionFeatures(table, table),
        nearest=seen.nearest,
    )


def make_trainer(recipe: Recipe, folder: Path, device: torch.device) -> Trainer:
    """Make a trainer of four made-up slides."""
    torch.manual_seed(0)
    config = model_config(recipe)
    sections = [make_section(config, number) for number in range(SLIDES)]
    expression = [section.expression for section in sections]
    modules = config.head.modules
    targets = build_targets(expression, modules, TargetChoice(), ArrayCache(folder / "cache"))
    return Trainer(
        HyperGene(config),
        recipe,
        sections,
        [],
        targets,
        {},
        device=device,
        seed=0,
        run="benchmark",
        checkpoint=folder / "run.pt",
        log=lambda row: None,
    )


def print_profile(trainer: Trainer) -> None:
    """Say where the time of one more epoch goes; terms are parts of the objective."""
    terms = trainer.objective._terms
    parts: dict[str, tuple[object, str]] = {
        "loading (beside the steps)": (trainer.assembly, "load"),
        "forward": (trainer.model, "forward"),
        "objective": (trainer.objective, "forward"),
        "gradients": (trainer.steps, "_gradients"),
        "optimiser": (trainer.steps.optimizer, "step"),
    }
    spent: Counter[str] = Counter()

    def timed(name: str, whole: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object, **named: object) -> object:
            begun = time.perf_counter()
            result = whole(*given, **named)
            spent[name] += time.perf_counter() - begun
            return result

        return run

    for name, (owner, method) in parts.items():
        setattr(owner, method, timed(name, getattr(owner, method)))
    for name, whole in terms.items():
        terms[name] = timed(f"  {name}", whole)
    row = trainer._epoch()
    print(f"epoch {row['epoch']}: {row['epoch_s']:.1f} s")
    for name in [*parts, *(f"  {name}" for name in terms)]:
        print(f"{name:28} {spent[name]:6.2f} s")


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    recipe = load_recipe(None, [*EVERYTHING, *arguments.set])
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(recipe, Path(folder), torch.device(arguments.device))
        trainer._begin()
        batch = recipe.train.slides_per_batch * recipe.train.spots_per_slide
        spots = sum(len(section) for section in trainer.train_sections)
        print(f"{spots:,} spots, batches of {batch}, {torch.get_num_threads()} threads")
        trainer._epoch()
        for _ in range(arguments.epochs):
            busy = time.process_time()
            row = trainer._epoch()
            busy = time.process_time() - busy
            terms = sum(name.startswith("loss/") for name in row)
            print(
                f"epoch {row['epoch']}: {row['epoch_s']:.1f} s ({busy:.1f} s of processor), of "
                f"which {row['data_s']:.1f} s waiting for data; {terms} terms; "
                f"peak {peak_gb():.2f} GB",
                flush=True,
            )
        if arguments.profile:
            print_profile(trainer)


if __name__ == "__main__":
    main()
