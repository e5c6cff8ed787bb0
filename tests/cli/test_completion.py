"""What a shell is offered when the tab key is pressed, by the protocol that it speaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hypergene.cli import completion
from hypergene.errors import UsageError
from hypergene.spots.layout import layout_named
from hypergene.training.recipe import presets
from hypergene.zoo import bundled_models


def offered(run_cli: object, *words: str, shell: str = "bash") -> list[str]:
    """The words that are offered in place of the last one."""
    typed = " ".join(("hypergene", *words))
    if shell == "bash":
        env = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words))}
    else:
        env = {"_TYPER_COMPLETE_ARGS": typed}
    done = run_cli(env={"_HYPERGENE_COMPLETE": f"complete_{shell}", **env})  # type: ignore[operator]
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_is_offered_commands_options_and_values(run_cli: object) -> None:
    assert offered(run_cli, "mod") == ["models"]
    assert {"list", "show", "pull", "push", "verify"} == set(offered(run_cli, "models", ""))
    assert offered(run_cli, "predict", "--layou") == ["--layout"]
    assert offered(run_cli, "predict", "--layout", "visium-h") == [
        *("visium-hd-2", "visium-hd-8", "visium-hd-16"),
    ]
    assert offered(run_cli, "predict", "--model", "her2") == ["her2st-small"]
    assert offered(run_cli, "finetune", "--preset", "hyper") == ["hypergene", "hyperst"]
    assert offered(run_cli, "models", "show", "h") == ["her2st-small"]


def test_zsh_is_offered_the_same(run_cli: object) -> None:
    (answer,) = offered(run_cli, "predict", "--layout", "xen", shell="zsh")
    assert "xenium" in answer
    (answer,) = offered(run_cli, "models", "verify", "her", shell="zsh")
    assert "her2st-small" in answer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_can_be_had(run_cli: object, shell: str, tmp_path: Path) -> None:
    done = run_cli(env={"_HYPERGENE_COMPLETE": f"source_{shell}"})  # type: ignore[operator]
    assert "_HYPERGENE_COMPLETE" in done.stdout and f"complete_{shell}" in done.stdout
    if shutil.which(shell) is not None:
        (tmp_path / "script").write_text(done.stdout)
        checked = subprocess.run([shell, "-n", str(tmp_path / "script")], check=False)
        assert checked.returncode == 0


def test_every_layout_is_offered_and_every_one_offered_is_one() -> None:
    for name in completion.layouts(""):
        assert layout_named(name, diameter_um=50, pitch_um=100).name == name
    with pytest.raises(UsageError) as caught:
        layout_named("nonsense")
    assert caught.value.hint == f"Known layouts: {', '.join(completion.LAYOUTS)}."


def test_every_model_and_preset_is_offered() -> None:
    assert completion.models("") == list(bundled_models())
    assert tuple(completion.presets("")) == presets()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_itself_completes(run_cli: object, tmp_path: Path) -> None:
    done = run_cli(env={"_HYPERGENE_COMPLETE": "source_bash"})  # type: ignore[operator]
    (tmp_path / "script").write_text(done.stdout)
    program = tmp_path / "hypergene"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hypergene "$@"\n')
    program.chmod(0o755)
    typed = f"""
source "{tmp_path / "script"}"
COMP_WORDS=(hypergene predict --layout visium-1) COMP_CWORD=3
_hypergene_completion hypergene
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    root = Path(__file__).resolve().parents[2]
    completed = subprocess.run(
        ["bash", "--norc", "-c", typed],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
             "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert completed.stdout == "visium-11\n"
