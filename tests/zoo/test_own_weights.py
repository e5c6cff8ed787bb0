"""What is said of the weights that training starts from."""

import json

import pytest
import torch
from safetensors.torch import save_file

from hypergene.training.recipe import load_recipe
from hypergene.zoo import find_encoder
from hypergene.zoo.own_weights import about_weights


@pytest.fixture
def weights(tmp_path):
    def write(metadata):
        path = tmp_path / "encoder.safetensors"
        save_file({"a": torch.zeros(1)}, path, metadata)
        return path

    return write


def test_weights_of_pretrain_name_the_slides_and_nobody_elses_licence(weights):
    path = weights({"hypergene": json.dumps({"slides": ["C3", "C4"], "files": ["f"]})})
    found = find_encoder(load_recipe(None, [f"encoder.weights={path}"]).encoder)
    assert found.config.source == "hypergene pretrain on C3, C4"
    assert found.config.licence == ""


def test_weights_of_others_name_their_file_and_keep_the_licence_of_the_network(weights):
    path = weights({"made": "elsewhere"})
    found = find_encoder(load_recipe(None, [f"encoder.weights={path}"]).encoder)
    assert (found.config.source, found.config.licence) == ("encoder.safetensors", "apache-2.0")


STRANGE = ["[1]", "no json", "3", '{"slides": 3, "files": {"a": 1}}', "[" * 100_000]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_strange_words_about_weights_are_no_words(weights, text):
    assert about_weights(weights({"hypergene": text})) == ((), ())


def test_a_file_that_is_no_safetensors_says_nothing(tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"not weights")
    assert about_weights(path) == ((), ())
