"""A name in a recipe leads to a network with its own transform and weights, or to one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hub.stand_in import (
    ARGUMENTS,
    COMMIT,
    TOKEN,
    TRANSFORM,
    StandIn,
    stand_in,
    tiny_timm_repository,
)
from safetensors.torch import load, save_file

from hypergene.errors import ModelError
from hypergene.model.config import EncoderChoice, EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.zoo import FoundEncoder, find_encoder, known_encoders

TABLE = known_encoders()
GATED = {
    *("uni", "uni2-h", "virchow", "virchow2", "h-optimus-0", "h-optimus-1", "h0-mini"),
    *("prov-gigapath", "hibou-b", "hibou-l"),
}
# Lengths as the publishers give them.
LENGTHS = {
    **{"uni": 1024, "uni2-h": 1536, "virchow": 2560, "virchow2": 2560, "h-optimus-0": 1536},
    **{"h-optimus-1": 1536, "h0-mini": 1536, "prov-gigapath": 1536, "phikon": 768},
    **{"phikon-v2": 1024, "hibou-b": 768, "hibou-l": 1024, "ctranspath": 768},
    **{"imagenet-resnet50": 2048, "dinov2-small": 384, "dinov2-base": 768},
}


def found(name: str, **changes: Any) -> EncoderConfig:
    return find_encoder(EncoderChoice(name=name, pretrained=False, **changes)).config


# The table


@pytest.mark.parametrize("name", TABLE)
def test_an_encoder_of_the_table_has_its_published_length_and_size(name: str):
    config = found(name)
    with torch.device("meta"):
        network = TileEncoder(config)
    assert network.features == LENGTHS[name]
    # Published sizes of the photographs' DINOv2 count its table of positions for 518 px.
    more = (37**2 - 16**2) * LENGTHS[name] if name.startswith("dinov2") else 0
    millions = (sum(weights.numel() for weights in network.parameters()) + more) / 1e6
    assert millions == pytest.approx(TABLE[name].parameters, abs=0.06)


@pytest.mark.parametrize("name", TABLE)
def test_what_the_table_says_is_what_the_model_has(name: str):
    row, config = TABLE[name], found(name)
    assert (config.name, config.architecture) == (name, row.architecture)
    assert (config.mean, config.std) == (row.mean, row.std)
    assert (config.tile_px, config.tile_um) == (224, (224 * row.mpp,))
    assert config.embedding == row.embedding
    # A model folder brings all of it: nothing is left to look up.
    again = EncoderConfig.model_validate_json(config.model_dump_json(), strict=True)
    assert again == config


def test_the_gates_of_the_table():
    assert {name for name, row in TABLE.items() if row.gated} == GATED


def small(name: str) -> dict[str, Any]:
    """Arguments of an encoder at reduced depth and width, its kind of layers kept."""
    arguments = dict(TABLE[name].arguments)
    if "swin" in TABLE[name].architecture:
        return arguments | {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
    if "resnet" in TABLE[name].architecture:
        return arguments | {"channels": [8, 8, 16, 16], "stem_width": 8}
    ratio = 16 / 3 if arguments.get("mlp_layer") else 4
    return arguments | {"depth": 2, "embed_dim": 48, "num_heads": 3, "mlp_ratio": ratio}


@pytest.mark.parametrize("name", TABLE)
@torch.inference_mode()
def test_transform_and_pooling_of_an_encoder_agree_with_a_computation_of_their_own(name: str):
    row = TABLE[name]
    torch.manual_seed(1)
    encoder = TileEncoder(found(name, arguments=small(name))).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 224, 224), dtype=np.uint8)
    mean, std = (np.asarray(v, np.float32).reshape(3, 1, 1) for v in (row.mean, row.std))
    images = torch.from_numpy((pixels[:, 0].astype(np.float32) / 255 - mean) / std)
    tokens = encoder.network.forward_features(images)
    if "resnet" in row.architecture:
        expected = tokens.mean((2, 3))
    elif "swin" in row.architecture:
        expected = tokens.mean((1, 2))
    else:
        registers = row.arguments.get("reg_tokens", 4 if "reg4" in row.architecture else 0)
        patches = tokens[:, 1 + registers :]
        assert patches.shape[1] in (14**2, 16**2)
        expected = tokens[:, 0]
        if row.embedding == "class+mean":
            expected = torch.cat([expected, patches.sum(1) / patches.shape[1]], 1)
    torch.testing.assert_close(encoder(torch.from_numpy(pixels)), expected, rtol=1e-3, atol=1e-4)


# Any timm name


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "efficientnet_b3.ra2_in1k"])
def test_a_timm_name_comes_with_its_own_transform(name: str):
    own = timm.get_pretrained_cfg(name)
    config = found(name)
    assert (config.mean, config.std) == (own.mean, own.std)
    assert (config.tile_px, config.tile_um) == (own.input_size[-1], (112.0,))
    assert (config.architecture, config.embedding, config.source) == (None, "pooled", "")


def test_the_recipe_has_the_last_word():
    config = found(
        "virchow2", mean=(0.1, 0.2, 0.3), tile_um=(56, 112), tile_px=112, embedding="class"
    )
    assert (config.mean, config.std) == ((0.1, 0.2, 0.3), TABLE["virchow2"].std)
    assert (config.tile_um, config.tile_px, config.embedding) == ((56, 112), 112, "class")


def test_the_size_that_the_arguments_ask_for_is_the_size_of_a_tile():
    assert found("vit_tiny_patch16_224", arguments={"img_size": 96}).tile_px == 96


def test_only_a_mere_timm_name_starts_from_random_weights():
    encoder = find_encoder(EncoderChoice(name="resnet10t"))
    assert (encoder.config.pretrained, encoder.weights) == (False, None)


@pytest.mark.parametrize("name", ["resnet10000", "Uni", "nowhere:resnet", "", "../resnet10t"])
def test_an_unknown_name_is_one_sentence(name: str):
    with pytest.raises(ModelError, match="There is no image encoder") as caught:
        find_encoder(EncoderChoice(name=name))
    assert "docs/encoders.md" in (caught.value.hint or "")


# A local file


def local(path: Path, **changes: Any) -> EncoderChoice:
    return EncoderChoice(
        name="vit_tiny_patch16_224", arguments=ARGUMENTS, weights=str(path), **changes
    )


@pytest.fixture(scope="module")
def repository() -> dict[str, bytes]:
    return tiny_timm_repository()


def test_a_local_file_is_where_training_starts(repository: dict[str, bytes], tmp_path: Path):
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(repository["model.safetensors"])
    encoder = find_encoder(local(path))
    assert encoder.config.pretrained and encoder.config.source == "tiny.safetensors"
    weights = load(repository["model.safetensors"])
    ours = encoder.load().network.state_dict()
    assert ours and all(torch.equal(weights[key], value) for key, value in ours.items())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "uni.pt", "CHIEF_CTransPath.pth"])
def test_a_pickle_is_refused_unopened_and_the_way_out_is_named(name: str, tmp_path: Path):
    with pytest.raises(ModelError, match=f"{name} is a pickle, .* takes safetensors only") as error:
        find_encoder(local(tmp_path / name))
    assert "python -m hypergene.zoo.convert" in (error.value.hint or "")


def test_a_pickle_under_another_name_is_refused_too(tmp_path: Path):
    path = tmp_path / "tiny.safetensors"
    torch.save({"norm.weight": torch.ones(3)}, path)
    with pytest.raises(ModelError, match="damaged or not a safetensors file") as caught:
        find_encoder(local(path)).load()
    assert "python -m hypergene.zoo.convert" in (caught.value.hint or "")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"There is no file .*none\.safetensors"):
        find_encoder(local(tmp_path / "none.safetensors"))


def test_a_file_of_another_network_is_named_with_its_keys(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"layer1.0.conv1.weight": torch.ones(2)}, path)
    with pytest.raises(ModelError, match=r"other\.safetensors do not fit .*layer1\.0\.conv1"):
        find_encoder(local(path)).load()


# The hub


@pytest.fixture(scope="module")
def hub(repository: dict[str, bytes]) -> Iterator[StandIn]:
    config = {"config.json": repository["config.json"]}
    with stand_in() as served:
        served.repositories |= {
            "lab/tiny": repository,
            "lab/pickle": {**config, "pytorch_model.bin": b"\x80\x04."},
            "lab/empty": config,
            "lab/language-model": {"config.json": b'{"architectures": ["Llama"]}'},
            "lab/gated": "gated",
            "lab/disabled": "disabled",
            "lab/silent": "silent",
            "MahmoodLab/UNI": "gated",
        }
        yield served


ASK = """
import json, sys, time
from hypergene.errors import HypergeneError
from hypergene.model.config import EncoderChoice
from hypergene.zoo import find_encoder
start = time.perf_counter()
try:
    found = find_encoder(EncoderChoice(name=sys.argv[1]))
    said = {"config": found.config.model_dump(mode="json"), "weights": str(found.weights)}
