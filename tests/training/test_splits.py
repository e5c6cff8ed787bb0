from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hypergene.errors import UsageError
from hypergene.st import Sample
from hypergene.training.splits import split_samples


def sample(name: str, patient: str | None) -> Sample:
    return Sample(
        sample=name,
        patient=patient,
        slide=Path(f"{name}.png"),
        data=Path(f"{name}.tsv"),
        format="her2st",
        mpp=None,
        section=None,
    )


COHORT = [sample(name, name[0]) for name in ("B4", "C3", "C4", "C5", "C6")]


def names(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.sample for sample in samples]


def test_a_whole_patient_is_held_out_for_validation() -> None:
    split = split_samples(COHORT)
    assert names(split.validation) == ["B4"]
    assert names(split.train) == ["C3", "C4", "C5", "C6"]
    assert split.level == "patient"


def test_the_test_is_in_no_other_part() -> None:
    split = split_samples(COHORT, test=["C3"])
    assert names(split.test) == ["C3"]
    assert "C3" not in names(split.learnt)
    assert sorted(names(split.learnt + split.test)) == sorted(names(tuple(COHORT)))


def test_with_one_patient_a_section_is_held_out_and_called_so() -> None:
    split = split_samples(COHORT, test=["B4"])
    assert names(split.validation) == ["C6"]
    assert split.level == "section"


def test_a_sibling_section_as_validation_is_called_optimistic() -> None:
    assert split_samples(COHORT, validation=["C4"]).level == "section"


def test_patients_who_are_not_known_are_never_taken_for_different_ones() -> None:
    unknown = [sample("X", None), sample("Y", None)]
    assert split_samples(unknown).level == "section"


def test_a_single_sample_has_no_validation() -> None:
    split = split_samples(COHORT[:1])
    assert (names(split.train), split.validation, split.level) == (["B4"], (), "none")


@pytest.mark.parametrize(
    ("test", "validation", "says"),
    [
        (["Z9"], [], "Z9"),
        (["C3"], ["C3"], "test and validation"),
        (["B4", "C3", "C4", "C5", "C6"], [], "left to train"),
    ],
)
def test_an_impossible_split_is_refused(test: list[str], validation: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        split_samples(COHORT, test=test, validation=validation)


COUNTS = [replace(sample(name, name[0]), slide=None) for name in ("A1", "B1", "C1")]


def test_samples_without_a_slide_are_in_no_part_of_a_run() -> None:
    split = split_samples([*COUNTS, *COHORT], test=["C3"])
    assert names(split.counts_only) == ["A1", "B1", "C1"]
    assert not {"A1", "B1", "C1"} & {*names(split.learnt), *names(split.test)}


def test_counts_of_a_patient_who_is_held_out_serve_no_training() -> None:
    split = split_samples([*COUNTS, *COHORT, replace(sample("X1", None), slide=None)], test=["B4"])
    assert names(split.counts_apart_from(split.test)) == ["A1", "C1"]
    assert names(split.counts_apart_from(split.test + split.validation)) == ["A1"]
    assert split.counts_apart_from([sample("Y", None)]) == ()


@pytest.mark.parametrize("part", ["test", "validation"])
def test_what_has_no_slide_cannot_be_predicted(part: str) -> None:
    with pytest.raises(UsageError, match="A1 has no slide"):
        split_samples([*COUNTS, *COHORT], **{part: ["A1"]})


def test_counts_alone_train_nothing() -> None:
    with pytest.raises(UsageError, match="No sample with a slide"):
        split_samples(COUNTS)
