from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hypergene.errors import OutputError, UsageError
from hypergene.pipeline.tensorboard_log import TensorBoardLog, check_tensorboard


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve of a run as TensorBoard itself reads it back."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_every_number_of_a_row_becomes_a_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    log = TensorBoardLog(tmp_path, "select")
    log({"epoch": 1, "loss/hea": 0.5, "note": "text"})
    log({"epoch": 2, "loss/hea": 0.25, "pearson HVG-50": 0.125})
    assert curves(tmp_path / "select") == {
        "loss/hea": [(1, 0.5), (2, 0.25)],
        "pearson_HVG-50": [(2, 0.125)],
    }


def test_a_resumed_run_hides_what_it_does_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    first = TensorBoardLog(tmp_path, "refit")
    for epoch in (1, 2, 3):
        first({"epoch": epoch, "loss": float(epoch)})
    TensorBoardLog(tmp_path, "refit")({"epoch": 2, "loss": 20.0})
    assert curves(tmp_path / "refit") == {"loss": [(1, 1.0), (2, 20.0)]}


def test_phases_are_runs_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for phase in ("select", "refit"):
        TensorBoardLog(tmp_path, phase)({"epoch": 1, "loss": 1.0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["refit", "select"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "logs").write_text("a file in the way")
    with pytest.raises(OutputError, match="logs"):
        TensorBoardLog(tmp_path / "logs", "select")({"epoch": 1, "loss": 1.0})


def test_without_tensorboard_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    for make in (check_tensorboard, lambda: TensorBoardLog(tmp_path, "select")):
        with pytest.raises(UsageError, match="not installed") as caught:
            make()
        assert "hypergene[tensorboard]" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())
