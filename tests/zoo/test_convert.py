"""Tensors of a pickle are made safe; anything else in it is refused, unrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hypergene.errors import ModelError, UsageError
from hypergene.zoo.convert import convert, main


class Malice:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("inside", [None, "model", "state_dict", "teacher"])
def test_weights_are_the_same_afterwards(inside: str | None, tmp_path: Path):
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.half)}
    torch.save(weights if inside is None else {inside: weights, "epoch": 3}, tmp_path / "w.bin")
    assert convert(tmp_path / "w.bin", tmp_path / "w.safetensors") == 2
    loaded = load_file(tmp_path / "w.safetensors")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(weights[key], value) for key, value in loaded.items())


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path):
    mark = tmp_path / "was-here"
    torch.save({"a": Malice(mark)}, tmp_path / "w.bin")
    with pytest.raises(ModelError, match="holds more than tensors and is not opened"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors")
    assert not mark.exists() and not (tmp_path / "w.safetensors").exists()


def test_what_cannot_be_converted_is_one_sentence(tmp_path: Path):
    (tmp_path / "noise.bin").write_bytes(b"\x80\x04nothing")
    torch.save({"epoch": 3}, tmp_path / "none.bin")
    (tmp_path / "there").touch()
    with pytest.raises(ModelError, match=r"noise\.bin is damaged"):
        convert(tmp_path / "noise.bin", tmp_path / "w")
    with pytest.raises(ModelError, match="There is no file"):
        convert(tmp_path / "gone.bin", tmp_path / "w")
    with pytest.raises(UsageError, match="there exists already"):
        convert(tmp_path / "none.bin", tmp_path / "there")
    with pytest.raises(ModelError, match="holds no weights"):
        convert(tmp_path / "none.bin", tmp_path / "w")


def test_it_runs_as_the_hint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.bin")
    command = ["-m", "hypergene.zoo.convert", "w.bin", "w.safetensors"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "1 tensors in w.safetensors" in done.stderr
    monkeypatch.chdir(tmp_path)
    for arguments, code, said in ((command[1:], 2, "exists already"), (["w.bin"], 2, "usage")):
        monkeypatch.setattr(sys, "argv", arguments)
        assert main() == code
        assert said in capsys.readouterr().err
