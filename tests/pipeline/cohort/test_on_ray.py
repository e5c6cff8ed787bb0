"""Ray actors as workers: a real Ray on this machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from kill_cohort import children_of, contents, strays, words_of

from hypergene.errors import UsageError
from hypergene.pipeline.cohort import CohortOptions, predict_cohort
from hypergene.pipeline.cohort.on_ray import RayCrew, _room
from hypergene.pipeline.outcome import Outcome
from hypergene.pipeline.painted import paint_slide
from hypergene.pipeline.predict import PredictOptions, predict_to_file


def test_without_ray_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"not installed\. pip install 'hypergene\[ray\]'"):
        RayCrew(None, address=None, gpus=None, cpus=1, device="cpu")


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [(2, 0.0, 9), (2, 1.0, 5), (2, 0.5, 6), (2, 2.0, 2), (16, 1.0, 0)],
)
def test_workers_are_as_many_as_the_machines_hold(cpus: int, gpus: float, expected: int) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
        {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 6.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert _room(nodes, cpus, gpus) == expected


def descendants_of(pid: int) -> list[int]:
    below = children_of(pid)
    return below + [deeper for child in below for deeper in descendants_of(child)]


def test_a_worker_killed_in_the_middle_costs_no_slide(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("ray")
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    for seed in range(5):
        paint_slide(slides / f"s{seed}.tiff", size_px=600, mpp=1.0, seed=seed)
    options = PredictOptions(model=str(tiny_model), device="cpu", workers=1)
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not over.is_set() and not killed:
            for pid in descendants_of(os.getpid()):
                if words_of(pid).startswith("ray::_Worker.work"):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    told: list[Outcome] = []
    try:
        outcomes = predict_cohort(
            [slides], out, options, CohortOptions(engine="ray"), tell=told.append
        )
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert "its worker died" in caplog.text
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert sorted(outcome.slide for outcome in told) == sorted(slides.iterdir()), "each once"
    assert strays(out) == []
    predict_to_file(slides / "s0.tiff", tmp_path / "alone", options)
    alone = contents(tmp_path / "alone")["s0.zarr"]
    assert contents(out)["s0.zarr"]["X"] == alone["X"]


def test_a_cluster_that_is_not_there_is_one_sentence() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="There is no Ray at auto"):
        RayCrew(None, address="auto", gpus=None, cpus=1, device="cpu")
