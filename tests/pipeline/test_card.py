from __future__ import annotations

import copy
import re
from pathlib import Path

import pandas as pd
import pytest

from hypergene.model.config import HeldOutConfig
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.pipeline.card import model_card
from hypergene.st import Sample
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split
from hypergene.training.trainer import Best
from hypergene.zoo import load_model

BEST = Best(epoch=40, blend=Blend(), metric=0.2, pearson={"expressed": 0.1234, "HVG-50": 0.4321})


def sample(name: str, patient: str | None) -> Sample:
    path = Path(name)
    return Sample(name, patient, path, path, "her2st", None, name)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> HyperGene:
    model = load_model(tiny_model)
    about = model.config.provenance.model_copy(
        update={"trained_on": ("A1", "B1"), "patients": 2, "tissue": "HER2+ breast"}
    )
    model.config = model.config.model_copy(update={"provenance": about})
    return model


@pytest.fixture
def split() -> Split:
    return Split((sample("A1", "A"),), (sample("B1", "B"),), (sample("C1", "C"),), "patient")


def scores(held_out: str) -> pd.DataFrame:
    row = {"pearson": 0.2, "pearson_beyond_depth": 0.15, "mse": 0.3333, "held_out": held_out}
    index = pd.MultiIndex.from_tuples([("C1", "HVG-50")], names=["sample", "gene_set"])
    return pd.DataFrame([row], index=index)


def test_it_says_what_the_model_is_and_is_not_for(model: HyperGene, split: Split) -> None:
    card = model_card(model, split, Recipe(), BEST, None)
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == ["What it is", "Intended use", "Data", "Quality", "Limits"]
    assert card.startswith("# tiny\n")
    assert "Predicted, not measured" in card
    assert "not for diagnosis" in card.lower()
    assert "| licence | CC0-1.0 |" in card
    assert "| tissue | HER2+ breast |" in card
    assert "st: 100 µm spots, 200 µm apart" in card
    assert "112 µm and 300 µm" in card
    assert "2 sections (A1, B1) of 2 patients." in card
    assert "\n\n\n" not in card


def test_it_says_who_answers_and_what_the_niche_is(model: HyperGene, split: Split) -> None:
    card = model_card(model, split, Recipe(), BEST, None)
    assert "| niche | the first ring of neighbours |" in card
    assert "| answer | trained head 50%, ridge 50% |" in card


def test_it_says_whose_weights_it_holds(model: HyperGene, split: Split) -> None:
    assert "`resnet10t` of timm" in model_card(model, split, Recipe(), BEST, None)
    theirs = {
        "name": "uni",
        "architecture": "vit_large_patch16_224",
        "pretrained": True,
        "source": "hf-hub:MahmoodLab/UNI@abc",
        "licence": "CC-BY-NC-ND-4.0",
    }
    was = model.config
    encoder = was.encoder.model_copy(update=theirs)
    model.config = was.model_copy(update={"encoder": encoder})
    try:
        card = model_card(model, split, Recipe(), BEST, None)
    finally:
        model.config = was
    assert "`uni` (timm `vit_large_patch16_224`)" in card
    assert "started from the weights of hf-hub:MahmoodLab/UNI@abc" in card
    assert "CC0-1.0; the encoder's weights in this folder come from" in card
    assert "stay under their own: CC-BY-NC-ND-4.0 |" in card


def test_what_only_a_person_knows_comes_from_the_recipe(model: HyperGene, split: Split) -> None:
    about = {"attribution": "HER2ST, CC BY 4.0.", "intended_use": "Teaching."}
    card = model_card(model, split, Recipe.model_validate({"about": about}), BEST, None)
    assert "## Intended use\n\nTeaching.\n" in card
    assert "HER2ST, CC BY 4.0." in card


def test_its_numbers_are_those_of_the_validation(model: HyperGene, split: Split) -> None:
    card = model_card(model, split, Recipe(), BEST, None)
    assert "| HVG-50 | 0.432 |" in card
    assert "whole patients were held out (B1)" in card
    assert "40 epochs" in card
    reliable = int(model.reliable.sum())
    assert 0 < reliable < 20
    assert f"{reliable} of 20 genes are marked reliable" in card
    assert "Test samples" not in card


def test_it_says_what_intervals_and_spread_rest_on(model: HyperGene, split: Split) -> None:
    how = HeldOutConfig(interval="spot-block", units=7, calibration="empirical, spot-level")
    told = copy.deepcopy(model)
    told.add_held_out(how).low.fill_(0.2)
    told.ceiling_pcc.fill_(0.1)
    card = model_card(told, split, Recipe(), BEST, None)
    assert re.search(r"A: 0, B: \d+, C: \d+, refuse: 0", card)
    assert "7 blocks of 1 mm of spots, which says nothing of the next patient" in card
    assert "scaled: empirical, spot-level." in card
    assert "by class" not in model_card(model, split, Recipe(), BEST, None)


@pytest.mark.parametrize(
    ("level", "said"), [("section", "**optimistic**"), ("none", "is not known**")]
)
def test_a_weak_validation_is_called_weak(
    model: HyperGene, split: Split, level: str, said: str
) -> None:
    weak = Split(split.train, () if level == "none" else split.validation, (), level)
    best = Best(40, Blend()) if level == "none" else BEST
    assert said in model_card(model, weak, Recipe(), best, None)


def test_test_scores_say_whether_the_patient_was_new(model: HyperGene, split: Split) -> None:
    honest = model_card(model, split, Recipe(), BEST, scores("patient"))
    assert "| C1 | HVG-50 | patient | 0.200 | 0.150 | 0.333 |" in honest
    assert "optimistic" not in honest
    flattering = model_card(model, split, Recipe(), BEST, scores("section"))
    assert "| C1 | HVG-50 | section |" in flattering
    assert "**optimistic** for new patients" in flattering


def test_unknown_patients_are_called_unknown(model: HyperGene, split: Split) -> None:
    about = model.config.provenance.model_copy(update={"patients": None})
    original = model.config
    try:
        model.config = original.model_copy(update={"provenance": about})
        card = model_card(model, split, Recipe(), BEST, None)
    finally:
        model.config = original
    assert "of an unknown number of patients." in card
