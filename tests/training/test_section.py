"""What is cut from a slide is kept, and cut again when anything that it depends on has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hypergene.features.cache import ArrayCache
from hypergene.model.config import EncoderConfig, LayoutConfig, ModelConfig, Provenance
from hypergene.model.encoder import TileEncoder
from hypergene.st import read_sample, read_samples
from hypergene.training import section as module
from hypergene.training.expression import Measured, keep_measured
from hypergene.training.section import FrozenEncoder, Section, SectionTiles, prepare_section

ENCODER = EncoderConfig(
    name="resnet10t",
    arguments={"channels": [8, 8, 16, 16], "stem_width": 8},
    tile_um=(112.0, 300.0),
    tile_px=32,
)


def config(encoder: EncoderConfig = ENCODER) -> ModelConfig:
    return ModelConfig(
        provenance=Provenance(name="tiny"),
        encoder=encoder,
        layout=LayoutConfig(
            name="st", lattice="square", shape="circle", diameter_um=100, pitch_um=200
        ),
        genes=("ERBB2", "KRT8"),
    )


@pytest.fixture
def measured(tiny_cohort: Any, tmp_path: Path) -> Measured:
    """Section A1 of the cohort, with a slide of its own that a test may change."""
    sample = read_samples(tiny_cohort.sheet)[0]
    slide = tmp_path / "he.png"
    shutil.copy(sample.slide, slide)
    return keep_measured(
        replace(sample, slide=slide), read_sample(sample), ArrayCache(tmp_path / "cache")
    )


@pytest.fixture
def prepare(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Section, int]]:
    """Prepare a section; how many times tiles were read for it comes along."""
    reads: list[int] = []
    for name in ("read_tiles", "encode_spots"):
        real = getattr(module, name)

        def counted(*arguments: Any, real: Any = real, **options: Any) -> Any:
            reads.append(1)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    def run(
        of: Measured = measured, settings: ModelConfig | None = None, **options: Any
    ) -> tuple[Section, int]:
        reads.clear()
        cache = ArrayCache(tmp_path / "cache")
        columns = np.array([0, 2])
        made = prepare_section(of, columns, settings or config(), cache, workers=0, **options)
        return made, len(reads)

    return run


def test_a_section_holds_what_training_needs(prepare) -> None:
    section, reads = prepare()
    assert isinstance(section.images, SectionTiles)
    assert section.images.spots.shape == (30, 2, 32, 32, 3)
    assert section.images.wide.shape[2] > 32
    assert len(section.images.context) == len(section.context_xy_um)
    assert section.expression.dense().shape == (30, 2)
    np.testing.assert_allclose(section.neighbours.sum(1), 1)
    assert all(ring.shape == (30, len(section.context_xy_um)) for ring in section.rings)
    assert reads == 6  # spots, wide spots, context; two crops each


def test_the_second_time_nothing_is_read(prepare) -> None:
    first, _ = prepare()
    again, reads = prepare()
    assert reads == 0
    assert np.array_equal(first.images.wide, again.images.wide)


def changed_slide(measured: Measured) -> Measured:
    pixels = np.asarray(Image.open(measured.sample.slide)).copy()
    pixels[100:150, 100:150] -= 20
    Image.fromarray(pixels).save(measured.sample.slide)
    return measured


CHANGES: dict[str, Callable[[Measured], tuple[Measured, ModelConfig]]] = {
    "another picture under the name": lambda m: (changed_slide(m), config()),
    "another resolution": lambda m: (
        replace(m, sample=replace(m.sample, mpp=4.1)),
        config(),
    ),
    "spots moved": lambda m: (replace(m, xy_px=m.xy_px + 1), config()),
    "wider crops": lambda m: (m, config(ENCODER.model_copy(update={"tile_um": (120.0, 300.0)}))),
    "finer tiles": lambda m: (m, config(ENCODER.model_copy(update={"tile_px": 40}))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_depends_on_a_change_is_read_again(prepare, measured: Measured, change: str) -> None:
    prepare()
    other, settings = CHANGES[change](measured)
    _, reads = prepare(other, settings)
    assert reads >= 4


def test_another_version_of_the_code_reads_again(prepare, monkeypatch) -> None:
    prepare()
    monkeypatch.setattr(module, "CACHE_VERSION", module.CACHE_VERSION + 1)
    assert prepare()[1] == 6


def test_a_damaged_entry_is_read_again(prepare, tmp_path: Path) -> None:
    first, _ = prepare()
    largest = max((tmp_path / "cache").glob("*.h5"), key=lambda path: path.stat().st_size)
    wide = np.array(first.images.wide)
    content = bytearray(largest.read_bytes())
    content[-1000] ^= 1
    largest.write_bytes(content)
    again, reads = prepare()
    assert reads == 2  # that entry alone, two crops
    assert np.array_equal(again.images.wide, wide)


def test_features_of_a_frozen_encoder_are_known_by_its_weights(prepare) -> None:
    def frozen(seed: int) -> FrozenEncoder:
        torch.manual_seed(seed)
        return FrozenEncoder(TileEncoder(ENCODER).eval(), torch.device("cpu"))

    first, reads = prepare(frozen=frozen(0))
    assert reads == 2  # spots and context
    same, reads = prepare(frozen=frozen(0))
    assert reads == 0
    assert np.array_equal(first.images.spots, same.images.spots)
    other, reads = prepare(frozen=frozen(1))
    assert reads == 2
    assert not np.allclose(first.images.spots, other.images.spots)
