"""Which of flag, environment, file and default decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypergene.cli import main
from hypergene.pipeline import data_check as data_check_job
from hypergene.pipeline import tile as tile_job
from hypergene.pipeline.checks.genes import GenesInCommon
from hypergene.pipeline.outcome import Outcome


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that the tile job was called with, without a slide being opened."""
    caught: dict[str, Any] = {}

    def remember(slide: Path, out: Path | None, options: tile_job.TileOptions) -> Outcome:
        caught.update(vars(options), out=out)
        return Outcome(slide=slide, output=slide)

    monkeypatch.setattr(tile_job, "tile", remember)
    return caught


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def config(folder: Path, text: str) -> Path:
    file = folder / "hypergene.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_flag_goes_before_environment_before_file_before_default(
    tmp_path: Path, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("tile", "a.svs") == 0
    assert seen["mpp"] is None

    file = config(tmp_path, "mpp = 0.25\n")
    assert run("tile", "a.svs", "--config", file) == 0
    assert seen["mpp"] == 0.25

    monkeypatch.setenv("HYPERGENE_MPP", "0.5")
    assert run("tile", "a.svs", "--config", file) == 0
    assert seen["mpp"] == 0.5

    assert run("tile", "a.svs", "--config", file, "--mpp", "1") == 0
    assert seen["mpp"] == 1.0


def test_the_place_of_config_among_the_flags_does_not_matter(
    tmp_path: Path, seen: dict[str, Any]
) -> None:
    file = config(tmp_path, "mpp = 0.25\nworkers = 0\n")
    assert run("tile", "--mpp", "1", "a.svs", "--config", file) == 0
    assert (seen["mpp"], seen["workers"]) == (1.0, 0)


def test_a_table_of_the_command_goes_before_the_top_of_the_file(
    tmp_path: Path, seen: dict[str, Any]
) -> None:
    text = (
        'min-tissue = 0.1\n[tile]\nmin_tissue = 0.6\nlayout = "st"\n[predict]\nlayout = "visium"\n'
    )
    assert run("tile", "a.svs", "--config", config(tmp_path, text)) == 0
    assert (seen["min_tissue"], seen["layout"]) == (0.6, "st")


def test_an_option_of_another_command_is_passed_over_at_the_top(
    tmp_path: Path, seen: dict[str, Any]
) -> None:
    file = config(tmp_path, 'genes = ["ERBB2", "KRT5"]\nepochs = 3\ngeojson = true\n')
    assert run("tile", "a.svs", "--config", file) == 0
    assert seen["geojson"] is True


def test_flags_may_come_from_the_environment(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERGENE_PIXELS", "1")
    monkeypatch.setenv("HYPERGENE_TILE_WIDTH_UM", "55")
    assert run("tile", "a.svs") == 0
    assert (seen["pixels"], seen["width_um"]) == (True, 55.0)


def test_a_command_in_a_group_has_a_table_of_its_own(
    tmp_path: Path, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: dict[str, Any] = {}

    def check(samples: object, options: data_check_job.DataCheckOptions) -> object:
        caught.update(vars(options))
        return data_check_job.DataCheck((), (), GenesInCommon(None, (), []))

    monkeypatch.setattr(data_check_job, "check_samples", check)
    text = 'mpp = 0.25\n[data.check]\nmpp = 0.5\nout = "look"\n[tile]\nlayout = "st"\n'
    file = config(tmp_path, text)
    assert run("data", "check", "s.csv", "--config", file) == 0
    assert (caught["mpp"], caught["out"]) == (0.5, Path("look"))
    assert run("tile", "a.svs", "--config", file) == 0
    assert (seen["mpp"], seen["layout"]) == (0.25, "st")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mpq = 0.5\n", "'mpq'"),
        ("[tile]\nepochs = 3\n", "'epochs' in [tile]"),
        ("[tiles]\nmpp = 0.5\n", "[tiles]"),
        ("[check]\nmpp = 0.5\n", "[check]"),
        ("[data]\nmpp = 0.5\n", "[data]"),
        ("[data.checks]\nmpp = 0.5\n", "[data.checks]"),
        ("[data.check]\nepochs = 3\n", "'epochs' in [data.check]"),
        ("mpp = \n", "not valid TOML"),
    ],
)
def test_a_mistyped_file_is_refused_by_name(
    tmp_path: Path,
    seen: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    text: str,
    said: str,
) -> None:
    file = config(tmp_path, text)
    assert run("tile", "a.svs", "--config", file) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(file) in error
    assert not seen


def test_a_missing_file_is_refused(
    tmp_path: Path, seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tile", "a.svs", "--config", tmp_path / "none.toml") == 2
    assert "no configuration file" in capsys.readouterr().err
    assert not seen


def test_a_value_of_the_wrong_kind_is_wrong_usage(
    tmp_path: Path, seen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tile", "a.svs", "--config", config(tmp_path, 'mpp = "half"\n')) == 2
    assert "--mpp" in capsys.readouterr().err
    assert not seen
