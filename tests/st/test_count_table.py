"""Wide tables of counts, in blocks of rows."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hypergene.errors import DataError
from hypergene.st import count_table
from hypergene.st.count_table import read_count_table


def text_of(values: np.ndarray, separator: str = "\t", corner: str | None = "") -> str:
    header = [f"g{j}" for j in range(values.shape[1])]
    lines = [separator.join(header if corner is None else [corner, *header])]
    lines += [separator.join([f"s{i}", *map(str, row)]) for i, row in enumerate(values.tolist())]
    return "\n".join(lines) + "\n"


@settings(max_examples=40)
@given(
    values=arrays(
        np.int64, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 10**6)
    ),
    separator=st.sampled_from("\t,;"),
    corner=st.sampled_from(["", "gene", "spot", None]),
    packed=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 60),
)
def test_a_table_comes_back_as_it_was_written(values, separator, corner, packed, end, block):
    if corner is None and values.shape[1] == 1:
        corner = ""  # one name without a separator is no header
    text = text_of(values, separator, corner).replace("\n", end).encode()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(count_table, "_BLOCK_CHARACTERS", block)
        path = Path(folder) / "counts"
        path.write_bytes(gzip.compress(text) if packed else text)
        table = read_count_table(path, "\t,;")
    assert table.rows == [f"s{i}" for i in range(values.shape[0])]
    assert table.columns == [f"g{j}" for j in range(values.shape[1])]
    assert table.values.dtype == np.int32
    np.testing.assert_array_equal(table.values.toarray(), values)


def test_names_in_quotes_may_hold_the_separator(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text('"","a, b","c"\n"x,1",1,2\ny,3,4\n')
    table = read_count_table(path, ",")
    assert (table.columns, table.rows) == (["a, b", "c"], ["x,1", "y"])
    assert table.values.toarray().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("block", [10, 10_000])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("s7\t14", "s7\tmany", "'many' on line 9, column g0, where a count"),
        ("s7\t14", "s7\t1,4", "'1,4' on line 9, column g0, where a count"),
        ("s7\t14", "s7\t", r"NaN cells \(the first on line 9, column g0\)"),
        ("14\t15", "14\t", r"NaN cells \(the first on line 9, column g1\)"),
        ("s7\t14", "s7\tNA", r"NaN cells \(the first on line 9, column g0\)"),
        ("s7\t14", "s7\t14\t14", "4 cells on line 9, but 3 columns"),
        ("s7\t14\t15\n", "s7\n", "1 cells on line 9, but 3 columns"),
        ("s7\t14\t15\n", "\n", "1 cells on line 9, but 3 columns"),
        ("s7\t14", "\t14", "no name on line 9"),
        ("\tg1", "\t", "no gene name in column 3"),
        ("s7\t14", "s7\t-14", r"negative values \(-14"),
        ("s7\t14", "s7\t1\x004", "NUL bytes"),
        ("s7\t14", "s7\t1\x014", "'1.x014' on line 9, column g0"),
    ],
)
def test_a_bad_cell_is_named_with_its_line_whatever_block_it_is_in(
    tmp_path, monkeypatch, block, old, new, said
):
    monkeypatch.setattr(count_table, "_BLOCK_CHARACTERS", block)
    path = tmp_path / "counts.tsv"
    text = text_of(np.arange(40).reshape(20, 2))
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=said) as raised:
        read_count_table(path)
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_numbers_that_are_no_counts_are_kept_as_they_are(tmp_path):
    path = tmp_path / "values.tsv"
    values = np.array([[0.5, 0, 2], [3e9, 1, 0]])
    path.write_text(text_of(values))
    table = read_count_table(path)
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values.toarray(), values)


def test_a_long_table_of_fractions_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(count_table, "_BLOCK_CHARACTERS", 100)
    monkeypatch.setattr(count_table, "_ENOUGH_VALUES", 100)
    path = tmp_path / "values.tsv"
    path.write_text(text_of(np.full((200, 10), 0.5)))
    assert 10 < len(read_count_table(path).rows) < 50


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hypergene.st.table.LONGEST_LINE", 1000)
    path = tmp_path / "counts.tsv"
    path.write_text("\tA\n" + "s\t1" * 1000)
    with pytest.raises(DataError, match="a line of more than 1,000 characters"):
        read_count_table(path)


def test_a_large_table_takes_the_memory_of_its_counts_not_of_its_cells(tmp_path):
    """1,500 spots × 9,000 genes: 27 MB of text and 108 MB of numbers; 1 % of them are counts."""
    path = tmp_path / "counts.tsv.gz"
    row = "\t".join(["0"] * 99 + ["7"]) + "\t"
    header = "\t" + "\t".join(f"g{j}" for j in range(9_000))
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(header + "\n")
        for spot in range(1_500):
            file.write(f"s{spot}\t{(row * 90)[:-1]}\n")
    code = (
        "import sys, resource, pathlib; from hypergene.st.count_table import read_count_table\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak(); table = read_count_table(pathlib.Path(sys.argv[1]))\n"
        "print(table.values.shape, table.values.nnz, peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("(1500, 9000) 135000 ")
    assert int(run.stdout.split()[-1]) < 60
