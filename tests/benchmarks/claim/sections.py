"""Sections as one frozen encoder sees them, with a stain shift if one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.evaluation import MeasuredSlide
from hypergene.features.cache import ArrayCache, array_fingerprint
from hypergene.features.context import Context
from hypergene.features.encode import encode_tiles
from hypergene.model.config import EncoderConfig, ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.pipeline.configure import configure
from hypergene.pipeline.gene_choice import GeneFiles, choose_genes, sets_to_score
from hypergene.st import Sample, read_sample, read_samples
from hypergene.training.assess import GeneSets
from hypergene.training.augment import restain
from hypergene.training.expression import Measured, keep_measured
from hypergene.training.recipe import Recipe
from hypergene.training.section import (
    FrozenEncoder,
    Section,
    SectionFeatures,
    SectionTiles,
    prepare_section,
)
from hypergene.training.splits import Split
from hypergene.training.views import View, Views
from hypergene.zoo import find_encoder

from .dose import gene_offset, stain_deviation, stain_shift

MPP = 0.69
CPU = torch.device("cpu")
_BATCH = 128
_VERSION = 1

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Source:
    """The samples, read once.

    Attributes
    ----------
    samples, data
        By name.
    store
        Cache of tables, tiles and features.
    opened
        Sections with their tiles, which are the same in all tasks.
    """

    samples: Mapping[str, Sample]
    data: Mapping[str, Measured]
    store: ArrayCache
    opened: dict[str, Section] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Path, names: Sequence[str], cache: Path) -> Source:
        """Read samples of a HER2ST folder."""
        store = ArrayCache(cache)
        samples = {s.sample: s for s in read_samples(data) if s.sample in names}
        return cls(
            samples,
            {name: keep_measured(s, read_sample(s), store) for name, s in samples.items()},
            store,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Sections to learn from and to predict, in the features of one encoder.

    Attributes
    ----------
    name
        For tables.
    train, test
        The sections; nothing of a test section but its image is read in training.
    truths
        Kind of truth -> what was measured on each test section, in the order of `test`.
    sets
        Gene sets of the training sections.
    config
        Of the models, but for space, head and readouts.
    encoder
        The frozen encoder.
    offsets
        Section -> (genes,) added to log1p CP10k of all its spots, of training sections.
    """

    name: str
    train: tuple[Section, ...]
    test: tuple[Section, ...]
    truths: Mapping[str, Sequence[MeasuredSlide]]
    sets: GeneSets
    config: ModelConfig
    encoder: TileEncoder
    offsets: Mapping[str, Floats]


def load_encoder(weights: Path, recipe: Recipe) -> tuple[FrozenEncoder, EncoderConfig]:
    """Load the encoder of a recipe with these weights, frozen."""
    choice = recipe.encoder.model_copy(update={"weights": str(weights)})
    found = find_encoder(choice)
    return FrozenEncoder(found.load().eval().requires_grad_(False), CPU), found.config


def task_of(
    source: Source,
    name: str,
    train: Sequence[str],
    test: Sequence[str],
    recipe: Recipe,
    weights: Path,
    dose: float = 0.0,
) -> Task:
    """Prepare a fold of real sections.

    Parameters
    ----------
    source, name, train, test
        The fold.
    recipe
        Any arm's: its encoder, genes and views.
    weights
        Of the encoder.
    dose
        Of synthetic slide effects on all sections: see :mod:`tests.benchmarks.claim.dose`.
    """
    frozen, encoder = load_encoder(weights, recipe)
    used = [source.samples[one] for one in train]
    data = {one: source.data[one] for one in (*train, *test)}
    genes = choose_genes(data, recipe.genes, GeneFiles.of(recipe.genes), list(train))
    split = Split(tuple(used), (), tuple(source.samples[one] for one in test), "none")
    config = configure(split, used, data, genes, recipe, encoder, "claim")
    tiles = {one: tiles_of(source, one, genes.columns[one], config) for one in data}
    learnt = [tiles[one].expression for one in train]
    stains = stain_deviation([tiles[one].images.spots for one in train])
    tables = [expression.dense() for expression in learnt]
    deviation = np.concatenate([table - table.mean(0) for table in tables]).std(0)
    sections = {
        one: with_features(
            section, frozen, config, source.store, shift=stain_shift(one, dose, stains),
            views=recipe.train.views if one in train else 1,
        )
        for one, section in tiles.items()
    }  # fmt: skip
    tested = tuple(sections[one] for one in test)
    return Task(
        name=name,
        train=tuple(sections[one] for one in train),
        test=tested,
        truths={"measured": [measured_slide(section, config.genes) for section in tested]},
        sets=sets_to_score(learnt, genes.names),
        config=config,
        encoder=frozen.encoder,
        offsets={one: gene_offset(one, dose, len(deviation)) * deviation for one in train},
    )


