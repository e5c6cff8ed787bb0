"""What ``hypergene report`` takes, prints and leaves with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny.reported import tiny_prediction

from hypergene.cli import main
from hypergene.output.anndata_file import write_anndata


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "made.zarr"
    write_anndata(tiny_prediction(), path)
    return path


@pytest.fixture
def made(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "made.zarr"))


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(["report", *map(str, arguments)])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_the_page_is_printed(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made) == 0
    said = capsys.readouterr()
    assert said.out == f"{made.with_suffix('.html')}\n"
    assert "80 spots × 6 genes" in said.err
    assert run(made) == 1
    assert "exists already" in capsys.readouterr().err
    assert run(made, "--overwrite") == 0


def test_several_print_their_pages_and_the_index(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = tmp_path / "other.zarr", tmp_path / "pages"
    assert run(made, other, "-o", out) == 3
    said = capsys.readouterr()
    assert said.out == f"{out / 'made.html'}\n{out / 'index.html'}\n"
    assert "There is no file" in said.err


def test_json_is_one_object_a_prediction(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (made, tmp_path / "x.zarr", "--json", "-o", tmp_path / "pages")
    assert run(*arguments) == 3
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["spots"], first["genes"], first["error"]) == (80, 6, None)
    assert first["output"].endswith("made.html")
    assert second["output"] is None and second["hint"]


def test_options_come_from_a_file_too(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text('[report]\ngenes = ["KRT8"]\n')
    assert run(made, "--config", tmp_path / "c.toml") == 0
    assert "80 spots × 1 genes" in capsys.readouterr().err
    assert run(made, "--overwrite", "--max-genes", "2") == 0
    assert "× 2 genes" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [("--max-genes", "0"), ("--genes", "none.txt"), ()])
def test_wrong_usage_leaves_with_2(
    made: Path, wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*([made] if wrong else []), *wrong) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
