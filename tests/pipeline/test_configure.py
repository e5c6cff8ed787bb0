"""What the samples decide about a model before it is trained: its lattice, and who they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hypergene.errors import DataError
from hypergene.model.config import EncoderConfig, ModelConfig
from hypergene.pipeline.configure import configure
from hypergene.pipeline.gene_choice import ChosenGenes
from hypergene.training.expression import Measured
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split

ONES = np.ones((10, 1))
GENES = ChosenGenes(("a",), ("ENSG00000000001",), {})


@pytest.fixture
def configured(make_measured: Callable[..., Measured]) -> Callable[..., ModelConfig]:
    def run(
        *layouts: str | None, recipe: Recipe | None = None, patients: Any = None, **more: Any
    ) -> ModelConfig:
        data = {
            f"s{row}": make_measured(
                ["a"], ONES, layout, name=f"s{row}", patient=patients[row] if patients else None
            )
            for row, layout in enumerate(layouts)
        }
        used = [measured.sample for measured in data.values()]
        split = Split(tuple(used), (), (), "none")
        recipe = recipe or Recipe()
        return configure(split, used, data, GENES, recipe, EncoderConfig(), "mine", **more)

    return run


def test_the_model_knows_the_genes_that_were_chosen(configured) -> None:
    config = configured("st")
    assert (config.genes, config.gene_ids) == (GENES.names, GENES.ids)


def test_patients_are_counted_only_if_all_are_known(configured) -> None:
    three = ("st", "st", "st")
    assert configured(*three, patients=("P1", "P2", "P1")).provenance.patients == 2
    assert configured(*three, patients=("P1", None, "P1")).provenance.patients is None


def test_samples_that_gave_counts_only_are_named(configured, make_measured) -> None:
    more = make_measured(["a"], ONES, name="D1").sample
    assert configured("st", counts_of=[more]).provenance.counts_of == ("D1",)
    assert configured("st").provenance.counts_of == ()


def test_the_model_takes_the_lattice_of_its_samples(configured) -> None:
    config = configured("visium", "visium", patients=("P", "P"))
    assert (config.layout.name, config.layout.lattice) == ("visium", "hexagon")
    grid = configured("given").layout
    assert (grid.name, grid.lattice, grid.shape) == ("grid", "square", "square")
    assert (grid.diameter_um, grid.pitch_um) == (60, 120)


def test_samples_of_two_platforms_are_refused_by_name(configured, make_measured) -> None:
    with pytest.raises(DataError, match=r"s0 is st \(square, 200 µm apart\), s1 is visium"):
        configured("st", "visium")
    layout = make_measured(["a"], ONES, "st").uns["hypergene"]["layout"]
    recipe = Recipe.model_validate({"layout": layout})
    assert configured("st", "visium", recipe=recipe).layout.name == "st"


def test_an_unknown_lattice_is_asked_for(configured) -> None:
    with pytest.raises(DataError, match=r"layout of s0\.tsv is not known") as error:
        configured(None)
    assert "[layout]" in (error.value.hint or "")
