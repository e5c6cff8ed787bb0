"""What ``hypergene models`` prints where, and what it leaves with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.stand_in import TOKEN, StandIn, stand_in
from huggingface_hub import constants

from hypergene.cli import main
from hypergene.zoo import weights_sha256


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as served:
        yield served


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_bundled_model_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list") == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "where", "size", "genes", "tissue", "licence"]
    assert line.startswith("her2st-small  bundled") and "9,731" in line and "CC-BY-4.0" in line


def test_models_of_the_hub_are_listed_when_asked_for_and_once(
    hub: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    front = "---\nlibrary_name: hypergene\nlicense: mit\nhypergene: {genes: 7, tissue: lung}\n---\n"
    rude = "---\nlibrary_name: hypergene\nhypergene: {genes: many, tissue: 'a\\\\e[31mb'}\n---\n"
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    hub.repositories |= {
        "lab/lung": {"README.md": front.encode()},
        "lab/rude": {"README.md": rude.encode()},
        "lab/tiny": files | {"README.md": front.encode()},
        "lab/unrelated": {"README.md": b"# other\n"},
        "lab/bare": {},
    }
    hub.private.add("lab/rude")
    hub.use(monkeypatch, tmp_path)
    assert run("models", "list", "--json") == 0
    assert [row["where"] for row in json.loads(capsys.readouterr().out)] == ["bundled"]
    assert run("models", "pull", "hf-hub:lab/tiny") == 0
    capsys.readouterr()
    assert run("models", "list", "--hub", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["where"] for name, row in rows.items()} == {
        "her2st-small": "bundled",
        "hf-hub:lab/tiny": "cached",
        "hf-hub:lab/lung": "hub",
        "hf-hub:lab/rude": "hub",
    }
    lung, rude_row = rows["hf-hub:lab/lung"], rows["hf-hub:lab/rude"]
    assert (lung["genes"], lung["tissue"], lung["licence"]) == (7, "lung", "mit")
    assert (rude_row["genes"], rude_row["note"]) == (None, "private")
    assert run("models", "list", "--hub") == 0
    assert "\033" not in capsys.readouterr().out


@pytest.mark.parametrize("down", ["no network", "offline"])
def test_without_the_hub_the_rest_is_listed_and_a_sentence_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], down: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", down == "offline")
    assert run("models", "list", "--hub") == 0
    said = capsys.readouterr()
    assert "her2st-small" in said.out
    assert said.err.startswith("Warning: Models on the hub are not listed: The hub")
    assert said.err.count("\n") == 1


def test_encoders_are_listed_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list", "--encoders") == 0
    out = capsys.readouterr().out
    assert "virchow2" in out and "prov-gigapath" in out
    assert run("models", "list", "--encoders", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["uni2-h"]["gated"] is True and len(rows) > 10


def test_a_model_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "show", "her2st-small") == 0
    out = capsys.readouterr().out
    for words in (
        "112 µm and 300 µm around a spot",
        "A 144, B 2,454, C 3,544, refuse 3,589",
        "whole patients (B4)",
        "C3, C4, C5, C6, B4",
        "predicted, not measured",
        "Andersson et al.",
        "CC-BY-4.0",
    ):
        assert words in out


def test_a_model_is_shown_to_machines(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What predict is to write is nothing that show could be told.
    monkeypatch.setenv("HYPERGENE_GENES", "ERBB2,KRT8")
    assert run("models", "show", tiny_model, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sha256"] == weights_sha256(tiny_model)
    assert (facts["genes"], facts["tile_um"], facts["tile_px"]) == (20, [112.0, 300.0], 32)
    assert facts["layout"]["pitch_um"] == 200.0 and facts["reliability"] is None
    assert facts["most_reliable"][0] == "B2M"
    assert facts["held_out"]["median_pearson"] == pytest.approx(0.35)


def test_the_whole_card_and_all_genes_can_be_had(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "show", "her2st-small", "--card") == 0
    card = Path(__file__).parents[2] / "models" / "her2st-small" / "README.md"
    assert capsys.readouterr().out == card.read_text("utf-8")
    assert run("models", "show", tiny_model, "--genes") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 20 and rows[0]["gene"] == "B2M"
    values = [float(row["heldout_pcc"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[0]["gene_ids"].startswith("ENSG")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("show", "nowhere"), 1),
        (("show", "hf-hub:lab/none"), 1),
        (("pull", "her2st-small"), 2),
        (("push", "her2st-small", "nameless", "--dry-run"), 1),
        (("push", "nowhere", "lab/x", "--dry-run"), 1),
        (("verify", "nowhere"), 1),
        (("verify",), 2),
        (("nonsense",), 2),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    hub: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    code: int,
) -> None:
    hub.use(monkeypatch, tmp_path)
    assert run("models", *command) == code
    said = capsys.readouterr().err
    assert "Error" in said and "Traceback" not in said


def test_a_dry_run_lists_and_asks_nobody(
    hub: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.use(monkeypatch, tmp_path)
    assert run("models", "push", "her2st-small", "lab/breast", "--dry-run", "--json") == 0
    said = capsys.readouterr()
    plan = json.loads(said.out)
    assert (plan["repository"], plan["commit"]) == ("lab/breast", None)
    sizes = {row["name"]: row["size_bytes"] for row in plan["files"]}
    assert list(sizes) == ["config.json", "model.safetensors", "README.md", "SHA256SUMS"]
    assert sizes["model.safetensors"] == 8_777_551
    assert "C3, C4, C5, C6, B4" in said.err
    assert run("models", "push", "her2st-small", "lab/breast", "--dry-run") == 0
    said = capsys.readouterr()
    assert "8,777,551" in said.out and "Nothing was uploaded" in said.err
    assert hub.asked == [] and hub.repositories == {}


def test_a_model_is_pushed_pulled_and_verified(
    hub: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.use(monkeypatch, tmp_path, token=TOKEN)
    assert run("models", "push", "her2st-small", "lab/breast") == 0
    assert capsys.readouterr().out.startswith(f"{hub.url}/lab/breast/commit/")
    usb = tmp_path / "usb"
    assert run("models", "pull", "hf-hub:lab/breast", "--out", usb) == 0
    assert capsys.readouterr().out == f"{usb}\n"
    assert run("models", "pull", "hf-hub:lab/breast", "--out", usb) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run("models", "verify", "her2st-small", usb, "hf-hub:lab/breast") == 0
    assert capsys.readouterr().out.count(": OK") == 3
    (usb / "config.json").write_text("{}")
    assert run("models", "verify", "her2st-small", usb) == 1
    said = capsys.readouterr()
    assert f"{usb}: FAILED" in said.out and "her2st-small: OK" in said.out
    assert "config.json is not what was written" in said.err
    assert run("models", "verify", usb, "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert row["ok"] is False and row["problems"] and row["folder"] == str(usb)
