"""A square of spots whose redness is their expression, without a slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from hypergene.features.context import vicinity
from hypergene.model.config import EncoderConfig, LayoutConfig, ModelConfig, Provenance
from hypergene.spots import rings
from hypergene.training.expression import Expression
from hypergene.training.section import Section, SectionFeatures, SectionTiles

GENES = 12
PX = 32
WIDE_PX = 46


def tiny_config(**more: Any) -> ModelConfig:
    return ModelConfig(
        provenance=Provenance(name="tiny"),
        encoder=EncoderConfig(
            name="resnet10t",
            arguments={"channels": [8, 8, 16, 16], "stem_width": 8},
            tile_um=(112.0,),
            tile_px=PX,
        ),
        layout=LayoutConfig(
            name="st", lattice="square", shape="circle", diameter_um=100, pitch_um=200
        ),
        geometry={"dim": 8},
        head={"modules": 4, "dropout": 0.2},
        genes=tuple(f"G{i}" for i in range(GENES)),
        **more,
    )


@dataclass(frozen=True, eq=False)
class InMemory:
    """Tables that a test made up."""

    log_table: sparse.csr_matrix
    counts_table: sparse.csr_matrix

    def log(self) -> sparse.csr_matrix:
        return self.log_table

    def counts(self) -> sparse.csr_matrix:
        return self.counts_table


def in_memory(log: Any, counts: Any = None, columns: Any = None) -> Expression:
    table = sparse.csr_matrix(np.asarray(log, np.float32))
    counts = sparse.csr_matrix(table.shape, dtype=np.int32) if counts is None else counts
    tables = InMemory(table, counts)
    return Expression(
        name="made",
        tables=tables,
        columns=np.arange(table.shape[1]) if columns is None else np.asarray(columns),
        fingerprint="made",
        around=lambda: sparse.eye_array(table.shape[0], format="csr"),
    )


def tiny_section(
    config: ModelConfig,
    name: str,
    patient: str,
    seed: int,
    side: int = 6,
    offset: float = 0.0,
    *,
    features: int = 0,
) -> Section:
    """A square of spots under a slide-wide offset, as tiles, or as so many cached features."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(side * side), side)
    xy_um = 200.0 * np.stack([column, row], 1) + 100
    level = rng.uniform(0, 1, side * side)
    loading = np.linspace(-1, 1, GENES)
    expression = 2 + offset + np.outer(level - 0.5, loading)
    expression += rng.normal(0, 0.05, expression.shape)
    counts = sparse.csr_matrix(rng.poisson(20 * np.exp(expression - 2)))

    def tiles(px: int) -> np.ndarray:
        pixels = np.full((side * side, 1, px, px, 3), 200, np.uint8)
        pixels[..., 0] = (80 + 150 * level).astype(np.uint8)[:, None, None, None]
        return pixels

    images: SectionTiles | SectionFeatures
    if features:
        table = rng.normal(offset, 1, (side * side, features)).astype(np.float32)
        table[:, 0] += 6 * level
        images = SectionFeatures(table, table.copy())
    else:
        images = SectionTiles(tiles(PX), tiles(WIDE_PX), tiles(PX))
    seen = vicinity(xy_um, xy_um, config)
    near = rings(xy_um, xy_um, (0.0, config.ring_edges_um[1]))[0]
    return Section(
        name=name,
        patient=patient,
        xy_um=xy_um,
        expression=in_memory(expression, counts),
        log_depth=np.log(np.asarray(counts.sum(1)).ravel()),
        context_xy_um=xy_um,
        rings=seen.rings,
        neighbours=sparse.csr_matrix(near),
        images=images,
        nearest=seen.nearest,
    )
