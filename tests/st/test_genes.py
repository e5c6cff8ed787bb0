from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.st import shared_genes, unique_symbols
from hypergene.st.genes import gene_table, without_version

symbols = st.lists(st.sampled_from(["A", "A-1", "A-2", "B", "B-1", " A", "ENSG00000141736.13"]))


def test_only_ensembl_identifiers_lose_their_version():
    assert without_version("ENSG00000141736.13") == "ENSG00000141736"
    assert without_version("ENSMUSG00000062312.2") == "ENSMUSG00000062312"
    assert without_version("ENSG00000182378.15_PAR_Y") == "ENSG00000182378_PAR_Y"
    assert without_version("FO538757.1") == "FO538757.1"
    assert without_version("AC0123.4") == "AC0123.4"


def test_later_duplicates_are_numbered_and_collide_with_nothing():
    assert unique_symbols(["A", "A-1", "A", "A"]) == ["A", "A-1", "A-2", "A-3"]


def test_with_identifiers_the_order_of_the_file_does_not_matter():
    one = unique_symbols(["A", "A", "B"], ["ENSG00000000002", "ENSG00000000001", "x"])
    other = unique_symbols(["A", "B", "A"], ["ENSG00000000001.7", "x", "ENSG00000000002.1"])
    assert one == ["A-1", "A", "B"]
    assert other == ["A", "B", "A-1"]


@given(symbols)
def test_names_are_unique_and_unchanged_where_they_were_unique(names):
    unique = unique_symbols(names)
    assert len(unique) == len(names)
    assert len(set(unique)) == len(unique)
    assert unique == unique_symbols(names)
    stripped = [without_version(name.strip()) for name in names]
    for name, result in zip(stripped, unique, strict=True):
        assert result == name or stripped.count(name) > 1


@given(symbols)
def test_making_names_unique_twice_changes_nothing(names):
    once = unique_symbols(names)
    assert unique_symbols(once) == once


def test_a_wrong_number_of_identifiers_is_refused():
    with pytest.raises(ValueError, match="2 symbols but 1 ids"):
        unique_symbols(["A", "B"], ["x"])


def test_identifiers_are_kept_where_known():
    assert gene_table(["A", "ENSG00000141736.13"])["gene_ids"].tolist() == ["", "ENSG00000141736"]
    assert "gene_ids" not in gene_table(["A", "FO538757.1"])


def test_shared_genes_keep_the_order_of_the_first_list():
    assert shared_genes([["C", "A", "B"], ["B", "C", "D"]]) == ["C", "B"]
    assert shared_genes([["A"], ["B"]]) == []
    assert shared_genes([]) == []
