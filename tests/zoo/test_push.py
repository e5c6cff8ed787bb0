"""What is uploaded is a model and nothing else; who may not is told so in one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub.api import ACCOUNT, FORBIDDEN, front_matter
from hub.stand_in import COMMIT, TOKEN, StandIn, stand_in

from hypergene.errors import ModelError, OutputError, UsageError
from hypergene.pipeline.models.pull import pull_model
from hypergene.zoo import load_model, verify_model
from hypergene.zoo.hub_api import HubOutOfReachError, TokenError, hub_models
from hypergene.zoo.listing import list_hub_models, list_local_models
from hypergene.zoo.push import PushPlan, plan_push, push

CARD = "# tiny\n\n## Data\n\nPainted.\n\n## Limits\n\nMany.\n"


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as served:
        yield served


@pytest.fixture
def ready(folder: Path) -> Path:
    """A model folder with all that publishing asks for."""
    change(folder, lambda c: c["provenance"].update(licence="CC-BY-4.0", tissue="breast"))
    (folder / "README.md").write_text(CARD)
    return folder


def change(folder: Path, by: Callable[[dict[str, Any]], Any]) -> None:
    held = json.loads((folder / "config.json").read_text("utf-8"))
    by(held)
    (folder / "config.json").write_text(json.dumps(held), "utf-8")


def content(plan: PushPlan, name: str) -> bytes:
    (file,) = [file for file in plan.files if file.name == name]
    return file.source if isinstance(file.source, bytes) else file.source.read_bytes()


def test_only_the_files_of_a_model_are_planned(ready: Path):
    for stranger in ("pytorch_model.bin", "notes.txt", "trap.pkl"):
        (ready / stranger).write_bytes(b"\x80\x04.")
    (ready / "slides").mkdir()
    plan = plan_push(ready, "lab/tiny")
    names = [file.name for file in plan.files]
    assert names == ["config.json", "model.safetensors", "README.md", "SHA256SUMS"]
    assert plan.left_out == ("notes.txt", "pytorch_model.bin", "slides", "trap.pkl")
    assert plan.public == ("A1", "B1")
    for file in plan.files:
        held = content(plan, file.name)
        assert (len(held), hashlib.sha256(held).hexdigest()) == (file.size_bytes, file.sha256)


def test_the_checksums_uploaded_are_those_of_what_is_uploaded(ready: Path, tmp_path: Path):
    plan = plan_push(ready, "lab/tiny")
    (tmp_path / "there").mkdir()
    for file in plan.files:
        (tmp_path / "there" / file.name).write_bytes(content(plan, file.name))
    assert verify_model(tmp_path / "there").problems == ()


def test_the_card_gets_the_hubs_front_matter_and_keeps_its_text(
    ready: Path, caplog: pytest.LogCaptureFixture
):
    text = content(plan_push(ready, "lab/tiny"), "README.md").decode()
    assert front_matter(text) == {
        "library_name": "hypergene",
        "license": "cc-by-4.0",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["hypergene", "histology", "spatial-transcriptomics", "pathology"],
        "hypergene": {"genes": 3, "tissue": "breast", "layout": "st", "tile_um": [112.0]},
    }
    assert text.endswith(CARD)
    assert (ready / "README.md").read_text() == CARD
    assert caplog.text == ""


def test_what_the_front_matter_says_already_is_kept(ready: Path):
    own = "---\nlicense: mit\ntags: [kidney, hypergene]\nlanguage: en\n---\n"
    (ready / "README.md").write_text(own + CARD)
    found = front_matter(content(plan_push(ready, "lab/tiny"), "README.md").decode())
    assert (found["license"], found["language"]) == ("mit", "en")
    assert found["tags"][:2] == ["kidney", "hypergene"] and len(found["tags"]) == 5
    assert found["library_name"] == "hypergene"


def test_a_licence_that_the_hub_does_not_know_goes_by_its_own_name(ready: Path):
    change(ready, lambda c: c["provenance"].update(licence="LicenseRef-Lab"))
    found = front_matter(content(plan_push(ready, "lab/tiny"), "README.md").decode())
    assert (found["license"], found["license_name"]) == ("other", "licenseref-lab")


def test_weights_under_a_licence_of_their_own_are_a_warning(ready: Path):
    change(ready, lambda c: c["encoder"].update(licence="CC-BY-NC-ND-4.0", source="hf-hub:a/b@1"))
    (first, *_) = plan_push(ready, "lab/tiny").warnings
    assert "hf-hub:a/b@1" in first and "CC-BY-NC-ND-4.0" in first


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no licence": (
        lambda f: change(f, lambda c: c["provenance"].pop("licence")),
        "states no licence",
    ),
    "no card": (lambda f: (f / "README.md").unlink(), "has no card"),
    "no data": (lambda f: (f / "README.md").write_text("# tiny\n"), "was trained on"),
    "empty data": (
        lambda f: (f / "README.md").write_text("## Data\n\n## Limits\nMany.\n"),
        "was trained on",
    ),
    "no yaml": (lambda f: (f / "README.md").write_text(f"---\na: [\n---\n{CARD}"), "no YAML table"),
    "damaged": (lambda f: (f / "model.safetensors").write_bytes(b"x"), "damaged or not a safet"),
    "no config": (lambda f: (f / "config.json").unlink(), "is not a model folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_published_is_one_sentence(case: str, ready: Path):
    spoil, sentence = REFUSED[case]
    spoil(ready)
    with pytest.raises(ModelError, match=sentence) as caught:
        plan_push(ready, "lab/tiny")
    assert str(ready) in caught.value.message and caught.value.hint


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "lab/ti ny", "../x/y", "hf-hub:lab/tiny", ""])
def test_a_name_that_is_none_of_a_repository_is_refused(name: str, ready: Path):
    with pytest.raises(ModelError, match="no name of a repository"):
        plan_push(ready, name)


def test_a_model_goes_to_the_hub_and_comes_back(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.use(monkeypatch, tmp_path / "home", token=TOKEN)
    (ready / "trap.pkl").write_bytes(b"\x80\x04.")
    assert push(plan_push(ready, "lab/tiny")) == f"{hub.url}/lab/tiny/commit/{COMMIT}"
    held = hub.repositories["lab/tiny"]
    assert set(held) == {"config.json", "model.safetensors", "README.md", "SHA256SUMS"}
    assert "lab/tiny" not in hub.private

    (listed,) = list_hub_models()
    assert (listed.name, listed.where, listed.genes) == ("hf-hub:lab/tiny", "hub", 3)
    assert (listed.tissue, listed.licence, listed.note) == ("breast", "cc-by-4.0", "")

    carried = pull_model("hf-hub:lab/tiny", tmp_path / "usb" / "tiny")
    assert verify_model(carried).problems == ()
    assert load_model(carried).config == load_model(ready).config
    (cached,) = [model for model in list_local_models() if model.where == "cached"]
    assert cached == type(cached)(
        "hf-hub:lab/tiny", "cached", cached.size_bytes, 3, "breast", "CC-BY-4.0"
    )
    assert {file.against for file in verify_model("hf-hub:lab/tiny").files} == {"hub"}


def test_a_private_repository_is_private_or_nothing_is_uploaded(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.use(monkeypatch, tmp_path, token=TOKEN)
    push(plan_push(ready, "lab/secret"), private=True)
    assert hub.private == {"lab/secret"}
    assert [model.private for model in hub_models()] == [True]
    push(plan_push(ready, "lab/secret"), private=True)
    hub.repositories["lab/open"] = {}
    with pytest.raises(UsageError, match="lab/open exists already and is not private"):
        push(plan_push(ready, "lab/open"), private=True)
    assert hub.repositories["lab/open"] == {}


@pytest.mark.parametrize(
    ("token", "repository", "sentence"),
    [
        (None, "lab/tiny", "No access token for the hub is given"),
        ("hf_bad", "lab/tiny", "does not know the access token"),
        (TOKEN, f"{FORBIDDEN}/tiny", f"token of {ACCOUNT} may not write to {FORBIDDEN}/tiny"),
    ],
)
def test_a_token_that_does_not_do_is_one_sentence(
    hub: StandIn,
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    repository: str,
    sentence: str,
):
    hub.use(monkeypatch, tmp_path, token=token)
    with pytest.raises(TokenError, match=sentence) as caught:
        push(plan_push(ready, repository))
    assert "HF_TOKEN" in (caught.value.hint or "") and "\n" not in caught.value.message
    assert hub.repositories == {}


@pytest.mark.parametrize("down", ["silent", 503])
def test_a_hub_that_does_not_answer_is_given_up_on(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, down: int | str
):
    hub.use(monkeypatch, tmp_path, token=TOKEN)
    hub.down = down
    monkeypatch.setattr("hypergene.zoo.hub_api.TIMEOUT_S", 0.5)
    with pytest.raises(ModelError) as caught:
        hub_models(timeout_s=0.5)
    silent = down == "silent"
    assert isinstance(caught.value, HubOutOfReachError) == silent
    assert ("cannot be reached" if silent else "status 503") in caught.value.message


def test_pulling_what_lies_damaged_in_the_cache_fetches_it_again(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.repositories["lab/tiny"] = {
        path.name: path.read_bytes() for path in ready.iterdir() if path.name != "SHA256SUMS"
    }
    hub.use(monkeypatch, tmp_path)
    weights = pull_model("hf-hub:lab/tiny") / "model.safetensors"
    good = weights.read_bytes()
    weights.resolve().write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    found = verify_model("hf-hub:lab/tiny")
    assert "is not what was published" in found.problems[0]
    assert found.hint == "Fetch it again: hypergene models pull hf-hub:lab/tiny"
    pull_model("hf-hub:lab/tiny")
    assert weights.read_bytes() == good
    assert verify_model("hf-hub:lab/tiny").ok


def test_a_repository_that_is_no_model_is_not_pulled(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.repositories["lab/other"] = {"config.json": b"{}", "model.safetensors": b"x"}
    hub.use(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match="is not a model configuration"):
        pull_model("hf-hub:lab/other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["lab/tiny", "her2st-small"])
def test_only_a_name_of_the_hub_can_be_pulled(name: str):
    with pytest.raises(UsageError, match="is no model of the hub"):
        pull_model(name)


def test_a_pulled_folder_needs_no_network(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Its card was edited on the hub, so that its own checksums no longer fit.
    hub.repositories["lab/tiny"] = {path.name: path.read_bytes() for path in ready.iterdir()}
    hub.use(monkeypatch, tmp_path)
    carried = pull_model("hf-hub:lab/tiny@v1", tmp_path / "usb")
    shutil.rmtree(tmp_path / "hub")
    assert verify_model(carried).ok and load_model(carried).config.provenance.name == "tiny"


def test_a_copy_that_comes_back_otherwise_is_not_left(
    hub: StandIn, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + b"\n" * (source.name == "config.json"))

    hub.repositories["lab/tiny"] = {path.name: path.read_bytes() for path in ready.iterdir()}
    hub.use(monkeypatch, tmp_path)
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(OutputError, match=r"usb/config\.json is not what was written") as caught:
        pull_model("hf-hub:lab/tiny", tmp_path / "usb")
    assert "another disk" in (caught.value.hint or "")
    assert not (tmp_path / "usb").exists()
