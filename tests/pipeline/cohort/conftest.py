"""Cohorts of slides that nobody could read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hypergene.pipeline.cohort.claims import Claims
from hypergene.pipeline.cohort.jobs import Job
from hypergene.pipeline.cohort.locks import Heart
from hypergene.pipeline.predict import PredictOptions


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Three slides that nobody could read."""
    made = []
    for name in "abc":
        slide = tmp_path / f"{name}.svs"
        slide.write_text(f"pixels of {name}")
        made.append(Job(name, slide, tmp_path / "out", PredictOptions()))
    return made


@pytest.fixture
def make_claims() -> Iterator[Callable[..., Claims]]:
    """The claims of a run."""
    hearts = []

    def make(model: str = "m", resume: bool = True) -> Claims:
        hearts.append(Heart(beat_s=60))
        return Claims(model, resume, hearts[-1])

    yield make
    for heart in hearts:
        heart.close()
