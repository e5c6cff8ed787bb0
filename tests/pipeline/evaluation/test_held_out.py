"""What was trained on is known by name, by file, by tissue and by patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypergene.errors import DataError, UsageError
from hypergene.pipeline.checks.twins import Sketch
from hypergene.pipeline.evaluation.data import choose_samples
from hypergene.pipeline.evaluation.held_out import standings
from hypergene.st import Sample


def sample(name: str, patient: str | None = None, data: str | None = None) -> Sample:
    return Sample(name, patient, None, Path(data or f"{name}.tsv"), "her2st", None, name)


def sketch(seed: int) -> Sketch:
    rng = np.random.default_rng(seed)
    prints = np.sort(rng.integers(0, 2**62, 100)).astype(np.uint64)
    return Sketch(np.empty((0, 2), np.int64), np.empty(0, np.float32), prints)


def held(
    scored: Sample, train: list[Sample], trained_on: tuple[str, ...] = (), twin: bool = False
) -> tuple[str, str]:
    names = [scored.sample, *(one.sample for one in train)]
    sketches = {name: sketch(0 if twin else number) for number, name in enumerate(names)}
    return standings([scored], train, sketches, trained_on=trained_on)[scored.sample]


def test_another_patient_is_held_out() -> None:
    assert held(sample("a", "A"), [sample("b", "B")])[0] == "patient"


def test_a_sibling_section_is_held_out_as_a_section_only() -> None:
    kind, reason = held(sample("a", "A"), [sample("a2", "A")])
    assert kind == "section"
    assert "Other sections of a's patient" in reason


@pytest.mark.parametrize(("one", "other"), [(None, "B"), ("A", None)])
def test_a_patient_who_is_not_known_is_no_other_patient(one: str | None, other: str | None) -> None:
    assert held(sample("a", one), [sample("b", other)])[0] == "section"


def test_what_the_model_names_was_trained_on_whatever_the_user_says() -> None:
    assert held(sample("C3", "C"), [], ("C3", "C4"))[0] == "trained on"
    assert held(sample("C3", "C"), [sample("b", "B")], ("C3",))[0] == "trained on"


def test_the_same_file_under_another_name_was_trained_on() -> None:
    kind, reason = held(sample("x", "X", "shared.tsv"), [sample("b", "B", "shared.tsv")])
    assert kind == "trained on"
    assert "has a file of b" in reason


def test_the_same_tissue_under_another_name_was_trained_on() -> None:
    kind, reason = held(sample("x", "X"), [sample("b", "B")], twin=True)
    assert kind == "trained on"
    assert "x is the same data as b" in reason


def test_without_training_samples_nothing_is_known() -> None:
    kind, reason = held(sample("x", "X"), [], ("C3",))
    assert kind == "unknown"
    assert "--train" in reason


# Which samples


LISTED = [sample("a", "A"), sample("b", "B"), sample("c", "C")]


def names(samples: tuple[Sample, ...]) -> list[str]:
    return [one.sample for one in samples]


def test_samples_named_as_training_are_not_scored() -> None:
    scored, train = choose_samples(LISTED, (), "a, b")
    assert (names(scored), names(train)) == (["c"], ["a", "b"])


def test_a_sample_asked_for_is_scored_even_if_it_was_trained_on() -> None:
    scored, train = choose_samples(LISTED, ("a",), "a,b")
    assert (names(scored), names(train)) == (["a"], ["a", "b"])


@pytest.mark.parametrize(("only", "train"), [(("z",), None), ((), "a,z")])
def test_a_name_that_is_no_samples_is_refused(only: tuple[str, ...], train: str | None) -> None:
    with pytest.raises(UsageError, match="names z"):
        choose_samples(LISTED, only, train)


def test_nothing_left_to_score_is_refused() -> None:
    with pytest.raises(UsageError, match="No sample is left"):
        choose_samples(LISTED, (), "a,b,c")


def test_one_name_for_two_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("")
    sheet = tmp_path / "train.csv"
    sheet.write_text("sample,patient,slide,data,format\na,A,,other.tsv,her2st\n")
    with pytest.raises(DataError, match="a is one sample"):
        choose_samples(LISTED, (), sheet)
