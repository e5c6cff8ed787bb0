"""What is held out is not learnt from, under another name or as pixels alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hypergene.errors import DataError
from hypergene.features.cache import file_fingerprint
from hypergene.pipeline.checks.twins import Sketch
from hypergene.pipeline.leaks import refuse_seen_pixels, refuse_twins_across
from hypergene.st import Sample
from hypergene.training.splits import Split

PLACES = np.stack(np.divmod(np.arange(100), 10), 1)[:, ::-1].astype(np.int64)


def sample(name: str) -> Sample:
    return Sample(name, name, Path(name), Path(name), "her2st", None, None)


def depths(seed: int, like: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(100) if like is None else like + rng.normal(0, 0.01, 100)


def sketched(values: np.ndarray) -> Sketch:
    rank = (np.argsort(np.argsort(values)) + 1) / len(values)
    return Sketch(PLACES, rank.astype(np.float32), np.empty(0, np.uint64))


A, B, C, TWIN = (sample(name) for name in ("A", "B", "C", "twin of A"))
FIRST = depths(0)
SKETCHES = {
    "A": sketched(FIRST),
    "B": sketched(depths(1)),
    "C": sketched(depths(2)),
    "twin of A": sketched(depths(3, FIRST)),
}


@pytest.mark.parametrize(
    ("split", "counts_only", "said"),
    [
        (Split((A, B), (C,), (TWIN,), "patient"), (), "A is trained on and twin of A is tested on"),
        (Split((A, B), (TWIN,), (), "patient"), (), "twin of A is validated on"),
        (Split((B,), (A,), (TWIN,), "patient"), (), "A is validated on and twin of A is tested on"),
        (Split((B,), (C,), (A,), "patient"), (TWIN,), "A is tested on and twin of A is trained on"),
    ],
)
def test_a_tissue_on_both_sides_is_refused_by_both_names(
    split: Split, counts_only: tuple[Sample, ...], said: str
) -> None:
    names = [s.sample for s in (*split.learnt, *split.test, *counts_only)]
    with pytest.raises(DataError, match=said) as refused:
        refuse_twins_across(split, counts_only, {name: SKETCHES[name] for name in names})
    assert "rank correlation of 0.99" in refused.value.message or "1.00" in refused.value.message
    assert "\n" not in refused.value.message


def test_twins_on_one_side_and_different_tissues_are_none_of_this_business() -> None:
    together = Split((A, TWIN), (B,), (C,), "patient")
    refuse_twins_across(together, (), SKETCHES)
    apart = Split((A,), (B,), (C,), "patient")
    refuse_twins_across(apart, (), {name: SKETCHES[name] for name in ("A", "B", "C")})


def pretrained_on(folder: Path, *slides: Path) -> str:
    files = [file_fingerprint(slide)["sha256_of_samples"] for slide in slides]
    metadata = {"hypergene": json.dumps({"files": files})}
    save_file({"w": np.zeros(1, np.float32)}, folder / "start.safetensors", metadata=metadata)
    return str(folder / "start.safetensors")


def with_slide(folder: Path, name: str) -> Sample:
    slide = folder / f"{name}.png"
    slide.write_text(f"the pixels of {name}")
    return replace(sample(name), slide=slide)


def test_an_encoder_that_saw_a_test_slide_is_refused_whatever_the_slide_is_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = (with_slide(tmp_path, name) for name in "ABC")
    assert b.slide is not None
    copy = tmp_path / "another name.png"
    copy.write_bytes(b.slide.read_bytes())
    weights = pretrained_on(tmp_path, copy)
    refuse_seen_pixels(Split((b,), (c,), (a,), "patient"), weights)
    assert not caplog.records
    refuse_seen_pixels(Split((a,), (b,), (c,), "patient"), weights)
    assert "saw the pixels of B: what validation says is optimistic" in caplog.text
    with pytest.raises(DataError, match="trained on the pixels of B, to be tested on") as refused:
        refuse_seen_pixels(Split((a,), (c,), (b,), "patient"), weights)
    assert "--without" in str(refused.value.hint)


@pytest.mark.parametrize("weights", [None, "missing.safetensors", "text"])
def test_weights_that_say_nothing_are_not_judged(tmp_path: Path, weights: str | None) -> None:
    a, b = (with_slide(tmp_path, name) for name in "AB")
    if weights == "text":
        (tmp_path / "text").write_text("no weights")
        weights = str(tmp_path / "text")
    refuse_seen_pixels(Split((a,), (), (b,), "patient"), weights)
