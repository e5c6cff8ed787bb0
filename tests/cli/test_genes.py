from __future__ import annotations

from pathlib import Path

import pytest

from hypergene.cli.genes import parse_genes
from hypergene.errors import UsageError


def test_no_option_means_all_genes() -> None:
    assert parse_genes(None) is None


def test_symbols_keep_their_order_and_come_once() -> None:
    assert parse_genes("KRT5, ERBB2,KRT5,HLA-A,RP11-34P13.7") == (
        "KRT5",
        "ERBB2",
        "HLA-A",
        "RP11-34P13.7",
    )


def test_a_file_holds_one_symbol_a_line(tmp_path: Path) -> None:
    list_file = tmp_path / "panel.txt"
    list_file.write_text("\ufeff# breast\nERBB2\n\nESR1  # receptor\nERBB2\n", encoding="utf-8")
    assert parse_genes(str(list_file)) == ("ERBB2", "ESR1")


@pytest.mark.parametrize("text", ["panel.txt", "lists/panel", "genes.CSV"])
def test_a_missing_file_is_not_taken_for_a_symbol(text: str) -> None:
    with pytest.raises(UsageError, match="no file") as error:
        parse_genes(text)
    assert "one symbol a line" in (error.value.hint or "")


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_symbol_at_all_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="no gene symbol"):
        parse_genes(text)


def test_a_table_is_not_taken_for_a_list(tmp_path: Path) -> None:
    table = tmp_path / "genes.csv"
    table.write_text("gene,score\nERBB2,0.4\n")
    with pytest.raises(UsageError, match="Line 1"):
        parse_genes(str(table))


def test_a_binary_file_is_not_taken_for_a_list(tmp_path: Path) -> None:
    binary = tmp_path / "genes.txt"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="cannot be read as text"):
        parse_genes(str(binary))
