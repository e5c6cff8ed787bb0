"""One table, spots in rows: every value comes back under its own name, with its unit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest
from tiny.prediction import ODD_GENES, UNITS, tiny_prediction

from hypergene.errors import OutputError
from hypergene.output.export import write_csv, write_parquet

# Two genes are called like columns that describe the spots.
NAMES = {gene: gene for gene in ODD_GENES} | {"radius": "radius (gene)", "x_px": "x_px (gene)"}


def check(table: pd.DataFrame) -> None:
    expected = tiny_prediction()
    assert table.columns.is_unique
    assert list(table.columns[:5]) == ["spot", "x_px", "y_px", "x_um", "y_um"]
    assert table["spot"].tolist() == expected.obs_names.tolist()
    np.testing.assert_allclose(table[["x_px", "y_px"]], expected.obsm["spatial"])
    np.testing.assert_allclose(table[["x_um", "y_um"]], expected.obsm["spatial"] * 0.5)
    np.testing.assert_array_equal(table["radius"].astype(np.float32), expected.obs["radius"])
    for column, gene in enumerate(ODD_GENES):
        values = table[NAMES[gene]].to_numpy(np.float32)
        np.testing.assert_array_equal(values, expected.X[:, column])
        spread = table[f"{gene}_std"].to_numpy(np.float32)
        np.testing.assert_array_equal(spread, expected.layers["std"][:, column])


def test_csv_comes_back_in_pandas(choose, tmp_path):
    write_csv(choose(), tmp_path / "s.csv")
    check(pd.read_csv(tmp_path / "s.csv"))


def test_the_csv_is_described_beside_it(choose, tmp_path):
    write_csv(choose(), tmp_path / "s.csv")
    said = json.loads((tmp_path / "s.csv-metadata.json").read_text(encoding="utf-8"))
    assert said["url"] == "s.csv"
    assert "predicted, not measured" in said["dc:description"]
    columns = {column["titles"]: column for column in said["tableSchema"]["columns"]}
    assert list(columns) == pd.read_csv(tmp_path / "s.csv", nrows=0).columns.tolist()
    assert columns["x_um"]["hypergene:unit"] == "µm"
    assert columns["ABC_std"]["hypergene:unit"] == columns["Abc"]["hypergene:unit"] == UNITS
    assert columns["ABC"]["hypergene:predicted"]
    assert not columns["ood_score"]["hypergene:predicted"]


def test_parquet_comes_back_in_pandas_with_units_in_its_schema(choose, tmp_path):
    write_parquet(choose(), tmp_path / "s.parquet")
    check(pd.read_parquet(tmp_path / "s.parquet"))
    schema = pyarrow.parquet.read_schema(tmp_path / "s.parquet")
    about = json.loads(schema.metadata[b"hypergene"])
    assert about["predicted"] is True
    assert about["units"] == UNITS
    assert schema.field("ABC").metadata[b"unit"].decode() == UNITS
    assert schema.field("ABC_std").metadata[b"predicted"] == b"true"
    assert schema.field("y_um").metadata[b"unit"].decode() == "µm"


def test_a_block_is_a_row_group(choose, tmp_path, monkeypatch):
    monkeypatch.setattr("hypergene.output.export.chosen.BLOCK_VALUES", 64)
    write_parquet(choose(layout="visium-hd-16", size_px=(400, 400)), tmp_path / "s.parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "s.parquet")
    assert file.num_row_groups == -(-file.metadata.num_rows // 64) > 1


def test_archetypes_are_text_in_both(choose, tmp_path):
    chosen = choose(archetypes=True, wanted=("ABC",), spread=False)
    write_csv(chosen, tmp_path / "s.csv")
    write_parquet(chosen, tmp_path / "s.parquet")
    expected = tiny_prediction(archetypes=True).obs["archetype"].astype(str).tolist()
    read = pyarrow.csv.read_csv(tmp_path / "s.csv")
    assert [str(value) for value in read["archetype"].to_pylist()] == expected
    assert pd.read_parquet(tmp_path / "s.parquet")["archetype"].tolist() == expected


def test_a_csv_whose_description_stands_there_is_not_written(choose, tmp_path):
    chosen = choose()
    (tmp_path / "s.csv-metadata.json").write_text("other")
    with pytest.raises(OutputError, match="--overwrite"):
        write_csv(chosen, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()
    write_csv(chosen, tmp_path / "s.csv", overwrite=True)
    assert (tmp_path / "s.csv").exists()
