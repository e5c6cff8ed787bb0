from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.st.mangled_names import mangled_names, some

FINE = ["ERBB2", "HLA-A", "MT-ND1", "MARCH1", "SEPT2", "DEC1", "AC008074.1", "RP11-34P13.7", "7SK"]


def test_real_names_are_left_in_peace():
    assert mangled_names([*FINE, "C1orf112", "NKX2-1", "H2-K1", "1700001A01Rik", "ATRIP.1"]) == []


@pytest.mark.parametrize(
    "name",
    ["1-Mar", "Mar-01", "2-Sep", "02-Sep", "Sep-15", "1-Dec", "44256", "2021-03-01", "3/1/2021",
     "01.03.2021", "1. Mrz", "2021-09-02 00:00:00", "2.31E+19", "2,31E+13"],
)  # fmt: skip
def test_dates_of_excel_are_found(name):
    (sentence,) = mangled_names([*FINE, name])
    assert "1 gene is called by a date or a number" in sentence
    assert f"({name})" in sentence


def test_numbers_as_names_throughout_are_not_dates():
    assert mangled_names([str(number) for number in range(40_000, 40_100)]) == []


def test_names_of_r_are_found_beside_their_origin():
    (sentence,) = mangled_names(["HLA-A", "HLA.A", "RP11-34P13.7", "RP11.34P13.7", "7SK", "X7SK"])
    assert sentence.startswith("3 genes are written with dots")
    assert "HLA.A for HLA-A, RP11.34P13.7 for RP11-34P13.7, X7SK for 7SK" in sentence


def test_names_of_r_are_found_alone_in_families_that_have_no_dots():
    (sentence,) = mangled_names(["HLA.DRA", "MT.ND1", "mt.Co1", "ATRIP.1"])
    assert "3 genes" in sentence
    assert "HLA.DRA, MT.ND1, mt.Co1" in sentence


def test_twins_that_differ_in_capitals_are_found():
    (sentence,) = mangled_names(["C1ORF112", "C1orf112", "ERBB2"])
    assert "C1ORF112 / C1orf112" in sentence
    assert "capitals only" in sentence


@given(st.permutations([*FINE, "1-Mar", "HLA.A", "Erbb2", "44256"]))
def test_the_order_of_names_does_not_matter(names):
    assert mangled_names(names) == mangled_names(sorted(names))
    assert len(mangled_names(names)) == 3


@given(st.lists(st.text(max_size=10)))
def test_any_names_are_judged_without_fail(names):
    assert all(sentence.endswith(".") for sentence in mangled_names(names))


def test_long_lists_are_cut_and_counted():
    assert some(["a", "b"]) == "a, b"
    assert some([str(n) for n in range(1008)], 2) == "0, 1 and 1,006 more"
