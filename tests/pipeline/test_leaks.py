"""The same tissue is never learnt from and held out, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypergene.errors import DataError
from hypergene.pipeline.checks.twins import Sketch
from hypergene.pipeline.leaks import refuse_twins_across
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
