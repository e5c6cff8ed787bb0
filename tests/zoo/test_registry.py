"""A name leads to one folder: bundled, on disk or from the hub; or to one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from hypergene.errors import ModelError
from hypergene.zoo import bundled_models, find_model, load_model, registry


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put empty models at a place of a checkout, in which the package then lies."""
    package = tmp_path / "checkout" / "hypergene"
    monkeypatch.setattr(registry, "__file__", str(package / "zoo" / "registry.py"))

    def put(place: str, *names: str) -> Path:
        for name in names:
            (package.parent / place / name).mkdir(parents=True)
            (package.parent / place / name / "config.json").touch()
        return package.parent / place

    return put


def test_models_of_a_checkout_are_found_by_name(bundle: Callable[..., Path]):
    models = bundle("models", "b-model", "a-model")
    (models / "not-a-model").mkdir()
    assert bundled_models() == {name: models / name for name in ("a-model", "b-model")}
    assert find_model("b-model") == models / "b-model"


def test_models_inside_an_installed_package_come_first(bundle: Callable[..., Path]):
    bundle("models", "strange")
    inside = bundle("hypergene/_models", "own")
    assert bundled_models() == {"own": inside / "own"}


def test_an_unknown_name_lists_the_bundled_ones(bundle: Callable[..., Path]):
    bundle("models", "her2st-small", "lung-large")
    with pytest.raises(ModelError, match=r"no model 'her2st-smal'\. Bundled") as caught:
        load_model("her2st-smal")
    assert "her2st-small, lung-large" in (caught.value.hint or "")


@pytest.mark.usefixtures("bundle")
def test_an_unknown_name_where_none_is_bundled_says_so():
    with pytest.raises(ModelError) as caught:
        find_model("anything")
    assert "Bundled: none" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "x" * 5000, "a\0b", "a/b/c"])
def test_a_name_that_is_no_path_is_an_unknown_model(name: str):
    with pytest.raises(ModelError, match="There is no model"):
        find_model(name)


def test_a_file_instead_of_a_folder_is_named(folder: Path):
    for name in (folder / "model.safetensors", str(folder / "config.json")):
        with pytest.raises(ModelError, match="is a file, not a model folder") as caught:
            load_model(name)
        assert str(name) in caught.value.message
        assert "config.json and model.safetensors" in (caught.value.hint or "")


def test_an_empty_folder_is_no_model_folder(tmp_path: Path):
    with pytest.raises(ModelError, match=r"is not a model folder: config\.json is missing"):
        load_model(tmp_path)


def test_a_path_may_start_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find_model(f"~/{folder.name}") == folder


def hub(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[tuple[Any, ...]]:
    """A hub that gives one answer, and what it was asked for."""
    fetched: list[tuple[Any, ...]] = []

    def may_be_had(url: str, **_: Any) -> None:
        if isinstance(answer, Exception):
            raise answer

    def download(repository: str, name: str, *, revision: str | None, **options: Any) -> str:
        if isinstance(answer, Exception):
            assert options == {"local_files_only": True}
            raise errors.LocalEntryNotFoundError("not cached")
        fetched.append((repository, revision, name))
        return str(answer / name)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", may_be_had)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return fetched


def test_a_model_of_the_hub_is_loaded_like_any_other(folder: Path, monkeypatch: pytest.MonkeyPatch):
    fetched = hub(monkeypatch, folder)
    assert load_model("hf-hub:lab/model").config.provenance.name == "tiny"
    assert find_model("hf-hub:lab/model@v2") == folder
    # Nothing else is fetched, whatever else lies there, and all of it of one commit.
    commit = folder.name
    assert fetched == [
        (*("lab/model", revision), "config.json")
        if name == "config.json"
        else ("lab/model", commit, name)
        for revision in (None, "v2")
        for name in ("config.json", "model.safetensors", "README.md")
    ]


def of_hub(kind: type[Exception], message: str = "404 Client Error.\nURL: x") -> Exception:
    """An error as the hub's client raises it on an answer from the hub."""
    response: Any = SimpleNamespace(headers={}, request=None)
    return kind(message, response=response)


HUB_ERRORS = {
    "gated": (of_hub(errors.GatedRepoError), "is gated", "HF_TOKEN"),
    "unknown": (of_hub(errors.RepositoryNotFoundError), "hub has no model", "Check the name"),
    "revision": (of_hub(errors.RevisionNotFoundError), "hub has no model", "revision"),
    "no name": (errors.HFValidationError("bad"), "hub has no model", "Check the name"),
    "not cached": (errors.LocalEntryNotFoundError("no"), "cannot be reached", "Fetch it once"),
    "offline": (errors.OfflineModeIsEnabled("no"), "cannot be reached", "Fetch it once"),
    "no network": (ConnectionError("refused"), "cannot be reached", "Fetch it once"),
    "disabled": (of_hub(errors.DisabledRepoError, "403. Disabled.\nURL"), "403. Disabled", "Try"),
    "server": (of_hub(errors.HfHubHTTPError, "503 Busy.\nURL"), "hub: 503 Busy", "Try again"),
    "disk full": (OSError(28, "No space left on device"), "No space left on device", "Try again"),
    "below the hub": (RuntimeError(""), "hub: RuntimeError", "Try again"),
}


@pytest.mark.parametrize("case", HUB_ERRORS)
def test_whatever_the_hub_raises_is_one_model_error(case: str, monkeypatch: pytest.MonkeyPatch):
    raised, sentence, hint = HUB_ERRORS[case]
    hub(monkeypatch, raised)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model("hf-hub:lab/model")
    error = caught.value
    assert "lab/model" in error.message and "\n" not in error.message
    assert error.message.endswith(".") and hint in (error.hint or "")
    assert error.__cause__ is raised


def test_offline_a_model_that_is_not_cached_is_a_model_error(tmp_path: Path):
    code = """
from hypergene.errors import ModelError
from hypergene.zoo import find_model
try:
    find_model("hf-hub:nobody/nothing")
except ModelError as error:
    print(error.message)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ("The model nobody/nothing is not cached and the hub cannot be reached.\n")
