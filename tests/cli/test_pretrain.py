"""What ``hypergene pretrain`` hands to the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hypergene.cli.pretrain import pretrain as command
from hypergene.errors import UsageError
from hypergene.pipeline import pretrain as pretrain_job
from hypergene.pipeline.pretrain import PretrainOptions


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    caught: dict[str, Any] = {}

    def remember(slides: list[Path], out: Path, options: PretrainOptions) -> Path:
        caught.update(slides=slides, out=out, options=options)
        return out / "encoder.safetensors"

    monkeypatch.setattr(pretrain_job, "pretrain", remember)
    return caught


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_without_flags_the_options_are_the_pipelines_defaults(seen: dict[str, Any]) -> None:
    result = run("a.svs", "b.svs", "--out", "start")
    assert result.output == f"{Path('start') / 'encoder.safetensors'}\n"
    assert seen["slides"] == [Path("a.svs"), Path("b.svs")]
    assert seen["options"] == PretrainOptions()


def test_samples_are_left_out_with_commas_or_one_by_one(seen: dict[str, Any]) -> None:
    run("s.csv", "-o", "start", "--without", "B4, C3", "--without", "C4,B4", "--minutes", "2.5")
    assert seen["options"].without == ("B4", "C3", "C4")
    assert (seen["options"].minutes, seen["options"].epochs) == (2.5, None)


def test_a_folder_for_the_encoder_is_needed(seen: dict[str, Any]) -> None:
    assert isinstance(run("s.csv").exception, UsageError)
    assert not seen