def tiles_of(source: Source, name: str, columns: NDArray[np.int64], config: ModelConfig) -> Section:
    """Take a section with its tiles, and what it says of a model's genes."""
    if name not in source.opened:
        source.opened[name] = prepare_section(
            source.data[name], columns, config, source.store, mpp=MPP, workers=1
        )
    return replace(source.opened[name], expression=source.data[name].expression(columns))


def measured_slide(section: Section, genes: Sequence[str]) -> MeasuredSlide:
    """Say what was measured on a section, unsmoothed."""
    return MeasuredSlide(
        name=section.name,
        patient=section.patient,
        xy_um=section.xy_um,
        genes=tuple(genes),
        log=section.expression.dense(),
        counts=section.expression.counts(),
        columns=section.expression.columns,
        held_out="section",
    )


def with_features(
    section: Section,
    frozen: FrozenEncoder,
    config: ModelConfig,
    store: ArrayCache,
    *,
    shift: Floats | None = None,
    views: int = 1,
) -> Section:
    """Replace a section's tiles by their features, restained if asked for."""
    tiles = section.images
    assert isinstance(tiles, SectionTiles)
    moved = np.zeros(3, np.float32) if shift is None else np.asarray(shift, np.float32)
    key = {
        "what": "claim features",
        "version": _VERSION,
        "weights": frozen.fingerprint,
        "tiles": [array_fingerprint(np.asarray(part)) for part in (tiles.spots, tiles.context)],
        "shift": [float(value) for value in moved],
    }
    encode = partial(_encode, frozen.encoder, shift=moved)
    plain = store.get(key, lambda: {"spots": encode(tiles.spots), "context": encode(tiles.context)})
    images = SectionFeatures(plain.load("spots"), plain.load("context"))
    if views > 1:
        how = Views(views, turn=True, stain=0.2)
        drawn = how.draw(len(section))
        more = store.get(
            key | {"views": views},
            lambda: {"views": np.stack([encode(tiles.spots, view=view) for view in drawn])},
        )
        images = images._replace(views=more.load("views"))
    return replace(section, images=images)


def _encode(
    encoder: TileEncoder, tiles: NDArray[np.uint8], shift: Floats, view: View | None = None
) -> Floats:
    """Encode tiles (n, crops, px, px, 3) after a stain shift, as a view has them."""
    found = []
    for start in range(0, len(tiles), _BATCH):
        batch = stained(np.array(tiles[start : start + _BATCH]), shift)
        if view is not None:
            rows = np.arange(start, start + len(batch))
            crops = [view.of(batch[:, crop], rows) for crop in range(batch.shape[1])]
            batch = np.stack(crops, axis=1)
        found.append(encode_tiles(encoder, batch, CPU))
    return np.concatenate(found)


def stained(tiles: NDArray[np.uint8], shift: Floats) -> NDArray[np.uint8]:
    """Add to the optical density of the stains of tiles (b, crops, px, px, 3) alike."""
    if not np.any(shift):
        return tiles
    pixels = torch.from_numpy(tiles).permute(0, 1, 4, 2, 3).float()
    number = len(tiles)
    moved = restain(pixels, torch.ones(number, 3), torch.from_numpy(np.tile(shift, (number, 1))))
    return moved.permute(0, 1, 3, 4, 2).round().to(torch.uint8).numpy()


@dataclass(frozen=True, eq=False)
class Uncentred(Section):
    """A section whose features keep their slide's level: only the cohort's mean is taken off."""

    level: Floats | None = None

    def encode(
        self, encoder: TileEncoder, config: ModelConfig, device: torch.device
    ) -> tuple[Floats, Context]:
        """Features less the training cohort's mean, and the context likewise."""
        images, level = self.images, self.level
        assert isinstance(images, SectionFeatures) and level is not None
        context = Context(self.context_xy_um, images.context - level, level, config)
        return images.spots - level, context

    @classmethod
    def of(cls, section: Section, level: Floats) -> Uncentred:
        """Keep the level of a section."""
        return cls(**vars(section) | {"level": level})


def cohort_level(train: Sequence[Section]) -> Floats:
    """Mean features over the training slides' contexts."""
    means = [np.asarray(s.images.context).mean(0) for s in train]
    return np.mean(means, axis=0).astype(np.float32)
