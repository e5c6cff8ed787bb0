from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypergene.pipeline.outcome import Outcome, Stopwatch


def test_json_is_one_line_of_plain_values() -> None:
    outcome = Outcome(
        slide=Path("a µ.svs"), output=Path("a.zarr"), spots=3, seconds={"open": 0.12345}
    )
    line = outcome.as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "slide": "a µ.svs",
        "output": "a.zarr",
        "spots": 3,
        "genes": None,
        "seconds": {"open": 0.123},
        "warnings": [],
        "error": None,
        "hint": None,
    }


def test_a_stage_entered_twice_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    with watch("read"):
        pass
    with watch("write"):
        pass
    with watch("read"):
        pass
    assert watch.seconds == {"read": 5.0, "write": 2.0}
    assert watch.total == 7.0


def test_a_stage_that_fails_is_timed_too() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError), watch("read"):
        raise ValueError
    assert "read" in watch.seconds
