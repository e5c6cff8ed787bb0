"""A model that is not what was written is named, and one that is, is not."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from hypergene.errors import ModelError
from hypergene.zoo import bundled_models, verify_model
from hypergene.zoo.cached import content_damage, find_cached
from hypergene.zoo.checksums import CHECKSUMS, read_checksums, write_checksums


@pytest.mark.parametrize("name", bundled_models())
def test_every_bundled_model_is_what_was_written(name: str):
    found = verify_model(name)
    assert found.problems == ()
    assert {file.against for file in found.files} == {"SHA256SUMS"}
    assert {file.name for file in found.files} >= {"config.json", "model.safetensors", "README.md"}


def test_a_model_that_was_just_written_verifies(folder: Path):
    found = verify_model(folder)
    assert found.ok and found.folder == folder
    for file in found.files:
        content = (folder / file.name).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_coreutils_read_the_checksums(folder: Path):
    def check() -> int:
        command = ["sha256sum", "--strict", "-c", CHECKSUMS]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode

    assert check() == 0
    (folder / "config.json").write_text("{}")
    assert check() != 0


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def rename_gene(folder: Path) -> None:
    held = json.loads((folder / "config.json").read_text("utf-8"))
    held["genes"][0] = "OTHER"
    (folder / "config.json").write_text(json.dumps(held), "utf-8")


def poison(folder: Path) -> None:
    """Put values that are no numbers, and renew the checksums, which then say nothing."""
    tensors = load_file(folder / "model.safetensors")
    tensors["project.0.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors")
    write_checksums(folder)


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one bit": (lambda f: flip(f / "model.safetensors"), "model.safetensors is not what was writ"),
    "a gene": (rename_gene, r"config\.json is not what was written: its sha256 is"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), f"is missing, and {CHECKSUMS}"),
    "no checksums": (lambda f: (f / CHECKSUMS).unlink(), "nothing to compare it with"),
    "no numbers": (poison, "holds values that are not numbers"),
    "not all": (
        lambda f: (f / CHECKSUMS).write_text(f"{'0' * 64}  README.md\n"),
        f"model.safetensors is not in {CHECKSUMS}",
    ),
    "nonsense": (lambda f: (f / CHECKSUMS).write_text("hello\n"), f"Line 1 of .*{CHECKSUMS} is no"),
    "elsewhere": (
        lambda f: (f / CHECKSUMS).write_text(f"{'0' * 64}  ../config.json\n"),
        "is no checksum of a file beside it",
    ),
    "binary": (lambda f: (f / CHECKSUMS).write_bytes(b"\xff\xfe"), "cannot be read as text"),
    "not a model": (lambda f: (f / "config.json").write_text("{}"), "is not a model configuration"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_wrong_is_one_sentence_with_what_to_do(case: str, folder: Path):
    spoil, sentence = SPOILT[case]
    spoil(folder)
    found = verify_model(folder)
    assert not found.ok and found.hint
    assert any(re.search(sentence, problem) for problem in found.problems)
    assert all(str(folder) in problem and "\n" not in problem for problem in found.problems)


def test_a_card_that_was_changed_on_purpose_can_be_renewed(folder: Path):
    (folder / "README.md").write_text("# mine\n")
    found = verify_model(folder)
    assert "README.md is not what was written" in found.problems[0]
    assert found.hint.endswith(f"sha256sum config.json model.safetensors README.md > {CHECKSUMS}")
    write_checksums(folder)
    assert verify_model(folder).ok


def test_the_checksums_of_a_folder_without_any_are_none(folder: Path):
    assert set(read_checksums(folder) or ()) == {"config.json", "model.safetensors", "README.md"}
    (folder / CHECKSUMS).unlink()
    assert read_checksums(folder) is None


@pytest.mark.parametrize("name", ["nowhere", "hf-hub:nobody/nothing"])
def test_a_model_that_is_not_there_is_a_problem_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = verify_model(name)
    assert found.folder is None and len(found.problems) == 1 and found.hint


def cache(root: Path, folder: Path, name: str, commit: str, ref: str | None = "main") -> Path:
    """Lay a folder out as the Hugging Face cache does: blobs under their checksums, and links."""
    repository = root / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for made in (snapshot, repository / "blobs", repository / "refs"):
        made.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        content = path.read_bytes()
        large = hashlib.sha256(content).hexdigest()
        small = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        blob = repository / "blobs" / (large if path.suffix == ".safetensors" else small)
        blob.write_bytes(content)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    if ref is not None:
        (repository / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return cache(tmp_path / "hub", folder, "lab/tiny", "a" * 40)


def test_a_cached_model_is_compared_with_what_the_hub_said(cached: Path):
    found = verify_model("hf-hub:lab/tiny")
    assert found.problems == () and found.folder == cached
    assert {file.against for file in found.files} == {"hub"}
    for name in ("config.json", "model.safetensors"):
        assert verify_model("hf-hub:lab/tiny").ok
        content = (cached / name).read_bytes()
        flip((cached / name).resolve())
        problems = verify_model("hf-hub:lab/tiny").problems
        assert any(f"{name} is not what was published" in problem for problem in problems)
        (cached / name).resolve().write_bytes(content)


def test_a_cached_model_is_found_by_branch_and_commit_and_not_otherwise(cached: Path):
    for name in ("lab/tiny", "lab/tiny@main", "lab/tiny@aaaaaaa", f"lab/tiny@{'a' * 40}"):
        assert find_cached(name).folder == cached
    for name in ("lab/other", "lab/tiny@v1", "lab/tiny@aaa"):
        with pytest.raises(ModelError, match="is not in the Hugging Face cache"):
            find_cached(name)


def test_encoders_and_half_models_in_the_cache_are_no_models(
    cached: Path, folder: Path, tmp_path: Path
):
    from hypergene.zoo.cached import cached_models

    root = tmp_path / "hub"
    (folder / "model.safetensors").unlink()
    cache(root, folder, "lab/half", "b" * 40)
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    (folder / "model.safetensors").write_bytes(b"x")
    cache(root, folder, "lab/encoder", "c" * 40)
    (folder / "config.json").write_text("[" * 100_000)
    cache(root, folder, "lab/deep", "d" * 40)
    assert [model.name for model in cached_models()] == ["hf-hub:lab/tiny"]


def test_a_revision_that_is_not_the_newest_is_named_with_it(
    cached: Path, folder: Path, tmp_path: Path
):
    from hypergene.zoo.cached import cached_models

    cache(tmp_path / "hub", folder, "lab/tiny", "b" * 40, ref="v1")
    cache(tmp_path / "hub", folder, "lab/tiny", "c" * 40, ref=None)
    names = [model.name for model in cached_models()]
    assert names == ["hf-hub:lab/tiny", "hf-hub:lab/tiny@v1", f"hf-hub:lab/tiny@{'c' * 40}"]


def test_a_name_that_is_no_checksum_proves_nothing(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    assert "no checksum but 'abc'" in (content_damage(tmp_path / "file", "abc") or "")
