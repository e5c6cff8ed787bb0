from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from hypergene.errors import OutputError
from hypergene.pipeline.metrics_log import MetricsLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.csv"


def test_columns_appear_when_they_are_first_logged(path: Path) -> None:
    log = MetricsLog(path, "select")
    log({"epoch": 1, "loss": 0.5})
    log({"epoch": 2, "loss": 0.25, "validation": 0.125})
    assert path.read_text() == "phase,epoch,loss,validation\nselect,1,0.5,\nselect,2,0.25,0.125\n"


def test_no_number_changes_by_later_rows(path: Path) -> None:
    log = MetricsLog(path, "select")
    third = 0.1 + 0.2  # 0.30000000000000004: shorter forms are other numbers
    for epoch in range(1, 6):
        log({"epoch": epoch, "loss": third / epoch})
    table = pd.read_csv(path, float_precision="round_trip")
    assert table["loss"].tolist() == [third / epoch for epoch in range(1, 6)]
    assert table["epoch"].tolist() == [1, 2, 3, 4, 5]


def test_a_resumed_run_replaces_what_it_does_again(path: Path) -> None:
    log = MetricsLog(path, "select")
    for epoch in (1, 2, 3):
        log({"epoch": epoch, "loss": float(epoch)})
    log({"epoch": 2, "loss": 20.0})
    assert pd.read_csv(path)[["epoch", "loss"]].to_numpy().tolist() == [[1, 1], [2, 20]]


def test_rows_of_another_phase_stay(path: Path) -> None:
    MetricsLog(path, "select")({"epoch": 7, "loss": 1.0})
    MetricsLog(path, "refit")({"epoch": 1, "loss": 2.0})
    assert pd.read_csv(path)["phase"].tolist() == ["select", "refit"]


def test_nothing_else_is_left_beside_it(path: Path) -> None:
    MetricsLog(path, "select")({"epoch": 1})
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'phase,epoch\nselect,"one"\n', "\x00\xff"])
def test_a_file_that_is_no_such_table_is_named(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin-1")
    with pytest.raises(OutputError, match=r"metrics\.csv is not the table"):
        MetricsLog(path, "select")({"epoch": 1})
    assert path.read_text(encoding="latin-1") == text
