from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.errors import SlideError
from hypergene.output import read_anndata
from hypergene.pipeline import demo as demo_module
from hypergene.zoo import DEFAULT_MODEL


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_module, "SAMPLE_URL", "http://127.0.0.1:9/slide.svs")
    monkeypatch.setattr(demo_module.pooch, "os_cache", lambda _: tmp_path / "cache")


def test_a_slide_that_is_given_goes_before_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERGENE_SAMPLE", "elsewhere.svs")
    assert demo_module.sample_slide(Path("mine.svs"), tmp_path)[0] == Path("mine.svs")


def test_the_environment_may_name_the_sample(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERGENE_SAMPLE", "elsewhere.svs")
    path, story = demo_module.sample_slide(None, tmp_path)
    assert path == Path("elsewhere.svs")
    assert "HYPERGENE_SAMPLE" in story


def test_without_a_network_a_slide_is_painted_and_this_is_said_loudly(
    no_network: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    painted: list[Path] = []
    monkeypatch.setattr(
        demo_module, "paint_slide", lambda path: painted.append(path) or path.touch()
    )
    path, story = demo_module.sample_slide(None, tmp_path)
    assert path == tmp_path / "slide" / "painted-slide.tiff"
    assert path.exists()
    assert len(painted) == 1
    assert "painted" in story
    assert "USING A PAINTED SLIDE" in caplog.text
    assert "no tissue" in caplog.text


def test_a_file_that_is_not_the_pinned_one_is_not_used(
    no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "impostor.svs"
    impostor.write_bytes(b"something else")
    monkeypatch.setattr(demo_module, "SAMPLE_URL", impostor.as_uri())

    def copy(url: str, output_file: str, _: object) -> None:
        Path(output_file).write_bytes(impostor.read_bytes())

    monkeypatch.setattr(demo_module.pooch, "HTTPDownloader", lambda **_: copy)
    monkeypatch.setattr(demo_module, "paint_slide", lambda path: path.touch())
    assert demo_module.sample_slide(None, tmp_path)[0].name == "painted-slide.tiff"


def test_the_slide_that_was_fetched_is_put_where_its_user_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = tmp_path / "cache" / "CMU-1-Small-Region.svs"
    fetched.parent.mkdir()
    fetched.write_bytes(b"a slide")
    monkeypatch.setattr(demo_module, "_fetch_sample", lambda: fetched)
    path, story = demo_module.sample_slide(None, tmp_path / "out")
    assert path == tmp_path / "out" / "slide" / "CMU-1-Small-Region.svs"
    assert path.read_bytes() == b"a slide"
    assert fetched.exists()
    assert str(path) in story


def test_the_demo_goes_the_whole_way(painted_slide: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = demo_module.DemoOptions(model=str(tiny_model))
    outcome, picture = demo_module.demo(painted_slide, tmp_path / "out", options)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert outcome.output is not None
    assert read_anndata(outcome.output).n_vars == outcome.genes
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("painted.zarr", "painted.genes.png"),
    }


def test_the_default_model_is_the_one_that_ships(painted_slide: Path, tmp_path: Path) -> None:
    outcome, _ = demo_module.demo(painted_slide, tmp_path, demo_module.DemoOptions())
    assert outcome.output is not None
    about = read_anndata(outcome.output).uns["hypergene"]["model"]
    assert about["name"] == DEFAULT_MODEL


def test_a_missing_slide_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SlideError):
        demo_module.demo(tmp_path / "no.svs", tmp_path / "a" / "b", demo_module.DemoOptions())
    assert list(tmp_path.iterdir()) == []
