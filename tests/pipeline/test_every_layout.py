"""Training starts from every layout that labs have, straight from its files."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts.made import MadeSection, made_section

from hypergene.pipeline.finetune import finetune
from hypergene.st import Sample
from hypergene.st.formats import FORMATS
from hypergene.zoo import read_config

Write = Callable[[Path, MadeSection], Sample]


def writers() -> dict[str, Write]:
    folder = Path(importlib.import_module("layouts").__file__ or "").parent
    found: dict[str, Write] = {}
    for path in sorted(folder.glob("*.py")):
        found |= getattr(importlib.import_module(f"layouts.{path.stem}"), "WRITERS", {})
    return found


# One of each format: the readers' own tests go through the rest.
CHOSEN = {
    "her2st": "her2st",
    "tables": "tables-stnet",
    "h5ad": "h5ad-scanpy-visium",
    "zarr": "zarr-3",
    "hest": "hest-visium",
    "spatialdata": "spatialdata-visium",
    "spaceranger": "spaceranger-v2-h5",
    "visium-hd": "visium-hd-pooled",
    "xenium": "xenium-transcripts",
}


def test_every_format_is_among_them() -> None:
    assert set(CHOSEN) == set(FORMATS)


@pytest.mark.parametrize("format", CHOSEN)
def test_training_starts_from(format: str, tmp_path: Path, tiny_recipe: Path) -> None:
    write = writers()[CHOSEN[format]]
    samples = [
        write(tmp_path / name, made_section(name, seed=seed))
        for seed, name in enumerate(("A1", "B1"))
    ]
    assert {sample.format for sample in samples} == {format}
    model = finetune(
        samples, tmp_path / "run", recipe=tiny_recipe, epochs=1, set="train.refit=false",
        validation="B1",
        device="cpu", workers=0,
    )  # fmt: skip
    config = read_config(model)
    assert config.provenance.trained_on == ("A1",)
    assert config.provenance.validated_on == ("B1",)
    assert len(config.genes) >= 18  # of 20: detected in enough spots of A1
