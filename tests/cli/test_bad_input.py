"""Whatever is wrong with what a user gives: an exit code, one sentence, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from hypergene.cli import main

Refused = Callable[..., str]


def leave(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail; return what it said."""

    def run(*arguments: str | Path, code: int = 1) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert leave(*arguments) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("Error: ") == 1, said.err
        assert "Traceback" not in said.err
        assert "did not expect" not in said.err
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return said.err

    return run


@pytest.fixture
def predicts(refused: Refused, tiny_model: Path, tmp_path: Path) -> Refused:
    """``hypergene predict`` with a model and an output folder of its own."""

    def run(slide: Path, *arguments: str | Path, code: int = 1) -> str:
        model = [] if "--model" in arguments else ["--model", tiny_model]
        out = [] if "-o" in arguments else ["-o", tmp_path / "out"]
        return refused("predict", slide, *model, *out, *arguments, code=code)

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture without a resolution, tissue all over."""
    noise = np.random.default_rng(0).normal(0, 12, (500, 500, 3))
    pixels = np.clip(np.array([200, 130, 170]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("offset", ["5", "1,2,3", "a,b", "1,nan", ""])
def test_an_offset_that_is_not_two_numbers(refused: Refused, photo: Path, offset: str) -> None:
    message = refused("tile", photo, "--mpp", "1", f"--offset={offset}", code=2)
    assert "two numbers with a comma" in message


# Slides


@pytest.mark.parametrize("command", ["predict", "tile"])
def test_no_such_file(refused: Refused, tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing.svs"
    assert str(missing) in refused(command, missing, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.svs", b"These are my notes on the slide.\n" * 40),
        ("noise.svs", np.random.default_rng(0).bytes(5000)),
        ("notes.tif", b"II*\x00 and then nothing of a TIFF" * 9),
        ("empty.svs", b""),
        ("notes.png", b"\x89PNG\r\n\x1a\n but no picture"),
        ("table.csv", b"x,y\n1,2\n"),
    ],
)
def test_not_a_slide(predicts: Refused, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in predicts(tmp_path / name, "--mpp", "1")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_truncated_svs(
    predicts: Refused, tmp_path: Path, photo: Path, save_svs: Callable[..., Path], share: float
) -> None:
    with Image.open(photo) as picture:
        slide = save_svs(np.asarray(picture.resize((1500, 1500))), tmp_path / "cut.svs", mpp=0.5)
    content = slide.read_bytes()
    slide.write_bytes(content[: int(len(content) * share)])
    assert "cut.svs" in predicts(slide, "--tissue", "none")


def test_a_truncated_real_svs(predicts: Refused, tmp_path: Path, shared_data: Path) -> None:
    content = (shared_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
    for share in (0.5, 0.97):
        slide = tmp_path / "cut.svs"
        slide.write_bytes(content[: int(len(content) * share)])
        assert "cut.svs" in predicts(slide)


def test_a_folder_instead_of_a_file(predicts: Refused, tmp_path: Path) -> None:
    (tmp_path / "slides.svs").mkdir()
    assert "folder" in predicts(tmp_path / "slides.svs")


def test_no_microns_per_pixel(predicts: Refused, photo: Path) -> None:
    assert "--mpp" in predicts(photo)


@pytest.mark.parametrize("mpp", ["0", "-1", "100", "nan", "inf"])
def test_impossible_microns_per_pixel(predicts: Refused, photo: Path, mpp: str) -> None:
    assert "--mpp" in predicts(photo, "--mpp", mpp)


def test_no_tissue(predicts: Refused, tmp_path: Path) -> None:
    Image.new("RGB", (500, 500), (245, 245, 246)).save(tmp_path / "glass.png")
    said = predicts(tmp_path / "glass.png", "--mpp", "1")
    assert "glass.png" in said
    assert "--tissue" in said


def test_a_slide_too_small_for_a_spot(predicts: Refused, tmp_path: Path) -> None:
    Image.new("RGB", (50, 50), (200, 130, 170)).save(tmp_path / "speck.png")
    assert "too small" in predicts(tmp_path / "speck.png", "--mpp", "1", "--tissue", "none")


# Coordinates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x,y\n100,100\n100,9000\n", "outside the image"),
        ("x,y\n-5,100\n", "outside the image"),
        ("col,row\n100,100\n", "no column x, y"),
        ("x\n100\n", "no column y"),
        ("x,y\n100,here\n", "'here'"),
        ("x,y\n100,nan\n", "'nan'"),
        ("x,y\n", "no rows"),
        ("", "empty"),
        ("x,y,name\n1,1,a\n2,2,a\n", "unique"),
    ],
)
def test_coordinates_that_cannot_be(
    predicts: Refused, photo: Path, tmp_path: Path, text: str, said: str
) -> None:
    table = tmp_path / "coords.csv"
    table.write_text(text)
    message = predicts(photo, "--mpp", "1", "--coords", table)
    assert said in message
    assert "coords.csv" in message


def test_coordinates_that_are_not_there(predicts: Refused, photo: Path) -> None:
    assert "no-such.csv" in predicts(photo, "--mpp", "1", "--coords", "no-such.csv")


# Models


def test_an_unknown_model(predicts: Refused, painted_slide: Path) -> None:
    assert "'her2st-smal'" in predicts(painted_slide, "--model", "her2st-smal")


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["head.mean.weight"]
    save_file(tensors, folder / "model.safetensors")


def reshape_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["head.mean.weight"] = tensors["head.mean.weight"][:, :-1].copy()
    save_file(tensors, folder / "model.safetensors")


def add_key(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["niche"]["radius"] = 3
    (folder / "config.json").write_text(json.dumps(config))


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (drop_tensor, "head.mean.weight"),
        (reshape_tensor, "head.mean.weight"),
        (add_key, "niche.radius"),
        (break_config, "config.json"),
        (cut_weights, "model.safetensors"),
        (lose_weights, "model.safetensors"),
        (lose_config, "config.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_harmed_model_folder(
    predicts: Refused,
    painted_slide: Path,
    tiny_model: Path,
    tmp_path: Path,
    harm: Callable[[Path], None],
    said: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    harm(folder)
    assert said in predicts(painted_slide, "--model", folder)


# Outputs


def test_an_output_that_exists(predicts: Refused, painted_slide: Path, tmp_path: Path) -> None:
    (tmp_path / "painted.zarr").mkdir()
    said = predicts(painted_slide, "-o", tmp_path)
    assert "painted.zarr exists" in said
    assert "--overwrite" in said


def test_an_output_folder_that_is_a_file(
    predicts: Refused, painted_slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in predicts(painted_slide, "-o", tmp_path / "file")
    assert "cannot be written" in predicts(painted_slide, "-o", tmp_path / "file" / "deep")


def test_an_output_folder_without_permission(
    predicts: Refused, painted_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so the refusal is played.
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    assert "Permission denied" in predicts(painted_slide, "-o", tmp_path)


def test_overwriting_never_takes_a_folder_of_other_things(
    predicts: Refused, painted_slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "painted.zarr").mkdir()
    (tmp_path / "painted.zarr" / "thesis.txt").write_text("years of work")
    predicts(painted_slide, "-o", tmp_path, "--overwrite")
    assert (tmp_path / "painted.zarr" / "thesis.txt").read_text() == "years of work"


# Training data


@pytest.fixture
def finetunes(refused: Refused, tmp_path: Path, tiny_recipe: Path) -> Refused:
    def run(samples: Path, *arguments: str | Path, code: int = 1) -> str:
        options = ("--out", tmp_path / "run", "--recipe", tiny_recipe)
        return refused("finetune", samples, *options, *arguments, code=code)

    return run


@pytest.fixture
def own_cohort(tiny_cohort: Any, tmp_path: Path) -> Any:
    folder = tmp_path / "cohort"
    shutil.copytree(tiny_cohort.folder, folder)
    return type(tiny_cohort)(folder, folder / "samples.csv", tiny_cohort.samples)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("sample,patient,slide,data,format,mpp\n", "no rows"),
        ("name,image\na,b.svs\n", "no column sample"),
        ("sample,slide,data\nA,a.svs,a.tsv\n", "no slide"),
    ],
)
def test_a_sheet_that_names_no_samples(
    finetunes: Refused, tmp_path: Path, text: str, said: str
) -> None:
    sheet = tmp_path / "samples.csv"
    sheet.write_text(text)
    message = finetunes(sheet)
    assert said in message
    assert "samples.csv" in message


def test_samples_that_are_not_there(finetunes: Refused, tmp_path: Path) -> None:
    assert "no-such.csv" in finetunes(tmp_path / "no-such.csv")
    (tmp_path / "empty").mkdir()
    assert "empty" in finetunes(tmp_path / "empty")


def test_counts_that_are_not_integers(finetunes: Refused, own_cohort: Any) -> None:
    path = own_cohort.counts("A2")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("\t", "\t0.5", 1)
    path.write_text("\n".join(lines) + "\n")
    said = finetunes(own_cohort.sheet)
    assert "A2.tsv" in said
    assert "integer" in said or "whole" in said


def test_spots_that_match_nothing(finetunes: Refused, own_cohort: Any) -> None:
    path = own_cohort.folder / "ST-spotfiles" / "A1_selection.tsv"
    lines = path.read_text().splitlines()
    moved = [lines[0], *(f"9{line}" for line in lines[1:])]
    path.write_text("\n".join(moved) + "\n")
    said = finetunes(own_cohort.sheet)
    assert "None of the 30 spots" in said
    assert "A1" in said


def test_spots_that_lie_outside_their_slide(own_cohort: Any, tmp_path: Path, capsys: Any) -> None:
    slide = own_cohort.folder / "ST-imgs/A/A1/he.png"
    with Image.open(slide) as picture:
        small = picture.resize((200, 180))
    small.save(slide)
    # What was read of the slides before it stays in the cache, for the next try.
    assert leave("finetune", own_cohort.sheet, "--out", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "outside the image" in said
    assert not (tmp_path / "run" / "model").exists()


def test_a_recipe_with_a_mistyped_key(finetunes: Refused, tiny_cohort: Any) -> None:
    said = finetunes(tiny_cohort.sheet, "--set", "train.epoch=3", code=2)
    assert "train.epoch" in said


# Several slides


def test_one_bad_slide_of_several(
    run_cli: Any, painted_slide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.svs"
    notes.write_text("not a slide")
    out = tmp_path / "out"
    slides = (tmp_path / "missing.svs", notes, painted_slide)
    done = run_cli("predict", *slides, "--model", tiny_model, "-o", out, "--json")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert first["output"] is second["output"] is None
    assert "missing.svs" in first["error"]
    assert "notes.svs" in second["error"]
    assert third == {
        "slide": str(painted_slide),
        "output": str(out / "painted.zarr"),
        "spots": third["spots"],
        "genes": 20,
        "seconds": third["seconds"],
        "warnings": [],
        "error": None,
        "hint": None,
    }
    assert third["spots"] > 15
    stages = ["open", "model", "spots", "read", "encode", "predict", "write", "images"]
    assert list(third["seconds"]) == stages
    assert all(seconds >= 0 for seconds in third["seconds"].values())
    assert sorted(path.name for path in out.iterdir()) == [
        ".hypergene",
        "painted.zarr",
        "run.json",
        "summary.csv",
    ]
