"""Small text tables, and the lines of large ones."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.errors import DataError, HypergeneError
from hypergene.st.table import read_lines, read_table, stream_lines

TEXT = "a\tb\n1\t2\n\n3\t4\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_are_the_same_whatever_ends_and_packs_them(tmp_path, end, pack):
    path = tmp_path / "table"  # what is packed is known by its content
    path.write_bytes(pack(b"\xef\xbb\xbf" + (TEXT + "\n\n").replace("\n", end).encode()))
    assert read_lines(path) == ["a\tb", "1\t2", "", "3\t4"]
    assert list(stream_lines(path)) == read_lines(path)


def test_lines_come_one_by_one_before_a_file_ends_badly(tmp_path):
    path = tmp_path / "table.gz"
    rows = "".join(f"{i}\t{os.urandom(20).hex()}\n" for i in range(5000))
    path.write_bytes(gzip.compress(rows.encode())[:-100])
    lines = stream_lines(path)
    assert next(lines).startswith("0\t")
    with pytest.raises(DataError, match="truncated gzip"):
        list(lines)


def test_what_is_no_file_is_said_so_and_never_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in ((pipe, "is not a file"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=said) as raised:
            read_lines(path)
        assert str(path) in raised.value.message


@given(content=st.binary(max_size=60) | st.text(alphabet='ab,;\t\n\r"\x00 1', max_size=40))
def test_whatever_a_file_holds_it_is_a_table_or_one_sentence(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            table = read_table(path, ",\t;")
        except HypergeneError as sentence:
            assert str(path) in sentence.message
            assert sentence.hint
            assert "\n" not in sentence.message + sentence.hint
        else:
            assert len(table) >= 1
            assert {len(cells) for cells in table.columns.values()} == {len(table)}


def test_names_of_rows_that_the_header_leaves_out_are_taken_only_on_request(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("x\ty\np\t1\t2\nq\t3\t4\n")
    assert read_table(path, "\t", row_names=("spot",)).columns == {
        "": ["p", "q"], "x": ["1", "3"], "y": ["2", "4"],
    }  # fmt: skip
    for names in (None, ("x",)):
        with pytest.raises(DataError, match="3 cells on line 2, but 2 columns"):
            read_table(path, "\t", row_names=names)
    path.write_text("x\ty\n9\t1\t2\n8\t3\t4\n")
    with pytest.raises(DataError, match="3 cells on line 2, but 2 columns"):
        read_table(path, "\t", row_names=("spot",))
