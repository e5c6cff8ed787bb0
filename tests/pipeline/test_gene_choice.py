"""A model's genes are chosen on its training samples and found in all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypergene.errors import DataError
from hypergene.pipeline.gene_choice import ChosenGenes, GeneFiles, choose_genes, sets_to_score
from hypergene.training.expression import Expression, Measured
from hypergene.training.recipe import GeneChoice

ONES = np.ones((10, 3))


@pytest.fixture
def chosen(make_measured: Callable[..., Measured]) -> Callable[..., ChosenGenes]:
    """Genes of samples given as (names, values); keywords are the recipe's."""

    def run(*tables: tuple[list[str], Any], used: Any = None, **choice: Any) -> ChosenGenes:
        data = {
            f"s{row}": make_measured(*table, name=f"s{row}") for row, table in enumerate(tables)
        }
        wanted = GeneChoice(**choice)
        return choose_genes(data, wanted, GeneFiles.of(wanted), used)

    return run


def test_genes_are_those_that_all_samples_measure_and_many_spots_show(chosen) -> None:
    first = ONES.copy()
    first[1:, 1] = 0  # b in 1 of 20 spots of the first two samples
    second = np.zeros((10, 3))
    second[:, [0, 2]] = 1
    assert chosen((["a", "b", "c"], first), (["c", "b", "a"], second)).names == ("a", "c")
    assert chosen((["a", "b", "c"], first), (["a", "z"], ONES[:, :2])).names == ("a",)


def test_every_sample_says_where_it_has_the_genes(chosen) -> None:
    found = chosen((["a", "b", "c"], ONES), (["c", "x", "a"], ONES), used=["s0"])
    assert found.names == ("a", "b", "c")
    assert found.columns["s0"].tolist() == [0, 1, 2]
    assert found.columns["s1"].tolist() == [2, -1, 0]


def test_what_is_held_out_chooses_no_gene(chosen) -> None:
    train = (["a", "b", "c"], ONES)
    for tested in ((["c", "a"], ONES[:, :2]), (["a", "b", "z"], 9 * ONES)):
        assert chosen(train, tested, used=["s0"]).names == ("a", "b", "c")


def test_a_union_keeps_what_some_did_not_measure(chosen) -> None:
    both = chosen((["b", "a"], ONES[:, :2]), (["c", "a"], ONES[:, :2]), space="union")
    assert both.names == ("a", "b", "c")
    assert both.columns["s1"].tolist() == [1, -1, 0]


def test_a_gene_of_the_union_is_judged_by_the_samples_that_measured_it(chosen) -> None:
    shown, empty = np.ones((10, 2)), np.zeros((200, 1))
    both = chosen((["a", "b"], shown), (["c"], empty + 1), space="union")
    assert both.names == ("a", "b", "c")


def test_a_panel_is_taken_as_it_is_wanted(chosen, tmp_path: Path) -> None:
    rare = np.zeros((20, 3))
    rare[0] = 1
    panel = tmp_path / "panel.txt"
    panel.write_text("c\na\nmissing\n")
    assert chosen((["a", "b", "c"], rare), panel=str(panel)).names == ("c", "a")


def test_aliases_are_applied_only_when_the_user_gives_them(chosen, tmp_path: Path) -> None:
    tables = ((["MARCH1", "a"], ONES[:, :2]), (["MARCHF1", "a"], ONES[:, :2]))
    assert chosen(*tables).names == ("a",)
    table = tmp_path / "aliases.csv"
    table.write_text("alias,symbol\nMARCH1,MARCHF1\n")
    assert chosen(*tables, aliases=str(table)).names == ("MARCHF1", "a")


def test_kinds_of_genes_are_left_out_by_exact_rules(chosen) -> None:
    names = ["MT-CO1", "MTOR", "RPL3", "RPE65", "ERBB2"]
    table = (names, np.ones((10, 5)))
    assert chosen(table).names == tuple(names)
    kept = chosen(table, exclude=("mitochondrial", "ribosomal")).names
    assert kept == ("MTOR", "RPE65", "ERBB2")


def test_the_most_variable_genes_keep_their_order(chosen) -> None:
    values = ONES.copy()
    values[::2, 2] = 9
    values[::2, 1] = 5
    assert chosen((["a", "b", "c"], values), most=2).names == ("b", "c")


def test_samples_without_a_common_gene_are_refused(chosen) -> None:
    with pytest.raises(DataError, match="no gene in common"):
        chosen((["a"], ONES[:, :1]), (["b"], ONES[:, :1]))
    with pytest.raises(DataError, match="s1 measured none"):
        chosen((["a"], ONES[:, :1]), (["b"], ONES[:, :1]), used=["s0"])


def test_genes_that_nobody_sees_are_refused_with_the_way_out(chosen) -> None:
    rare = np.zeros((20, 1))
    rare[0] = 1
    with pytest.raises(DataError, match="10%") as error:
        chosen((["a"], rare))
    assert "min_detected" in (error.value.hint or "")


def test_identifiers_match_what_symbols_would_not(make_measured) -> None:
    ids = [f"ENSG{number:011}" for number in (1, 2)]
    data = {
        "s0": make_measured(["MLLT4", "B2M"], ONES[:, :2], ids=ids),
        "s1": make_measured(["B2M", "AFDN"], ONES[:, :2], ids=ids[::-1], name="s1"),
    }
    found = choose_genes(data, GeneChoice(), GeneFiles())
    assert found.ids == tuple(ids)
    assert found.columns["s1"].tolist() == [1, 0]


def test_empty_gene_sets_are_left_out(make_measured: Callable[..., Measured]) -> None:
    def one(values: np.ndarray, columns: list[int]) -> list[Expression]:
        return [make_measured(["a", "b"], values).expression(np.array(columns))]

    rare = np.ones((20, 2))
    rare[1:] = 0
    assert sets_to_score(one(rare, [0]), ["a"]) == {"all": ["a"]}
    sets = sets_to_score(one(np.ones((20, 2)), [1]), ["b"])
    assert sets == {"expressed": ["b"], "HVG-50": ["b"], "HVG-250": ["b"]}
