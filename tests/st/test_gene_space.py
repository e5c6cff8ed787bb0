from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import DataError
from hypergene.st.gene_space import GeneSpace
from hypergene.st.genes import EXCLUSIONS, gene_table

# Twelve genes; three of them under two symbols, two of them under one.
_SYMBOLS = [
    *(("ERBB2", "HER2"), ("MARCH1", "MARCHF1"), ("SEPT2", "SEPTIN2"), ("TBCE", "TBCE")),
    *(("TBCE", "TBCE"), ("KRT8",), ("HLA-A", "HLA.A"), ("IGKC",), ("DCN",), ("LUM",), ("VIM",)),
    ("C1orf112", "C1ORF112"),
]
_GENES = range(len(_SYMBOLS))


def _id(gene: int) -> str:
    return f"ENSG{gene + 1:011}"


@st.composite
def samples_with_ids(draw) -> dict[str, tuple[pd.DataFrame, list[int]]]:
    """Sample -> its var, and which of the twelve genes each of its columns is."""
    drawn = {}
    for sample in "ABC"[: draw(st.integers(1, 3))]:
        rest = draw(st.lists(st.sampled_from(_GENES[1:]), unique=True))
        genes = draw(st.permutations([0, *rest]))  # gene 0 is in all
        symbols = [draw(st.sampled_from(_SYMBOLS[gene])) for gene in genes]
        versions = [draw(st.sampled_from(["", ".1", ".17"])) for _ in genes]
        ids = [_id(gene) + version for gene, version in zip(genes, versions, strict=True)]
        drawn[sample] = (gene_table(symbols, ids), genes)
    return drawn


@st.composite
def samples_by_symbol(draw) -> dict[str, pd.DataFrame]:
    names = [symbols[0] for symbols in _SYMBOLS if symbols[0] != "TBCE"]
    return {
        sample: gene_table(
            draw(st.permutations(["ERBB2", *draw(st.lists(st.sampled_from(names), unique=True))]))
        )
        for sample in "ABC"[: draw(st.integers(1, 3))]
    }


def _tables(drawn: Mapping[str, tuple[pd.DataFrame, list[int]]]) -> dict[str, pd.DataFrame]:
    return {sample: var for sample, (var, _) in drawn.items()}


def _hows() -> st.SearchStrategy:
    return st.sampled_from(["intersection", "union", "panel"])


def _space(tables, how: str) -> GeneSpace:
    panel = ["VIM", "HER2", _id(5), "ERBB2", "TBCE"] if how == "panel" else None
    return GeneSpace.of(tables, how, panel)


@given(samples_with_ids(), _hows())
def test_columns_lead_every_sample_to_its_gene_and_minus_one_is_not_measured(drawn, how):
    space = _space(_tables(drawn), how)
    assert space.gene_ids is not None
    assert len(set(space.genes)) == len(space.genes) == len(space.gene_ids) > 0
    for sample, (_, genes) in drawn.items():
        columns = space.columns(sample)
        assert columns.dtype == np.int64
        for identifier, column in zip(space.gene_ids, columns, strict=True):
            there = [_id(gene) for gene in genes]
            assert column == (there.index(identifier) if identifier in there else -1)


@given(samples_by_symbol(), _hows())
def test_columns_lead_by_symbol_where_there_are_no_identifiers(tables, how):
    tables = {sample: var[~var.index.duplicated()] for sample, var in tables.items()}
    space = _space(tables, how)
    assert space.gene_ids is None
    for sample, var in tables.items():
        assert space.columns(sample).tolist() == var.index.get_indexer(list(space.genes)).tolist()


@given(samples_with_ids(), _hows(), st.randoms(use_true_random=False))
def test_the_order_of_samples_never_changes_the_genes(drawn, how, random):
    tables = _tables(drawn)
    shuffled = list(tables.items())
    random.shuffle(shuffled)
    one, other = _space(tables, how), _space(dict(shuffled), how)
    named = dict(zip(one.genes, one.gene_ids or (), strict=True))
    assert named == dict(zip(other.genes, other.gene_ids or (), strict=True))
    if how != "intersection":
        assert one.genes == other.genes


@given(samples_with_ids(), st.randoms(use_true_random=False))
def test_the_order_of_genes_in_files_never_changes_the_genes(drawn, random):
    def shuffled(var: pd.DataFrame) -> pd.DataFrame:
        return var.iloc[random.sample(range(len(var)), len(var))]

    tables = _tables(drawn)
    again = {sample: shuffled(var) for sample, var in tables.items()}
    assert GeneSpace.of(tables, "union").genes == GeneSpace.of(again, "union").genes
    assert set(GeneSpace.of(tables).genes) == set(GeneSpace.of(again).genes)


