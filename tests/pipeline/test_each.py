from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import ModelError, SlideError, UsageError
from hypergene.pipeline.each import for_each_slide, refuse_clashes
from hypergene.pipeline.outcome import Outcome


def test_a_failing_slide_does_not_stop_the_others() -> None:
    def job(slide: Path) -> Outcome:
        if slide.name == "b":
            raise SlideError("b is damaged.", hint="Copy it.")
        return Outcome(slide=slide, output=slide)

    seen: list[Outcome] = []
    outcomes = for_each_slide([Path("a"), Path("b"), Path("c")], job, report=seen.append)
    assert [outcome.error for outcome in outcomes] == [None, "b is damaged.", None]
    assert outcomes[1].hint == "Copy it."
    assert seen == outcomes


def test_even_a_bug_met_on_one_slide_does_not_stop_the_others() -> None:
    def job(slide: Path) -> Outcome:
        if slide.name == "b":
            raise ZeroDivisionError("by zero")
        return Outcome(slide=slide, output=slide)

    outcomes = for_each_slide([Path("a"), Path("b"), Path("c")], job)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "b: hypergene met something it did not expect" in (outcomes[1].error or "")
    assert "ZeroDivisionError: by zero" in (outcomes[1].error or "")
    assert "report" in (outcomes[1].hint or "")


def test_an_interrupt_stops_all() -> None:
    def job(slide: Path) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for_each_slide([Path("a"), Path("b")], job)


@pytest.mark.parametrize("kind", [UsageError, ModelError])
def test_an_error_that_is_no_slides_fault_stops_at_once(kind: type[Exception]) -> None:
    tried: list[Path] = []

    def job(slide: Path) -> Outcome:
        tried.append(slide)
        raise kind("No.")

    with pytest.raises(kind):
        for_each_slide([Path("a"), Path("b")], job)
    assert tried == [Path("a")]


def test_two_slides_of_one_stem_cannot_share_a_folder(tmp_path: Path) -> None:
    slides = [tmp_path / "x" / "a.svs", tmp_path / "y" / "a.tiff"]
    refuse_clashes(slides, None)
    with pytest.raises(UsageError, match=r"2 slides .* same a\.\*"):
        refuse_clashes(slides, tmp_path / "out")


def test_a_slide_given_twice_is_refused(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    with pytest.raises(UsageError, match="same a"):
        refuse_clashes([slide, tmp_path / "." / "a.svs"], None)
