from __future__ import annotations

import gzip

import pytest

from hypergene.errors import DataError
from hypergene.st.gmt import read_gmt


def test_sets_are_read_in_order_and_genes_once(tmp_path):
    path = tmp_path / "sets.gmt.gz"
    path.write_bytes(gzip.compress(b"B\tna\tKRT8\tKRT18\tKRT8\t\n\nA\thttp://x\tCD3E\n"))
    assert read_gmt(path) == {"B": ["KRT8", "KRT18"], "A": ["CD3E"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A,na,CD3E\n", "no gene set on line 1"),
        ("A\tna\tCD3E\nB\tna\n", "no gene set on line 2"),
        ("A\tna\tCD3E\nA\tna\tCD8A\n", "twice"),
        ("", "empty"),
    ],
)
def test_what_is_no_gene_set_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "sets.gmt"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_gmt(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"missing\.gmt"):
        read_gmt(tmp_path / "missing.gmt")