except HypergeneError as error:
    said = {"message": error.message, "hint": error.hint}
print(json.dumps(said | {"seconds": time.perf_counter() - start}))
"""


def ask(name: str, environment: dict[str, str], code: str = ASK) -> dict[str, Any]:
    """Look a name up in a process of its own, for the hub's address is read when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_repository_of_the_hub_comes_with_its_transform_and_then_from_the_cache(
    hub: StandIn, repository: dict[str, bytes], tmp_path: Path
):
    answer = ask("hf-hub:lab/tiny@v1", hub.environment(tmp_path))
    config = EncoderConfig.model_validate(answer["config"])
    assert (config.name, config.architecture) == ("hf-hub:lab/tiny@v1", "vit_tiny_patch16_224")
    assert config.arguments == {**ARGUMENTS, "global_pool": "token"}
    assert [list(config.mean), list(config.std)] == [TRANSFORM["mean"], TRANSFORM["std"]]
    assert (config.tile_px, config.licence) == (32, "CC0-1.0")
    assert config.source == f"hf-hub:lab/tiny@{COMMIT}"
    weights = Path(answer["weights"])
    assert weights.read_bytes() == repository["model.safetensors"]
    assert FoundEncoder(config, weights).load().features == 48
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    for gone in (offline, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert (
            ask("hf-hub:lab/tiny@v1", hub.environment(tmp_path) | gone)["config"]
            == (answer["config"])
        )


REFUSALS = {
    "gated, no token": (
        *("hf-hub:lab/gated", None, "lab/gated is gated and no access token is given"),
        "https://huggingface.co/lab/gated and set HF_TOKEN",
    ),
    "gated, no access": (
        *("uni", TOKEN, "MahmoodLab/UNI is gated and this account has no access"),
        "https://huggingface.co/MahmoodLab/UNI and set HF_TOKEN",
    ),
    "wrong token": (
        *("hf-hub:lab/tiny", "hf_bad", "does not know the access token"),
        "HF_TOKEN to a token of https://huggingface.co/settings/tokens",
    ),
    "unknown": ("hf-hub:lab/none", TOKEN, "no encoder 'lab/none'", "Check the name"),
    "unknown revision": ("hf-hub:lab/tiny@v9", None, "no encoder 'lab/tiny@v9'", "revision"),
    "no name": ("hf-hub:a/b/c", None, "no encoder 'a/b/c'", "Check the name"),
    "disabled": ("hf-hub:lab/disabled", None, "cannot be fetched from the hub: 403", "Try again"),
    "silent": ("hf-hub:lab/silent", None, "hub cannot be reached", "encoder.weights="),
    "pickle": ("hf-hub:lab/pickle", None, "as pytorch_model.bin only", "hypergene.zoo.convert"),
    "no weights": ("hf-hub:lab/empty", None, "has no model.safetensors", "lab/empty/tree/main"),
    "not timm": ("hf-hub:lab/language-model", None, "not hold an encoder of timm", "docs/enc"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_sentence_with_what_to_do(case: str, hub: StandIn, tmp_path: Path):
    name, token, sentence, hint = REFUSALS[case]
    answer = ask(name, hub.environment(tmp_path, token=token))
    assert sentence in answer["message"] and "\n" not in answer["message"]
    assert answer["message"].endswith(".") and hint in answer["hint"]
    assert answer["seconds"] < 10


def test_access_is_checked_before_anything_is_fetched(hub: StandIn, tmp_path: Path):
    hub.asked.clear()
    ask("uni", hub.environment(tmp_path))
    assert hub.asked == ["HEAD /MahmoodLab/UNI/resolve/main/model.safetensors"]
    hub.asked.clear()
    assert "message" in ask("hf-hub:lab/pickle", hub.environment(tmp_path))
    assert not [line for line in hub.asked if line.startswith("GET") and "pytorch" in line]


def test_a_silent_hub_is_given_up_on_for_models_too(hub: StandIn, tmp_path: Path):
    code = ASK.replace("find_encoder(EncoderChoice(name=sys.argv[1]))", "find_model(sys.argv[1])")
    code = code.replace("import find_encoder", "import find_model")
    answer = ask("hf-hub:lab/silent", hub.environment(tmp_path), code)
    assert "The model lab/silent is not cached and the hub cannot" in answer["message"]
    assert answer["seconds"] < 10


def test_out_of_reach_is_said_where_nothing_is_cached(hub: StandIn, tmp_path: Path):
    for gone in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        answer = ask("virchow2", hub.environment(tmp_path) | gone)
        assert "paige-ai/Virchow2 is not cached and the hub cannot be reached" in answer["message"]
        assert answer["seconds"] < 10


def test_a_repository_of_the_table_is_known_by_its_address_too(monkeypatch: pytest.MonkeyPatch):
    by_address = found("hf-hub:mahmoodlab/uni2-h@abc")
    same = found("uni2-h").model_dump() | {"name": "hf-hub:mahmoodlab/uni2-h@abc"}
    assert by_address.model_dump() == same
