"""A model folder gives back the very model that was written, or one sentence."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypergene.errors import ModelError, OutputError, UsageError
from hypergene.model.network import HyperGene
from hypergene.zoo import bundled_models, load_model, read_config, weights_sha256, write_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def refused(folder: Path, sentence: str) -> ModelError:
    """The one error of loading a folder; it names the folder and is one sentence with a hint."""
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(folder)
    error = caught.value
    assert str(folder) in error.message
    assert "\n" not in error.message and error.message.endswith(".")
    assert error.hint
    return error


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / CONFIG).read_text("utf-8"))
    change(values)
    (folder / CONFIG).write_text(json.dumps(values), "utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_a_model_comes_back_as_it_was_written(folder: Path, tiny_model: HyperGene):
    model = load_model(folder)
    assert model.config == tiny_model.config
    assert not model.training
    written, read = tiny_model.state_dict(), model.state_dict()
    assert list(read) == list(written)
    for name, tensor in written.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name].nan_to_num(-1), tensor.nan_to_num(-1)), name
    tiles = torch.randint(0, 256, (2, 1, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(model.encode(tiles), tiny_model.encode(tiles))


def test_a_folder_is_read_by_its_name_as_text_as_well(folder: Path):
    assert load_model(str(folder)).config.provenance.name == "tiny"


def test_writing_what_was_read_gives_the_same_files(folder: Path, tmp_path: Path):
    (tmp_path / "again").mkdir()
    write_model(tmp_path / "again", load_model(folder), (folder / "README.md").read_text())
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "SHA256SUMS", CONFIG, WEIGHTS]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_configuration_is_laid_out_for_people(folder: Path):
    lines = (folder / CONFIG).read_text("utf-8").splitlines()
    assert '  "genes": ["ERBB2", "HLA-DRA", "µ-gene"],' in lines
    assert '  "gene_ids": ["ENSG1", "ENSG2", "ENSG3"]' in lines
    assert '    "kind": "lorentz",' in lines
    assert not any("null" in line for line in lines)


@pytest.mark.parametrize("last", [{"gene_ids": None}, {}])
def test_a_configuration_without_gene_ids_is_json_too(
    folder: Path, tmp_path: Path, tiny_model: HyperGene, last: dict[str, Any]
):
    model = HyperGene(tiny_model.config.model_copy(update=last))
    write_model(tmp_path, model, "")
    assert read_config(tmp_path) == model.config


def test_two_names_for_one_tensor_are_both_written(tmp_path: Path, tiny_model: HyperGene):
    model = HyperGene(tiny_model.config)
    model.gene_niche = model.gene_spot
    write_model(tmp_path, model, "")
    again = load_model(tmp_path)
    assert torch.equal(again.gene_niche.enter.weight, model.gene_spot.enter.weight)


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, missing: str):
    (folder / missing).unlink()
    refused(folder, f"{missing} is missing")


def test_a_card_is_for_people_and_not_needed(folder: Path):
    (folder / "README.md").unlink()
    assert load_model(folder).config.provenance.name == "tiny"


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (lambda c: c.update(colour="red"), "colour: Extra inputs"),
    "unknown key inside": (lambda c: c["head"].update(heads=2), r"head\.heads: Extra inputs"),
    "missing key": (lambda c: c.pop("layout"), "layout: Field required"),
    "no genes": (lambda c: c.update(genes=[]), "genes: Tuple should have at least 1"),
    "same gene twice": (lambda c: c.update(genes=["A", "A", "B"]), "same symbol twice"),
    "newer format": (lambda c: c.update(format_version=2), "format_version: Input should be 1"),
    "number in quotes": (lambda c: c["geometry"].update(dim="4"), r"geometry\.dim: .* integer"),
    "out of range": (lambda c: c["head"].update(dropout=1.5), r"head\.dropout: .* less than"),
    "not a number": (lambda c: c["layout"].update(pitch_um=float("nan")), "finite number"),
    "falling edges": (lambda c: c["niche"].update(ring_edges_pitch=[2.0, 1.0]), "must rise"),
    "a pickle to open": (
        lambda c: c["encoder"]["arguments"].update(checkpoint_path="evil.pt"),
        "checkpoint_path cannot be given",
    ),
}


@pytest.mark.parametrize("mistake", CONFIGS)
def test_a_mistake_in_the_configuration_is_named(folder: Path, mistake: str):
    change, sentence = CONFIGS[mistake]
    change_config(folder, change)
    error = refused(folder, sentence)
    assert str(folder / CONFIG) in error.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"\x80\x04."])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, content: bytes):
    (folder / CONFIG).write_bytes(content)
    refused(folder, "configuration|unreadable")


def test_an_encoder_that_no_longer_exists_is_named(folder: Path):
    change_config(folder, lambda c: c["encoder"].update(name="resnet10000", arguments={}))
    with pytest.raises(ModelError, match="'resnet10000' cannot be made"):
        load_model(folder)


TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop("head.mean.weight"), "lacks the tensor 'head.mean.weight'"),
    "unknown": (lambda t: t.update(extra=torch.ones(1)), "has a tensor 'extra' that no part"),
    "other shape": (
        lambda t: t.update({"ridge.weight": torch.zeros(2, 3)}),
        r"'ridge.weight' in .* is float32 \(2, 3\), where config.json asks for float32 \(64, 3\)",
    ),
    "other type": (
        lambda t: t.update({"ridge.share": torch.tensor(1)}),
        r"'ridge.share' in .* is int64 \(\), where config.json asks for float32 \(\)",
    ),
    "half precision": (
        lambda t: t.update({"head.mean.bias": t["head.mean.bias"].half()}),
        "'head.mean.bias' in .* is float16",
    ),
    "not a number": (
        lambda t: t["project.0.weight"][0].fill_(float("nan")),
        "'project.0.weight' in .* holds values that are not numbers",
    ),
}


@pytest.mark.parametrize("mistake", TENSORS)
def test_a_tensor_that_does_not_fit_is_named(folder: Path, mistake: str):
    change, sentence = TENSORS[mistake]
    change_weights(folder, change)
    error = refused(folder, sentence)
    assert str(folder / WEIGHTS) in error.message


def test_a_configuration_of_another_size_does_not_take_the_weights(folder: Path):
    change_config(folder, lambda c: c["geometry"].update(dim=5))
    refused(folder, "where config.json asks for")


def test_unknown_quality_of_a_gene_is_no_damage(folder: Path):
    assert load_model(folder).heldout_pcc.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated_weights_are_damaged(folder: Path, keep: int):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:keep])
    refused(folder, "damaged or not a safetensors file")


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sprung,))


@pytest.mark.parametrize("writer", [pickle.dumps, None])
def test_no_pickle_is_ever_read(folder: Path, tmp_path: Path, writer: Any):
    sprung = tmp_path / "sprung"
    if writer is None:
        torch.save({"weight": Trap(sprung)}, folder / WEIGHTS)
    else:
        (folder / WEIGHTS).write_bytes(writer(Trap(sprung)))
        pickle.loads((folder / WEIGHTS).read_bytes())
        assert sprung.exists()  # the trap works
        sprung.unlink()
    refused(folder, "damaged or not a safetensors file")
    assert not sprung.exists()


def test_the_checksum_is_that_of_the_weights(folder: Path):
    expected = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert weights_sha256(folder) == expected
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        weights_sha256(folder)


@pytest.mark.parametrize("device", ["gpu", "cuda:17"])
def test_a_device_that_is_not_there_is_a_usage_error(folder: Path, device: str):
    with pytest.raises(UsageError, match=device):
        load_model(folder, device=device)


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path, tiny_model: HyperGene):
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_model(tmp_path / "missing", tiny_model, "")
    assert str(tmp_path / "missing") in caught.value.message


def test_every_bundled_model_loads_and_can_be_read():
    models = bundled_models()
    if not models:
        pytest.skip("no model is bundled in this checkout")
    for name, folder in models.items():
        model = load_model(name)
        assert model.config.provenance.name == name
        lines = (folder / CONFIG).read_text("utf-8").splitlines()
        assert len(lines) < 120 and any(line.startswith('  "genes": [') for line in lines)
        assert (folder / "README.md").is_file()
        assert not list(folder.glob("*.p*[tk]*"))  # no pickle beside it


def test_a_model_is_as_readable_as_any_file(folder: Path) -> None:
    assert (folder / WEIGHTS).stat().st_mode == (folder / CONFIG).stat().st_mode


@pytest.fixture
def with_archetypes(tiny_model: HyperGene, tmp_path: Path) -> Path:
    """The folder of the same model with two archetypes, at expression 0.2 and 0.7 of modules."""
    geometry = tiny_model.config.geometry.model_copy(update={"archetypes": 2})
    model = HyperGene(tiny_model.config.model_copy(update={"geometry": geometry})).eval()
    model.load_state_dict(tiny_model.state_dict(), strict=False)
    assert model.archetypes is not None
    model.archetypes.scores.copy_(torch.tensor([[0.2], [0.7]]).expand(2, 3))
    folder = tmp_path / "states"
    folder.mkdir()
    write_model(folder, model, "# tiny\n")
    return folder


def test_expression_of_archetypes_can_be_read_without_hypergene(with_archetypes: Path):
    with (with_archetypes / "archetypes.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["gene", "archetype_0", "archetype_1"]
    model = load_model(with_archetypes)
    assert [row[0] for row in rows] == list(model.config.genes)
    assert model.archetypes is not None
    expected = model.modules_to_genes.expression(model.archetypes.scores).T
    written = torch.tensor([[float(value) for value in row[1:]] for row in rows])
    torch.testing.assert_close(written, expected, rtol=0, atol=6e-5)
    assert (written[:, 1] > written[:, 0]).all()


def test_a_model_without_archetypes_has_no_table_of_them(folder: Path):
    assert not (folder / "archetypes.csv").exists()


def test_the_table_of_archetypes_is_for_people_and_not_needed(with_archetypes: Path):
    (with_archetypes / "archetypes.csv").write_text("nonsense")
    assert load_model(with_archetypes).archetypes is not None


ARCHETYPES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "off the hyperboloid": (
        lambda t: t["archetypes.points"][0, 0].add_(0.01),
        "have points that are not on the hyperboloid",
    ),
    "no width": (lambda t: t["archetypes.tau"].zero_(), "have a tau that is not a positive"),
    "not a number": (
        lambda t: t["archetypes.points"].fill_(float("nan")),
        "'archetypes.points' in .* holds values that are not numbers",
    ),
    "another number of them": (
        lambda t: t.update({"archetypes.points": t["archetypes.points"][:1].clone()}),
        r"'archetypes.points' in .* is float32 \(1, 5\), where config.json asks for .* \(2, 5\)",
    ),
    "none": (
        lambda t: [t.pop(name) for name in list(t) if name.startswith("archetypes.")],
        "lacks the tensor 'archetypes.points'",
    ),
}


@pytest.mark.parametrize("mistake", ARCHETYPES)
def test_archetypes_that_cannot_be_are_refused(with_archetypes: Path, mistake: str):
    change, sentence = ARCHETYPES[mistake]
    change_weights(with_archetypes, change)
    error = refused(with_archetypes, sentence)
    assert str(with_archetypes / WEIGHTS) in error.message