@given(samples_with_ids())
def test_versions_never_matter(drawn):
    tables = _tables(drawn)
    versioned = {
        sample: var.assign(gene_ids=[each + ".23" for each in var["gene_ids"]])
        for sample, var in tables.items()
    }
    for how in ("intersection", "union"):
        one, other = GeneSpace.of(tables, how), GeneSpace.of(versioned, how)
        assert (one.genes, one.gene_ids) == (other.genes, other.gene_ids)
        assert all((one.columns(s) == other.columns(s)).all() for s in tables)


@given(samples_with_ids())
def test_the_union_contains_the_intersection_under_the_same_names(drawn):
    tables = _tables(drawn)
    union, common = GeneSpace.of(tables, "union"), GeneSpace.of(tables)
    of_union = dict(zip(union.genes, union.gene_ids or (), strict=True))
    assert dict(zip(common.genes, common.gene_ids or (), strict=True)).items() <= of_union.items()
    everywhere = set.intersection(*(set(genes) for _, genes in drawn.values()))
    assert set(common.gene_ids or ()) == {_id(gene) for gene in everywhere}
    anywhere = set.union(*(set(genes) for _, genes in drawn.values()))
    assert set(union.gene_ids or ()) == {_id(gene) for gene in anywhere}


def test_each_kind_of_space_has_the_order_it_promises():
    tables = {"A": gene_table(["VIM", "DCN", "KRT8"]), "B": gene_table(["KRT8", "LUM", "VIM"])}
    assert GeneSpace.of(tables).genes == ("VIM", "KRT8")
    assert GeneSpace.of(dict(reversed(tables.items()))).genes == ("KRT8", "VIM")
    assert GeneSpace.of(tables, "union").genes == ("DCN", "KRT8", "LUM", "VIM")
    assert GeneSpace.of(tables, "panel", ["LUM", "DCN", "LUM"]).genes == ("LUM", "DCN")
    assert GeneSpace.of(tables).samples == ("A", "B")


def test_the_report_counts_what_each_sample_lacks():
    tables = {"A": gene_table(["VIM", "DCN", "KRT8"]), "B": gene_table(["KRT8", "LUM"])}
    union = GeneSpace.of(tables, "union")
    assert union.report[-1] == "Not measured, of 4 genes: A 1, B 2."
    assert GeneSpace.of(tables).report[-1] == "All samples measure 1 of them."
    panel = GeneSpace.of(tables, "panel", ["KRT8", "LUM"])
    assert panel.report[-1] == "Not measured, of 2 genes: A 1."


def test_the_one_sample_that_costs_genes_is_named():
    most = gene_table([f"KRT{n}" for n in range(1, 60)])
    space = GeneSpace.of({"A": most, "B": most[:40], "C": most, "D": most[1:]})
    assert "B alone lacks 19 that all other samples measure." in space.report
    assert "D alone lacks 1 that all other samples measure." in space.report
    assert not any(sentence.startswith("A alone") for sentence in space.report)


def test_samples_without_a_common_gene_are_refused():
    with pytest.raises(DataError, match="The 2 samples have no gene in common"):
        GeneSpace.of({"A": gene_table(["VIM"]), "B": gene_table(["DCN"])})


def test_a_panel_finds_genes_by_symbol_identifier_and_any_name_in_use():
    tables = {
        "A": gene_table(["MARCH1", "KRT8", "ERBB2"], [_id(1), _id(2), _id(3)]),
        "B": gene_table(["MARCHF1", "KRT8"], [_id(1), _id(2)]),
        "C": gene_table(["MARCHF1", "KRT8"], [_id(1), _id(2)]),
    }
    space = GeneSpace.of(tables, "panel", ["MARCH1", _id(2) + ".5", " ERBB2", "KRT8"])
    assert space.genes == ("MARCHF1", "KRT8", "ERBB2")
    assert space.gene_ids == (_id(1), _id(2), _id(3))
    assert space.columns("B").tolist() == [0, 1, -1]
    report = " ".join(space.report)
    assert "MARCH1 is MARCHF1" in report
    assert "1 of the panel's genes are in it under two names" in report


