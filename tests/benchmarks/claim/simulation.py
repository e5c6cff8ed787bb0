"""A simulation whose truth is known: 8 patients x 4 sections of real tiles and real expression.

Tissue is real: the quarters of C3-C6 are four patients with four serial sections each, the quarters
of B4 four more, whose four sections show the same tissue turned and counted anew. No two patients
share a spot. The truth of a spot is its real expression on the leading gene modules; patients and
slides each add an offset to every gene and a shift to the stains, one standard deviation between
spots each; counts are drawn anew (Poisson) at the real depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from hypergene.features.context import vicinity
from hypergene.model.config import ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.pipeline.configure import configure
from hypergene.pipeline.gene_choice import GeneFiles, choose_genes, sets_to_score
from hypergene.spots import rings
from hypergene.training.expression import Expression, average_with
from hypergene.training.modules import fit_modules
from hypergene.training.readout import spatial_blocks
from hypergene.training.recipe import Recipe
from hypergene.training.section import Section, SectionTiles
from hypergene.training.splits import Split

from .dose import gene_offset, stain_deviation, stain_shift
from .sections import (
    Source,
    Task,
    load_encoder,
    measured_slide,
    tiles_of,
    with_features,
)

TRUE_MODULES = 20
EFFECT = 1.0
"""Of patients, and of slides: standard deviations between spots."""
SECTIONS_OF_B4 = 4


@dataclass(frozen=True, eq=False)
class Drawn:
    """Counts that were drawn, in memory."""

    table: sparse.csr_matrix

    def counts(self) -> sparse.csr_matrix:
        return self.table

    def log(self) -> sparse.csr_matrix:
        depth = np.maximum(np.asarray(self.table.sum(axis=1)).ravel(), 1)
        return sparse.csr_matrix(sparse.diags_array(1e4 / depth) @ self.table).log1p().tocsr()


@dataclass(frozen=True, eq=False)
class World:
    """The simulated cohort.

    Attributes
    ----------
    sections
        By patient.
    truths
        Section -> (n, genes) log1p CP10k without noise.
    """

    sections: Mapping[str, Sequence[Section]]
    truths: Mapping[str, NDArray[np.float32]]
    config: ModelConfig
    encoder: TileEncoder

    def task(self, patient: str) -> Task:
        """Leave one patient out."""
        train = tuple(s for name, own in self.sections.items() if name != patient for s in own)
        test = tuple(self.sections[patient])
        measured = [measured_slide(section, self.config.genes) for section in test]
        known = [replace(slide, log=self.truths[slide.name]) for slide in measured]
        sets = sets_to_score([section.expression for section in train], self.config.genes)
        return Task(
            f"without {patient}", train, test, {"measured": measured, "known": known}, sets,
            self.config, self.encoder, {},
        )  # fmt: skip


def simulate(source: Source, recipe: Recipe, weights: Path, seed: int = 0) -> World:
    """Make the cohort; the same for the same seed."""
    frozen, encoder = load_encoder(weights, recipe)
    names = list(source.samples)
    genes = choose_genes(source.data, recipe.genes, GeneFiles.of(recipe.genes))
    samples = tuple(source.samples.values())
    config = configure(
        Split(samples, (), (), "none"), samples, source.data, genes, recipe, encoder, "claim"
    )
    real = {name: tiles_of(source, name, genes.columns[name], config) for name in names}
    modules = fit_modules([section.expression for section in real.values()], TRUE_MODULES)
    base = {
        name: modules.mean + modules.scores(section.expression.log()) @ modules.loadings
        for name, section in real.items()
    }
    deviation = np.concatenate([table - table.mean(0) for table in base.values()]).std(0)
    stains = stain_deviation([section.images.spots for section in real.values()])
    rng = np.random.default_rng(seed)
    sections: dict[str, list[Section]] = {}
    truths = {}
    for patient, name, rows, turn in _pieces(real):
        label = f"{patient}-{name}{turn or ''}"
        effects = (f"{seed} {patient}", f"{seed} {label}")
        offset = sum(gene_offset(effect, EFFECT, len(deviation)) for effect in effects) * deviation
        shift = sum(stain_shift(effect, EFFECT, stains) for effect in effects)
        rates = np.expm1(np.maximum(base[name][rows] + offset, 0.0))
        rates /= rates.sum(axis=1, keepdims=True)
        own = np.asarray(real[name].expression.counts()[rows][:, genes.columns[name]].sum(axis=1))
        counts = sparse.csr_matrix(rng.poisson(rates * np.maximum(own.reshape(-1, 1), 1)))
        piece = _piece(real[name], label, patient, rows, turn, counts, config)
        truths[label] = np.log1p(1e4 * rates).astype(np.float32)
        sections.setdefault(patient, []).append(
            with_features(piece, frozen, config, source.store, shift=np.asarray(shift))
        )
    return World(sections, truths, config, frozen.encoder)


def _pieces(real: Mapping[str, Section]):
    """Patient, section, rows and quarter turns of every simulated section."""
    for quarter in range(4):
        for name, section in real.items():
            rows = np.flatnonzero(spatial_blocks(section.xy_um) == quarter)
            turns = range(SECTIONS_OF_B4) if name == "B4" else (0,)
            for turn in turns:
                yield f"P{name[0]}{quarter + 1}", name, rows, turn


def _piece(
    section: Section, label: str, patient: str, rows: NDArray[np.int64], turn: int,
    counts: sparse.csr_matrix, config: ModelConfig,
) -> Section:  # fmt: skip
    """Cut some spots and the context around them out of a section, with other counts."""
    xy_um = section.xy_um[rows]
    pitch = config.layout.pitch_um
    near = cKDTree(xy_um).query(section.context_xy_um)[0] < 1.5 * pitch
    context_um = section.context_xy_um[near]
    tiles = section.images
    assert isinstance(tiles, SectionTiles)
    spots = np.rot90(np.asarray(tiles.spots[rows]), turn, axes=(2, 3))
    context = np.rot90(np.asarray(tiles.context[near]), turn, axes=(2, 3))
    around = average_with(rings(xy_um, xy_um, (0.0, config.ring_edges_um[1]))[0])
    drawn = Drawn(sparse.csr_matrix(counts))
    return replace(
        section,
        name=label,
        patient=patient,
        xy_um=xy_um,
        expression=Expression(label, drawn, np.arange(counts.shape[1]), label, lambda: around),
        log_depth=np.log(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)),
        context_xy_um=context_um,
        rings=vicinity(xy_um, context_um, config).rings,
        neighbours=around,
        images=SectionTiles(spots, spots, context),
    )
