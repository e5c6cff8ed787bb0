"""Labels that a user gives, and what is said where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from hypergene.errors import DataError
from hypergene.evaluation import MeasuredSlide, Prediction
from hypergene.evaluation.retrieval import cosine_distance
from hypergene.pipeline.evaluation.mechanism import Labels, Mechanism, read_labels
from hypergene.pipeline.evaluation.own import Embedded


def mechanism(patients: list[str | None]) -> Mechanism:
    """Slides whose first coordinate is the number of the patient, even or odd."""
    rng = np.random.default_rng(0)
    gathered = Mechanism(cosine_distance)
    for number, patient in enumerate(patients):
        log = rng.random((40, 3)).astype(np.float32)
        xy_um = rng.uniform(0, 4000, (40, 2))
        counts = sparse.csr_matrix(np.ones((40, 3), np.int64))
        slide = MeasuredSlide(f"s{number}", patient, xy_um, ("a", "b", "c"), log, counts,
                              np.arange(3))  # fmt: skip
        points = rng.normal(size=(40, 4)).astype(np.float32)
        points[:, 0] += 10 * (number % 2)
        error = ((log - 0.5) ** 2).mean(axis=1)
        names = np.array([f"spot{i}" for i in range(40)])
        seen = Embedded(points, points, points, (error / error.max()).astype(np.float32))
        gathered.add(slide, names, seen, Prediction(np.full((40, 3), 0.5)))
    return gathered


def test_labels_of_slides_are_probed_across_patients() -> None:
    labels = Labels(slides={f"s{n}": "mutant" if n % 2 else "wild" for n in range(8)})
    tables = mechanism([f"p{n}" for n in range(8)]).tables(labels)
    assert tables["probe"]["auroc"].item() == 1
    assert tables["probe"]["patients"].item() == 8


def test_a_flag_that_follows_the_error_is_worth_something() -> None:
    flags = mechanism(["p"]).tables(Labels())["flags"]
    assert flags["auroc"].item() > 0.8
    assert flags["error_flagged"].item() > flags["error_unflagged"].item()


def test_labels_need_patients() -> None:
    labels = Labels(slides={"s0": "a", "s1": "b"})
    with pytest.raises(DataError, match="patient of s1 is not known"):
        mechanism(["p", None]).tables(labels)


@pytest.mark.parametrize(
    "labels", [Labels(slides={"z": "a"}), Labels(spots={"z": {"spot1": "tumour"}})]
)
def test_labels_of_other_samples_are_refused(labels: Labels) -> None:
    with pytest.raises(DataError, match="None of the label"):
        mechanism(["p", "q"]).tables(labels)


def test_annotations_are_read_by_spot(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("sample\tspot\tlabel\ns0\tspot1\ttumour\ns0\tspot2\tstroma\n")
    assert read_labels(path).spots == {"s0": {"spot1": "tumour", "spot2": "stroma"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample,label\na,x\na,y\n", "gives a two labels"),
        ("sample,spot,label\na,1,x\na,1,y\n", "spot 1 of a two labels"),
        ("sample,mutation\na,x\n", "no column label"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_labels(path)
