"""Which runs there are, and in which order: whole tables of few seeds come first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from .arms import SHARED, TRAINED, Arm
from .dose import DOSES

Part = Literal["real", "dose", "simulation"]

SECTIONS = ("B4", "C3", "C4", "C5", "C6")
OF_C = SECTIONS[1:]
PATIENTS = tuple(f"P{patient}{quarter}" for patient in "BC" for quarter in range(1, 5))
RIDGES = "ridges"
"""The name of the run that fits all closed forms; they have no seed."""
DOSED = ("C0", "C0 centred", "H2")


@dataclass(frozen=True)
class Fold:
    """A task of real sections.

    Attributes
    ----------
    name
        Also that of its encoder, ENCODERS/NAME.safetensors.
    train, test
        Sections.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


WITHIN = tuple(Fold(f"without-{s}", tuple(o for o in SECTIONS if o != s), (s,)) for s in OF_C)
TO_B4 = Fold("without-B4", OF_C, ("B4",))
TO_C = Fold("only-B4", ("B4",), OF_C)
FOLDS = (WITHIN[0], TO_B4, *WITHIN[1:], TO_C)
DOSE_FOLDS = (WITHIN[0], TO_B4)
SIMULATED = "simulation"


@dataclass(frozen=True)
class Job:
    """One run: an arm on a task with a seed.

    Attributes
    ----------
    part, task, dose
        The task; a dose of 0 is the real fold itself.
    arm
        None = the closed forms.
    seed
        0 for closed forms.
    """

    part: Part
    task: str
    dose: float
    arm: Arm | None
    seed: int

    @property
    def name(self) -> str:
        """Of the arm."""
        return RIDGES if self.arm is None else self.arm.name

    def key(self, encoder: Path, steps: int) -> str:
        """Everything the result depends on but the code and the data."""
        how: tuple[object, ...] = ()
        if self.arm is not None:
            arm = self.arm
            how = (arm.centred, arm.shuffled, arm.random_slides, arm.twice)
            how += (SHARED, arm.more, self.seed, steps)
        parts = (self.part, self.task, self.dose, self.name, how, _sha256(encoder))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def jobs(parts: Sequence[Part], seeds: int, simulated_seeds: int) -> Iterator[Job]:
    """Yield all runs, seed by seed; dose and simulation follow one seed after real sections."""
    for turn in range(seeds + 1):
        if "real" in parts and turn < seeds:
            for fold in FOLDS:
                yield from _of_task("real", fold.name, 0.0, TRAINED, turn)
        seed = turn - 1
        if "dose" in parts and seed >= 0:
            chosen = [arm for arm in TRAINED if arm.name in DOSED]
            for fold in DOSE_FOLDS:
                for dose in DOSES[1:]:
                    yield from _of_task("dose", fold.name, dose, chosen, seed)
        if "simulation" in parts and 0 <= seed < simulated_seeds:
            for patient in PATIENTS:
                yield from _of_task("simulation", patient, 0.0, TRAINED, seed)


def _of_task(part: Part, task: str, dose: float, arms: Sequence[Arm], seed: int) -> Iterator[Job]:
    if seed == 0:
        yield Job(part, task, dose, None, 0)
    for arm in arms:
        yield Job(part, task, dose, arm, seed)
