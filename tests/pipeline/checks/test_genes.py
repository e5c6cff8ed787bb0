from __future__ import annotations

import numpy as np
import pytest

from hypergene.pipeline.checks.genes import GeneNames, check_genes
from hypergene.st.genes import gene_table

HUMAN = [f"GENE{number}A" for number in range(200)]
MOUSE = [f"Gene{number}a" for number in range(200)]
IDS = [f"ENSG{number:011}" for number in range(200)]


def names(symbols: list[str], ids: list[str] | None = None) -> GeneNames:
    return GeneNames.of(gene_table(symbols, ids))


def codes(**genes: GeneNames) -> list[tuple[str, str]]:
    return [(verdict.level, verdict.code) for verdict in check_genes(genes).verdicts]


def test_samples_of_the_same_genes_have_them_in_common() -> None:
    found = check_genes({"A": names(HUMAN), "B": names(HUMAN[::-1]), "C": names(HUMAN[:180])})
    assert found.number == 180
    assert found.verdicts == []
    assert "matched by symbol" in found.report[0]


def test_identifiers_join_what_has_other_symbols() -> None:
    renamed = ["OLD1A", *HUMAN[1:]]
    found = check_genes({"A": names(HUMAN, IDS), "B": names(renamed, IDS)})
    assert found.number == 200
    assert found.verdicts == []


def test_nothing_is_said_of_no_samples() -> None:
    found = check_genes({})
    assert (found.number, found.report, found.verdicts) == (None, (), [])


def test_human_and_mouse_are_told_apart_and_named() -> None:
    genes = {"A": names(HUMAN), "B": names(MOUSE), "C": names(HUMAN)}
    (verdict,) = check_genes(genes).verdicts
    assert (verdict.level, verdict.code) == ("fail", "mixed_species")
    assert verdict.samples == ("A", "C", "B")
    assert "A, C of human and B of mouse" in verdict.message


def test_a_table_of_two_species_is_named_alone() -> None:
    prefixed = [f"GRCh38_{n}" for n in HUMAN] + [f"mm10___{n}" for n in MOUSE]
    (verdict,) = check_genes({"A": names(HUMAN), "B": names(prefixed)}).verdicts
    assert (verdict.code, verdict.samples) == ("mixed_species", ("B",))
    assert "'species'" in verdict.fix


def test_ensembl_in_one_sample_and_symbols_in_another_cannot_be_matched() -> None:
    (verdict,) = check_genes({"A": names(HUMAN), "B": names(IDS)}).verdicts
    assert (verdict.level, verdict.code) == ("fail", "ensembl_and_symbols")
    assert "B" in verdict.message
    assert "symbols" in verdict.fix


def test_no_gene_in_common_is_a_failure() -> None:
    assert codes(A=names(HUMAN), B=names([f"OTHER{n}" for n in range(200)])) == [
        ("fail", "no_common_genes")
    ]


def test_few_genes_in_common_are_a_warning() -> None:
    other = HUMAN[:90] + [f"OTHER{n}" for n in range(200)]
    found = check_genes({"A": names(HUMAN), "B": names(other)})
    (verdict,) = found.verdicts
    assert (verdict.level, verdict.code) == ("warn", "few_common_genes")
    assert found.number == 90
    assert "90 genes in common, of 200 in the smallest, A" in verdict.message


def test_a_single_small_panel_is_a_warning() -> None:
    (verdict,) = check_genes({"A": names(HUMAN[:30])}).verdicts
    assert verdict.code == "few_common_genes"
    assert "The sample has 30 genes." in verdict.message


def test_names_that_a_program_has_changed_are_reported() -> None:
    (verdict,) = check_genes({"A": names([*HUMAN, "1-Mar", "2-Sep"])}).verdicts
    assert (verdict.level, verdict.code) == ("warn", "mangled_names")
    assert "1-Mar" in verdict.message


def test_names_are_kept_once_for_all_samples() -> None:
    one, other = (names(["".join(name) for name in HUMAN], IDS) for _ in range(2))
    assert all(a is b for a, b in zip(one.symbols, other.symbols, strict=True))
    assert one.ids is not None and other.ids is not None
    assert all(a is b for a, b in zip(one.ids, other.ids, strict=True))


@pytest.mark.parametrize("ids", [None, IDS])
def test_the_table_comes_back_as_it_was(ids: list[str] | None) -> None:
    table = gene_table(HUMAN, ids)
    back = GeneNames.of(table).table()
    assert list(back.index) == list(table.index)
    assert list(back.columns) == list(table.columns)
    assert np.array_equal(back.to_numpy(), table.to_numpy())
