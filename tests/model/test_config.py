"""A configuration says everything about a model, and nothing it does not know gets in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hypergene.model.config import EncoderConfig, ModelConfig, NicheConfig

MakeConfig = Callable[..., ModelConfig]


def test_a_configuration_survives_its_json(make_config: MakeConfig):
    config = make_config(
        provenance={"name": "tiny", "patients": 3, "trained_on": ["A1", "B1"]},
        gene_ids=[f"ENSG{i}" for i in range(12)],
    )
    again = ModelConfig.model_validate_json(config.model_dump_json(), strict=True)
    assert again == config
    assert again.provenance.trained_on == ("A1", "B1")


def test_booleans_numbers_and_lists_for_timm_keep_their_types():
    arguments = {"a": True, "b": 1, "c": 1.5, "d": "x", "e": [1, 2]}
    text = EncoderConfig(arguments=arguments).model_dump_json()
    again = EncoderConfig.model_validate_json(text).arguments
    assert [(k, type(v)) for k, v in again.items()] == [(k, type(v)) for k, v in arguments.items()]


@pytest.mark.parametrize("section", [(), ("encoder",), ("geometry",), ("head",), ("provenance",)])
def test_an_unknown_key_is_refused_in_every_section(make_config: MakeConfig, section: tuple):
    values = json.loads(make_config().model_dump_json())
    place = values[section[0]] if section else values
    place["temprature"] = 1
    with pytest.raises(ValidationError, match="temprature"):
        ModelConfig.model_validate(values)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=5))
def test_ring_edges_are_taken_exactly_when_they_rise(edges: list[float]):
    if all(a < b for a, b in pairwise(edges)):
        assert NicheConfig(ring_edges_pitch=edges).rings == len(edges) - 1
    else:
        with pytest.raises(ValidationError, match="must rise"):
            NicheConfig(ring_edges_pitch=edges)


@pytest.mark.parametrize("edges", [(-0.1, 1.0), (1.0,), (), (0.5, float("nan"))])
def test_ring_edges_below_zero_too_few_or_unknown_are_refused(edges: tuple[float, ...]):
    with pytest.raises(ValidationError):
        NicheConfig(ring_edges_pitch=edges)


def test_ring_edges_in_micrometres_follow_the_pitch(make_config: MakeConfig):
    assert make_config().ring_edges_um == (100.0, 250.0, 450.0, 650.0)


def test_the_same_gene_twice_is_refused(make_config: MakeConfig):
    with pytest.raises(ValidationError, match="same symbol twice"):
        make_config(genes=["A", "B", "A"])


def test_gene_ids_must_be_as_many_as_genes(make_config: MakeConfig):
    with pytest.raises(ValidationError, match="differ in length"):
        make_config(genes=["A", "B"], gene_ids=["ENSG1"])


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_crop_width_is_a_positive_finite_number(width: float):
    with pytest.raises(ValidationError):
        EncoderConfig(tile_um=(width,))


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained", "num_classes", "cache_dir"])
def test_timm_takes_no_file_and_no_weights_from_a_configuration(key: str):
    with pytest.raises(ValidationError, match=key):
        EncoderConfig(arguments={key: "weights.pt"})


def test_a_configuration_cannot_be_changed(make_config: MakeConfig):
    config = make_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.genes = ("X",)


def test_reading_a_configuration_needs_no_torch():
    code = "import sys, hypergene.model.config, hypergene.zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
