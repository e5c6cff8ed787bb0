from __future__ import annotations

import pytest

from hypergene.errors import DataError
from hypergene.st.gene_matching import MatchedGenes, match_genes
from hypergene.st.genes import gene_table

ERBB2, KRT8, MARCH1, TBCE, TBCE_OLD = (
    f"ENSG{number:011}" for number in (141736, 170421, 145416, 284770, 285053)
)


def match(aliases: dict[str, str] | None = None, **tables) -> MatchedGenes:
    """Match samples given as lists of symbols, or of (symbol, identifier)."""
    vars = {}
    for sample, genes in tables.items():
        pairs = [(gene, None) if isinstance(gene, str) else gene for gene in genes]
        ids = [identifier or "" for _, identifier in pairs]
        vars[sample] = gene_table([symbol for symbol, _ in pairs], ids if any(ids) else None)
    return match_genes(vars.items(), aliases)


def same(matched: MatchedGenes, one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Tell whether (sample, column) is the same gene as another."""
    return matched.numbers[one[0]][one[1]] == matched.numbers[other[0]][other[1]]


def said(matched: MatchedGenes, *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in matched.sentences)


def test_where_all_have_identifiers_symbols_do_not_matter():
    matched = match(
        A=[("MARCH1", MARCH1 + ".3"), ("KRT8", KRT8 + ".9")],
        B=[("KRT8", KRT8 + ".1"), ("MARCHF1", MARCH1)],
        C=[("MARCHF1", MARCH1 + ".7")],
    )
    assert matched.by == "ensembl"
    assert same(matched, ("A", 0), ("B", 1)) and same(matched, ("A", 0), ("C", 0))
    assert sorted(zip(matched.names, matched.ids, strict=True)) == [
        ("KRT8", KRT8), ("MARCHF1", MARCH1),
    ]  # fmt: skip
    assert said(matched, "MARCH1 / MARCHF1", MARCH1, "joined by the identifier")
    assert matched.sentences[0] == "3 samples measure 2 genes, matched by Ensembl identifier."


def test_where_one_has_no_identifiers_aliases_are_reported_and_not_joined():
    matched = match(
        A=[("MARCH1", MARCH1), ("KRT8", KRT8)],
        B=[("MARCHF1", MARCH1), ("KRT8", KRT8)],
        C=["KRT8", "MARCH1"],
    )
    assert matched.by == "symbol"
    assert same(matched, ("A", 0), ("C", 1)) and not same(matched, ("A", 0), ("B", 0))
    assert said(matched, "MARCH1 / MARCHF1", "not joined")
    assert said(matched, "matched by symbol, since Ensembl identifiers are missing in C")
    # The identifier is known from the others.
    assert dict(zip(matched.names, matched.ids, strict=True))["KRT8"] == KRT8


def test_a_symbol_with_two_identifiers_is_two_genes_by_identifier_and_one_by_symbol():
    tables = {
        "A": [("TBCE", TBCE), ("KRT8", KRT8)],
        "B": [("TBCE", TBCE_OLD), ("KRT8", KRT8)],
    }
    apart = match(**tables)
    assert not same(apart, ("A", 0), ("B", 0))
    assert said(apart, "TBCE", TBCE, TBCE_OLD, "kept apart")
    # The smaller identifier keeps the symbol, whatever the order of the samples.
    assert dict(zip(apart.ids, apart.names, strict=True)) == {
        TBCE: "TBCE", TBCE_OLD: "TBCE-1", KRT8: "KRT8",
    }  # fmt: skip
    joined = match(**tables, C=["KRT8"])
    assert same(joined, ("A", 0), ("B", 0))
    assert dict(zip(joined.names, joined.ids, strict=True)) == {"TBCE": "", "KRT8": KRT8}
    assert said(joined, "TBCE", "joined by the symbol, without an identifier")


def test_the_number_of_a_second_gene_of_one_symbol_is_no_alias():
    matched = match(
        A=[("TBCE", TBCE), ("TBCE", TBCE_OLD)], B=[("TBCE", TBCE_OLD)], C=[("TBCE", TBCE_OLD)]
    )
    assert same(matched, ("A", 1), ("B", 0))
    assert not said(matched, "more than one symbol")


def test_a_transgene_without_identifier_is_matched_by_name_among_identifiers():
    matched = match(
        A=[("ERBB2", ERBB2), ("KRT8", KRT8), ("EGFP", "EGFP")],
        B=[("EGFP", None), ("KRT8", KRT8), ("ERBB2", ERBB2)],
    )
    assert matched.by == "ensembl"
    assert same(matched, ("A", 2), ("B", 0))
    assert dict(zip(matched.names, matched.ids, strict=True))["EGFP"] == ""


def test_a_gene_with_an_identifier_here_and_none_there_forbids_identifiers():
    matched = match(
        A=[("ERBB2", ERBB2), ("KRT8", KRT8), ("TBCE", TBCE)],
        B=[("ERBB2", None), ("KRT8", KRT8), ("TBCE", TBCE)],
    )
    assert matched.by == "symbol"
    assert same(matched, ("A", 0), ("B", 0))
    assert said(matched, "only some of the samples give Ensembl identifiers for ERBB2")


def test_an_identifier_twice_in_a_sample_forbids_identifiers():
    matched = match(A=[("ERBB2", ERBB2), ("HER2", ERBB2)], B=[("ERBB2", ERBB2)])
    assert matched.by == "symbol"
    assert said(matched, "stands at several genes in A")
    assert len(set(matched.numbers["A"].tolist())) == 2


def test_names_that_are_identifiers_take_the_symbol_of_the_others():
    matched = match(A=[ERBB2, KRT8], B=[("KRT8", KRT8), ("ERBB2", ERBB2)])
    assert matched.by == "ensembl"
    assert sorted(matched.names) == ["ERBB2", "KRT8"]
    assert not said(matched, "more than one symbol")


def test_identifiers_here_and_symbols_there_are_refused_with_the_fix():
    with pytest.raises(DataError, match=r"genes of A are named by Ensembl .* those of B by") as one:
        match(A=[ERBB2 + ".4", KRT8], B=["ERBB2", "KRT8"])
    assert "gene_ids" in str(one.value.hint)


def test_identifiers_throughout_need_no_symbols():
    matched = match(A=[ERBB2 + ".1", KRT8], B=[KRT8, ERBB2 + ".2"])
    assert matched.names == matched.ids
    assert same(matched, ("A", 0), ("B", 1))


def test_entrez_numbers_are_no_ensembl_identifiers():
    matched = match(A=[("ERBB2", "2064")], B=[("ERBB2", ERBB2)])
    assert matched.by == "symbol"
    assert matched.ids == (ERBB2,)


def test_mouse_and_human_are_kept_apart():
    human, mouse = [("ERBB2", ERBB2)], [("Erbb2", "ENSMUSG00000062312")]
    with pytest.raises(DataError, match="two species: A of human and B, C of mouse"):
        match(A=human, B=mouse, C=["Erbb2", "Krt8"])
    with pytest.raises(DataError, match="The genes of M are of two species") as caught:
        match(M=human + mouse)
    assert "species" in str(caught.value.hint)
    assert match(A=human, U=["g1"]).species == "human"
    assert match(U=["g1"], V=["g1"]).species == "unknown"


def test_aliases_are_applied_only_when_given():
    tables = {"A": ["MARCH1", "KRT8"], "B": ["MARCHF1", "KRT8"]}
    assert len(match(**tables).names) == 3
    matched = match({"MARCH1": "MARCHF1"}, **tables)
    assert sorted(matched.names) == ["KRT8", "MARCHF1"]
    assert same(matched, ("A", 0), ("B", 0))
    assert said(matched, "1 name replaced by the table of aliases: MARCH1")


def test_an_alias_measured_beside_its_symbol_is_left_and_said():
    matched = match({"HER2": "ERBB2"}, A=["HER2", "ERBB2"], B=["HER2"])
    assert said(matched, "A measures both an alias and its symbol", "HER2")
    assert same(matched, ("A", 1), ("B", 0))


def test_names_changed_by_r_and_excel_are_said():
    matched = match(A=["HLA-A", "1-Mar"], B=["HLA.A", "C1ORF112"], C=["C1orf112"])
    assert said(matched, "HLA.A for HLA-A")
    assert said(matched, "1-Mar")
    assert said(matched, "C1ORF112 / C1orf112")


def test_what_no_cohort_can_be_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        match()
    table = gene_table(["A"])
    with pytest.raises(ValueError, match="S is there twice"):
        match_genes([("S", table), ("S", table)])
    with pytest.raises(ValueError, match="not unique"):
        match_genes([("S", table.loc[["A", "A"]])])
