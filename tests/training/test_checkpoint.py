from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from hypergene.errors import OutputError
from hypergene.training.checkpoint import load_state, save_state


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    save_state(path, {"run": "a", "epoch": 3, "weights": {"w": torch.arange(4.0)}, "best": None})
    state = load_state(path, "a")
    assert state is not None
    assert (state["epoch"], state["best"]) == (3, None)
    torch.testing.assert_close(state["weights"]["w"], torch.arange(4.0))
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none.pt", "a") is None


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path / "run.pt", {"run": "a"})
    with pytest.raises(OutputError, match="another recipe"):
        load_state(tmp_path / "run.pt", "b")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_state(path, {"run": "a", "w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(OutputError, match="damaged"):
        load_state(path, "a")


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this code must not run",)


def test_a_pickle_with_code_in_it_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(pickle.dumps({"run": Harm()}))
    with pytest.raises(OutputError):
        load_state(path, "a")
    torch.save({"run": Harm()}, path)
    with pytest.raises(OutputError):
        load_state(path, "a")
    assert "must not run" not in capsys.readouterr().out
