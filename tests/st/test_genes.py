from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.st import unique_symbols
from hypergene.st.genes import (
    EXCLUSIONS,
    gene_table,
    is_mitochondrial,
    is_ribosomal,
    without_version,
)

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


@pytest.mark.parametrize("symbol", ["MT-ND1", "MT-CO1", "MT-RNR2", "mt-Nd1", "mt-Atp6"])
def test_genes_of_the_mitochondrial_genome_are_known_by_their_prefix(symbol):
    assert is_mitochondrial(symbol)


@pytest.mark.parametrize(
    "symbol", ["MTOR", "Mtor", "MTHFR", "MT1X", "MT2A", "MTRNR2L8", "MTND1P23", "MRPL1", "MT.ND1"]
)
def test_nuclear_genes_that_begin_alike_are_not_mitochondrial(symbol):
    assert not is_mitochondrial(symbol)


@pytest.mark.parametrize(
    "symbol",
    [
        *("RPL3", "RPL7A", "RPL3L", "RPL36AL", "RPL22L1", "RPL7L1", "RPL41", "RPL10A", "RPL39L"),
        *("RPS2", "RPS4X", "RPS4Y1", "RPS4Y2", "RPS27A", "RPS27L", "RPS3A", "RPS6"),
        *("RPL13AP5", "RPS2P5", "RPL7P9", "RPL23AP7", "RPS18P9", "RPL5-1", "RPSAP58"),
        *("RPLP0", "RPLP1", "RPLP2", "RPSA", "Rplp0", "Rpsa", "Rpsa-ps10"),
        *("Rpl13a", "Rps27rt", "Rps3a1", "Rps19-ps3", "Rpl35a-ps", "Rpl31-ps12", "Rps4l"),
    ],
)
def test_proteins_of_the_ribosome_and_their_pseudogenes_are_ribosomal(symbol):
    assert is_ribosomal(symbol)


@pytest.mark.parametrize(
    "symbol",
    [
        *("RPE65", "RPTOR", "RPA1", "RPN1", "RPRD1A", "RPL", "RPS", "MRPL1", "MRPS2", "Rpe65"),
        *("RPS6KA1", "RPS6KB1", "RPS6KC1", "RPS6KL1", "Rps6ka1", "Rps6kb2", "RPS19BP1"),
        *("RPL34-AS1", "RPL34-DT", "RPS10-NUDT3", "RPL17-C18orf32", "RPL36A-HNRNPH2"),
        *("rpl13a", "RP11-34P13.7", "RP1", "ENSG00000142541"),
    ],
)
def test_what_merely_begins_alike_is_not_ribosomal(symbol):
    assert not is_ribosomal(symbol)


def test_each_exclusion_has_its_rule():
    symbols = ["MT-ND1", "MTOR", "RPL3", "RPE65", "ERBB2"]
    out = {kind: [s for s in symbols if rule(s)] for kind, rule in EXCLUSIONS.items()}
    assert out == {"mitochondrial": ["MT-ND1"], "ribosomal": ["RPL3"]}