def test_a_panel_takes_no_name_that_two_genes_go_by():
    tables = {
        "A": gene_table(["SEPT1", "KRT8"], [_id(1), _id(2)]),
        "B": gene_table(["SEPT1", "KRT8"], [_id(3), _id(2)]),
        "C": gene_table(["SEPTIN1", "SEPT15", "KRT8"], [_id(1), _id(3), _id(2)]),
        "D": gene_table(["SEPTIN1", "SEPT15", "KRT8"], [_id(1), _id(3), _id(2)]),
    }
    assert GeneSpace.of(tables, "union").genes == ("KRT8", "SEPT15", "SEPTIN1")
    panel = GeneSpace.of(tables, "panel", ["SEPT1", "KRT8"])
    assert panel.genes == ("KRT8",)
    assert any("1 of the 2 genes" in each and "left out: SEPT1" in each for each in panel.report)


def test_a_panel_uses_aliases_only_when_they_are_given():
    tables = {"A": gene_table(["MARCHF1", "KRT8"])}
    assert GeneSpace.of(tables, "panel", ["MARCH1", "KRT8"]).genes == ("KRT8",)
    aliases = {"MARCH1": "MARCHF1"}
    assert GeneSpace.of(tables, "panel", ["MARCH1", "KRT8"], aliases).genes == ("MARCHF1", "KRT8")


def test_panel_genes_that_nobody_measures_are_named_with_the_nearest():
    tables = {"A": gene_table(["ERBB2", "HLA-A", "KRT8"])}
    space = GeneSpace.of(tables, "panel", ["KRT8", "erbb2", "HLA.A", "XYZ123"])
    (missing,) = [each for each in space.report if "No sample measures" in each]
    assert "3 of the 4 genes" in missing
    assert "Nearest to erbb2 is ERBB2. Nearest to HLA.A is HLA-A." in missing
    assert "Nearest to XYZ123" not in missing


def test_a_panel_that_nobody_measures_is_refused_with_a_hint():
    tables = {"A": gene_table(["ERBB2", "KRT8"])}
    with pytest.raises(
        DataError, match=r"any of the 2 genes of the panel \(such as Erbb2\)"
    ) as one:
        GeneSpace.of(tables, "panel", ["Erbb2", "Krt8"])
    assert one.value.hint == "Nearest to Erbb2 is ERBB2."
    with pytest.raises(DataError, match="any of the 0 genes"):
        GeneSpace.of(tables, "panel", [])


@pytest.mark.parametrize(("how", "panel"), [("panel", None), ("union", ["ERBB2"])])
def test_a_panel_goes_with_its_own_kind_of_space_only(how, panel):
    with pytest.raises(ValueError, match="panel"):
        GeneSpace.of({"A": gene_table(["ERBB2"])}, how, panel)


def test_a_hundred_samples_are_read_one_by_one_in_little_memory():
    rng = np.random.default_rng(0)

    def one_by_one() -> Iterator[tuple[str, pd.DataFrame]]:
        for sample in range(100):
            order = np.r_[np.arange(800), 800 + rng.permutation(400)[:200]].tolist()
            symbols = [f"KRT{gene}" for gene in order]
            yield f"S{sample}", pd.DataFrame({"gene_ids": [*map(_id, order)]}, index=symbols)

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        space = GeneSpace.of(one_by_one())
        held, peak = (size - before for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert len(space.genes) == 800
    # 4 bytes a gene and sample, where the tables themselves have 120 bytes and more.
    assert held < 4 * 100 * 1000 + 1e6
    assert peak < 8e6 < 100 * 1000 * 120


def test_the_sections_of_her2st_are_human_and_share_11876_genes(shared_data):
    tables = {}
    for path in sorted((shared_data / "her2st" / "ST-cnts").glob("*.tsv.gz")):
        with gzip.open(path, "rt") as file:
            tables[path.name.removesuffix(".tsv.gz")] = gene_table(file.readline().split("\t")[1:])
    assert len(tables) == 35
    common, union = GeneSpace.of(tables), GeneSpace.of(tables, "union")
    assert (len(common.genes), len(union.genes)) == (11_876, 18_746)
    in_all = set.intersection(*(set(var.index) for var in tables.values()))
    first = next(iter(tables.values()))
    assert list(common.genes) == [gene for gene in first.index if gene in in_all]
    assert common.gene_ids is None and common.matched.species == "human"
    # Its depositors left out what begins with MT- and with RP, but MTOR is there.
    assert "MTOR" in union.genes
    assert not any(rule(gene) for gene in union.genes for rule in EXCLUSIONS.values())
    for sample, var in tables.items():
        assert (common.columns(sample) >= 0).all()
        assert (union.columns(sample) >= 0).sum() == len(var)
