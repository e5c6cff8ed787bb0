"""What the samples decide about a model before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from hypergene.errors import DataError
from hypergene.pipeline.configure import configure, sets_to_score
from hypergene.st import Sample
from hypergene.training.recipe import Recipe
from hypergene.training.splits import Split

LAYOUTS = {
    "st": {"name": "st", "lattice": "square", "diameter_um": 100.0, "pitch_um": 200.0},
    "visium": {"name": "visium", "lattice": "hexagon", "diameter_um": 55.0, "pitch_um": 100.0},
    "given": {"name": "given", "lattice": "given", "diameter_um": 60.0, "pitch_um": 120.0},
}


def sample(name: str, patient: str | None) -> Sample:
    return Sample(name, patient, Path(name), Path(f"{name}.tsv"), "her2st", None, name)


def table(genes: list[str], values: Any, layout: str | None = "st") -> AnnData:
    uns = {} if layout is None else {"layout": {**LAYOUTS[layout], "shape": "circle"}}
    return AnnData(
        sparse.csr_matrix(np.asarray(values, np.float32)),
        var=pd.DataFrame(index=pd.Index(genes, dtype=object)),
        uns={"hypergene": uns},
    )


def configured(tables: list[AnnData], recipe: Recipe | None = None, **patients: str | None) -> Any:
    names = list(patients) or [f"s{row}" for row in range(len(tables))]
    used = [sample(name, patients.get(name)) for name in names]
    split = Split(tuple(used), (), (), "none")
    data = dict(zip(names, tables, strict=True))
    return configure(split, used, data, recipe or Recipe(), "mine")


ONES = np.ones((10, 3))


def test_genes_are_those_that_all_samples_measure_and_many_spots_show() -> None:
    first = ONES.copy()
    first[1:, 1] = 0  # b in 1 of 20 spots of the first two samples
    second = np.zeros((10, 3))
    second[:, [0, 2]] = 1
    config = configured([table(["a", "b", "c"], first), table(["c", "b", "a"], second)])
    assert config.genes == ("a", "c")
    few = configured([table(["a", "b", "c"], first), table(["a", "z"], ONES[:, :2])])
    assert few.genes == ("a",)


def test_the_most_variable_genes_keep_their_order() -> None:
    values = ONES * np.array([1.0, 1.0, 1.0])
    values[::2, 2] = 9
    values[::2, 1] = 5
    recipe = Recipe.model_validate({"genes": {"most": 2}})
    assert configured([table(["a", "b", "c"], values)], recipe).genes == ("b", "c")


def test_samples_without_a_common_gene_are_refused() -> None:
    with pytest.raises(DataError, match="no gene in common"):
        configured([table(["a"], ONES[:, :1]), table(["b"], ONES[:, :1])])


def test_genes_that_nobody_sees_are_refused_with_the_way_out() -> None:
    rare = np.zeros((20, 1))
    rare[0] = 1
    with pytest.raises(DataError, match="10%") as error:
        configured([table(["a"], rare)])
    assert "min_detected" in (error.value.hint or "")


def test_ensembl_identifiers_are_kept_where_known() -> None:
    known = table(["a", "b", "c"], ONES)
    known.var["gene_ids"] = ["ENSG1", None, "ENSG3"]
    plain = table(["c", "b", "a"], ONES)
    config = configured([plain, known])
    assert dict(zip(config.genes, config.gene_ids, strict=True)) == {
        "a": "ENSG1", "b": "", "c": "ENSG3",
    }  # fmt: skip
    assert configured([plain]).gene_ids is None


def test_patients_are_counted_only_if_all_are_known() -> None:
    tables = [table(["a"], ONES[:, :1]) for _ in range(3)]
    assert configured(tables, x="P1", y="P2", z="P1").provenance.patients == 2
    assert configured(tables, x="P1", y=None, z="P1").provenance.patients is None


def test_the_model_takes_the_lattice_of_its_samples() -> None:
    config = configured([table(["a"], ONES[:, :1], "visium")] * 2, x="P", y="P")
    assert (config.layout.name, config.layout.lattice) == ("visium", "hexagon")
    grid = configured([table(["a"], ONES[:, :1], "given")]).layout
    assert (grid.name, grid.lattice, grid.shape) == ("grid", "square", "square")
    assert (grid.diameter_um, grid.pitch_um) == (60, 120)


def test_samples_of_two_platforms_are_refused_by_name() -> None:
    tables = [table(["a"], ONES[:, :1], name) for name in ("st", "visium")]
    with pytest.raises(DataError, match=r"s0 is st \(square, 200 µm apart\), s1 is visium"):
        configured(tables)
    layout = {**LAYOUTS["st"], "shape": "circle"}
    recipe = Recipe.model_validate({"layout": layout})
    assert configured(tables, recipe).layout.name == "st"


def test_an_unknown_lattice_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"layout of s0\.tsv is not known") as error:
        configured([table(["a"], ONES[:, :1], None)])
    assert "[layout]" in (error.value.hint or "")


def test_empty_gene_sets_are_left_out() -> None:
    rare = np.ones((20, 2))
    rare[1:] = 0
    tables = [table(["a", "b"], rare)]
    assert sets_to_score(tables, ["a"]) == {"all": ["a"]}
    sets = sets_to_score([table(["a", "b"], np.ones((20, 2)))], ["b"])
    assert sets == {"expressed": ["b"], "HVG-50": ["b"], "HVG-250": ["b"]}
