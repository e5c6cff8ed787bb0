from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import DataError
from hypergene.st.gene_lists import read_aliases, read_panel, rename


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "genes.txt"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "ERBB2\nHLA-A\nENSG00000141736\n",
        "gene\nERBB2\nHLA-A\nENSG00000141736\n",
        "Symbol\r\nERBB2\r\nHLA-A\r\nENSG00000141736\r\n",
        "# my panel\n\n  ERBB2\nHLA-A  # of all\nERBB2\nENSG00000141736",
        '"ERBB2"\n"HLA-A"\n"ENSG00000141736"\n',
        "number,gene\n1,ERBB2\n2,HLA-A\n3,ENSG00000141736\n",
        "Gene;why\nERBB2;\nHLA-A;immune\nENSG00000141736;\n",
        "why\tgene_name\n\tERBB2\nx\tHLA-A\nx\tENSG00000141736\n",
        # A probe set of 10x: comments, and several probes a gene.
        "#probe_set_file_format=2.0\ngene_id,probe\nERBB2,A\nERBB2,B\nHLA-A,C\nENSG00000141736,D\n",
        "symbol,gene_id\nERBB2,x\nHLA-A,y\nENSG00000141736,z\n",
    ],
)
def test_a_panel_is_a_gene_a_line_or_a_column(write, text):
    assert read_panel(write(text)) == ["ERBB2", "HLA-A", "ENSG00000141736"]


def test_a_panel_may_be_compressed(write):
    assert read_panel(write(gzip.compress(b"ERBB2\nKRT8\n"))) == ["ERBB2", "KRT8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "names no gene"),
        ("gene\n", "names no gene below its header"),
        ("number,gene\n", "names no gene below its header"),
        ("ERBB2 KRT8\n", "'ERBB2 KRT8' on line 1, which is no single gene"),
        ("ERBB2\nKRT8,KRT18\n", "'KRT8,KRT18' on line 2"),
        ("ERBB2,KRT8\n", r"has no column of genes \(found: 'ERBB2, KRT8'\)"),
        ("number,gene\n1,ERBB2\n2,\n", "has no gene in column 'gene' on line 3"),
        ("number,gene\n1,ERBB2,3\n", "has 3 cells on line 2, but 2 columns"),
        ('number,gene\n1,"ERBB2\n2,KRT8"\n', "over several lines"),
        (b"\xff\xfeE\x00R\x00", "is not UTF-8 text"),
        (gzip.compress(b"ERBB2\n" * 99)[:-9], "damaged or truncated gzip"),
    ],
)
def test_a_bad_panel_is_refused_by_name(write, text, message):
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        read_panel(path)
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_panel_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_panel(tmp_path / "none.txt")


@given(data=st.binary(max_size=200))
def test_whatever_the_file_only_data_errors_come_out(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any-list"
    path.write_bytes(data)
    for read in (read_panel, read_aliases):
        try:
            assert read(path) is not None
        except DataError as error:
            assert "\n" not in str(error)


@given(text=st.text(alphabet='ab,;\t"#\n ', max_size=60), head=st.sampled_from(["", "gene,x\n"]))
def test_whatever_the_text_a_panel_holds_each_gene_once_and_none_empty(
    tmp_path_factory, text, head
):
    path = tmp_path_factory.getbasetemp() / "any-panel"
    path.write_text(head + text)
    try:
        panel = read_panel(path)
    except DataError:
        return
    assert panel
    assert all(gene == gene.strip() and gene for gene in panel)
    assert len(set(panel)) == len(panel)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_aliases_are_read_by_column(write, separator):
    lines = ["symbol,alias,note", "MARCHF1,MARCH1,x", "SEPTIN2,SEPT2,", "KRT8,KRT8,same"]
    text = "\n".join(lines).replace(",", separator)
    assert read_aliases(write(text)) == {"MARCH1": "MARCHF1", "SEPT2": "SEPTIN2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alias,name\na,b\n", "has no column symbol"),
        ("alias,symbol\nMARCH1,\n", "empty cell on line 2"),
        ("alias,symbol\nMARCH1,MARCHF1\nMARCH1,MTARC1\n", "calls MARCH1 both MARCHF1 and MTARC1"),
        ("alias,symbol\nA,B\nB,C\n", "has B both as an alias"),
        ("alias,symbol\n", "has a header but no rows"),
    ],
)
def test_a_bad_table_of_aliases_is_refused_by_name(write, text, message):
    path = write(text, "aliases.csv")
    with pytest.raises(DataError, match=message) as caught:
        read_aliases(path)
    assert str(path) in caught.value.message


def test_aliases_give_way_to_what_is_measured_already():
    aliases = {"MARCH1": "MARCHF1", "SEPT2": "SEPTIN2", "NEDD5": "SEPTIN2", "HER2": "ERBB2"}
    names = ["MARCH1", "HER2", "ERBB2", "SEPT2", "NEDD5", "KRT8"]
    renamed, kept = rename(names, aliases)
    assert renamed == ["MARCHF1", "HER2", "ERBB2", "SEPT2", "NEDD5", "KRT8"]
    assert kept == ["HER2", "SEPT2", "NEDD5"]


_LETTERS = st.sampled_from("ABCDEFGH")


@given(
    st.lists(_LETTERS, unique=True),
    st.dictionaries(_LETTERS, st.sampled_from("WXYZ"), max_size=6),
)
def test_renaming_keeps_names_unique_and_in_place(names, aliases):
    renamed, kept = rename(names, aliases)
    assert len(set(renamed)) == len(names)
    for before, after in zip(names, renamed, strict=True):
        assert after in (before, aliases.get(before))
        assert (before in kept) == (before in aliases and after == before)
