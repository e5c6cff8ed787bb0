from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hypergene.pipeline.checks.cohort import cohort_verdicts
from hypergene.pipeline.checks.figures import figure_verdicts, off_tissue
from hypergene.pipeline.checks.row import SampleRow
from hypergene.pipeline.checks.verdict import Verdict
from hypergene.spots import layout_named

ST = asdict(layout_named("st"))
VISIUM = asdict(layout_named("visium"))


def row(name: str = "A1", **figures: Any) -> SampleRow:
    known: dict[str, Any] = {
        "patient": name[0],
        "format": "h5ad",
        "slide": Path(f"{name}.svs"),
        "data": Path(f"{name}.h5ad"),
        "platform": "st",
        "layout": ST,
        "spots": 300,
        "median_umi": 1000.0,
    }
    return SampleRow(sample=name, **known | figures)


def only(verdicts: list[Verdict]) -> Verdict:
    (verdict,) = verdicts
    assert verdict.message.endswith(".") and "\n" not in verdict.message + verdict.fix
    return verdict


def test_sound_samples_of_several_patients_are_not_talked_about() -> None:
    assert cohort_verdicts([row("A1"), row("A2"), row("B1")]) == []
    assert figure_verdicts(row()) == off_tissue(row(on_tissue=0.95)) == []


def test_a_single_sample_needs_no_second_patient() -> None:
    assert cohort_verdicts([row()]) == []


def test_without_patients_nothing_can_be_held_out() -> None:
    verdict = only(cohort_verdicts([row("A1", patient=None), row("B1", patient=None)]))
    assert (verdict.level, verdict.code) == ("warn", "no_patient")
    assert verdict.message.startswith("No sample has a patient")
    assert "'patient'" in verdict.fix


def test_samples_without_a_patient_are_named() -> None:
    verdict = only(cohort_verdicts([row("A1"), row("B1", patient=None), row("C1")]))
    assert (verdict.code, verdict.samples) == ("no_patient", ("B1",))


def test_one_patient_cannot_be_held_out() -> None:
    verdict = only(cohort_verdicts([row("A1"), row("A2")]))
    assert (verdict.level, verdict.code) == ("warn", "one_patient")


def test_a_name_twice_is_a_failure() -> None:
    verdicts = cohort_verdicts([row("A1"), row("B1"), row("A1", data=Path("other.h5ad"))])
    verdict = only(verdicts)
    assert (verdict.level, verdict.code, verdict.samples) == ("fail", "duplicate_sample", ("A1",))


def test_the_same_files_under_two_names_are_a_failure() -> None:
    again = row("B1", slide=Path("x/../A1.svs"), data=Path("A1.h5ad"))
    verdict = only(cohort_verdicts([row("A1"), again]))
    assert (verdict.code, verdict.samples) == ("duplicate_sample", ("A1", "B1"))
    assert "A1.h5ad" in verdict.message


def test_one_table_of_counts_may_have_several_images() -> None:
    assert cohort_verdicts([row("A1"), row("B1", data=Path("A1.h5ad"))]) == []


def test_two_platforms_cannot_train_one_model() -> None:
    rows = [row("A1"), row("B1", layout=VISIUM, platform="visium 6.5 mm"), row("C1")]
    verdict = only(cohort_verdicts(rows))
    assert (verdict.level, verdict.code) == ("fail", "mixed_platforms")
    assert verdict.message == (
        "The samples differ in platform: st (square lattice, 200 µm apart): A1, C1; "
        "visium 6.5 mm (hexagon lattice, 100 µm apart): B1."
    )


def test_spots_on_no_lattice_are_laid_as_squares() -> None:
    rows = [row("A1"), row("B1", layout=ST | {"lattice": "given"})]
    assert cohort_verdicts(rows) == []


def test_a_pitch_that_is_nearly_the_same_is_the_same() -> None:
    assert cohort_verdicts([row("A1"), row("B1", layout=ST | {"pitch_um": 210.0})]) == []
    assert only(cohort_verdicts([row("A1"), row("B1", layout=ST | {"pitch_um": 250.0})]))


def test_spots_of_no_known_size_stop_training() -> None:
    verdict = only(cohort_verdicts([row("A1"), row("B1", layout=None, platform="visium")]))
    assert (verdict.level, verdict.code, verdict.samples) == ("fail", "no_layout", ("B1",))
    assert "[layout]" in verdict.fix


def test_counts_without_an_image_are_listed_and_need_no_layout() -> None:
    verdict = only(cohort_verdicts([row("A1"), row("B1"), row("C1", slide=None, layout=None)]))
    assert (verdict.level, verdict.code, verdict.samples) == ("warn", "counts_only", ("C1",))
    assert "gene side" in verdict.message


def test_what_could_not_be_read_is_not_judged_again() -> None:
    unread = row("B1", spots=None, layout=None, median_umi=None)
    assert cohort_verdicts([row("A1"), unread]) == []
    assert figure_verdicts(unread) == []


@pytest.mark.parametrize(
    ("figures", "code", "figure"),
    [
        ({"spots": 49}, "few_spots", "49"),
        ({"median_umi": 199.0}, "low_depth", "199"),
        ({"dropped": {"zero_counts": 40}}, "zero_counts", "40 of the 340"),
        (
            {"dropped": {"counts_without_position": 40, "zero_counts": 20}},
            "counts_without_position",
            "40 of the 360",
        ),
    ],
)
def test_a_figure_out_of_bounds_is_a_warning(
    figures: dict[str, Any], code: str, figure: str
) -> None:
    verdict = only(figure_verdicts(row(**figures)))
    assert (verdict.level, verdict.code, verdict.samples) == ("warn", code, ("A1",))
    assert figure in verdict.message


def test_spots_left_out_as_they_should_be_are_no_fault() -> None:
    dropped = {"outside_tissue": 2000, "positions_without_counts": 2000, "zero_counts": 30}
    assert figure_verdicts(row(dropped=dropped)) == []


def test_spots_beside_the_tissue_are_a_warning() -> None:
    verdict = only(off_tissue(row(on_tissue=0.6)))
    assert (verdict.level, verdict.code) == ("warn", "off_tissue")
    assert "60%" in verdict.message
