"""Who is held out together, and who may choose for whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import UsageError
from hypergene.st import Sample
from hypergene.training.folds import Fold, folds_of


def sample(name: str, patient: str | None = "", slide: bool = True) -> Sample:
    whose = name[0] if patient == "" else patient
    image = Path(f"{name}.png") if slide else None
    return Sample(name, whose, image, Path(f"{name}.tsv"), "her2st", None, name)


def named(*names: str) -> list[Sample]:
    return [sample(name) for name in names]


def held_out(folds: list[Fold]) -> dict[str, list[str]]:
    return {fold.name: [s.sample for s in fold.split.test] for fold in folds}


def test_patients_are_held_out_whole_and_once() -> None:
    folds = folds_of(named("A1", "A2", "B1", "C1", "C2"), "patient")
    assert held_out(folds) == {"A": ["A1", "A2"], "B": ["B1"], "C": ["C1", "C2"]}
    for fold in folds:
        learnt = {s.patient for s in fold.split.learnt}
        assert fold.name not in learnt
        assert fold.split.level == "patient"
        assert "another patient" in fold.inner


def test_with_two_patients_a_section_chooses_and_that_is_said() -> None:
    folds = folds_of(named("A1", "A2", "B1"), "patient")
    assert [fold.split.level for fold in folds] == ["none", "section"]
    assert "nothing chooses" in folds[0].inner
    assert "a section of the one that is learnt from (A2)" in folds[1].inner


def test_sections_are_held_out_one_by_one() -> None:
    folds = folds_of(named("A1", "A2", "B1"), "section")
    assert held_out(folds) == {"A1": ["A1"], "A2": ["A2"], "B1": ["B1"]}


def test_only_some_folds_are_run_and_a_patient_stays_whole() -> None:
    samples = named("A1", "A2", "B1", "C1")
    assert held_out(folds_of(samples, "patient", ["A2"])) == {"A": ["A1", "A2"]}
    assert held_out(folds_of(samples, "section", ["A2"])) == {"A2": ["A2"]}


def test_counts_without_slide_are_no_fold() -> None:
    samples = [*named("A1", "B1", "C1"), sample("D1", slide=False)]
    assert set(held_out(folds_of(samples, "patient"))) == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("samples", "cv", "only", "match"),
    [
        ([*named("A1"), sample("X", None)], "patient", (), "The patient of X is not known"),
        (named("A1", "A2"), "patient", (), "only one patient"),
        (named("A1"), "section", (), "only one section"),
        (named("A1", "B1"), "patient", ("Z9",), "--only names Z9"),
    ],
)
def test_what_cannot_be_divided_is_refused(samples, cv, only, match: str) -> None:
    with pytest.raises(UsageError, match=match) as refusal:
        folds_of(samples, cv, only)
    assert refusal.value.hint


def test_without_patients_sections_may_be_asked_for() -> None:
    samples = [sample("X", None), sample("Y", None)]
    with pytest.raises(UsageError) as refusal:
        folds_of(samples, "patient")
    assert "--cv section" in (refusal.value.hint or "")
    assert len(folds_of(samples, "section")) == 2
