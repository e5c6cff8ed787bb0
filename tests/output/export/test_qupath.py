"""Detections with measurements, as QuPath's own reader takes them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny.prediction import ODD_GENES, UNITS, tiny_prediction, write_tiny_prediction

from hypergene.output import open_prediction, write_anndata
from hypergene.output.export import Chosen, write_qupath


def written(chosen: Chosen, path: Path) -> dict[str, Any]:
    write_qupath(chosen, path)
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def as_qupath_reads(feature: dict[str, Any]) -> tuple[str, str, dict[str, float]]:
    """The parts QuPathTypeAdapters and PathClassTypeAdapter (QuPath 0.4 to 0.6) take, typed."""
    assert feature["type"] == "Feature"
    assert feature["geometry"]["type"] == "Polygon"
    properties = feature["properties"]
    assert properties["objectType"] == "detection"
    measurements = properties["measurements"]
    assert isinstance(measurements, dict)
    assert all(type(value) in (int, float) for value in measurements.values())
    return properties["name"], properties["classification"]["name"], measurements


def test_every_gene_and_its_spread_are_measurements_whatever_they_are_called(choose, tmp_path):
    chosen = choose()
    collection = written(chosen, tmp_path / "s.geojson")
    expected = tiny_prediction()
    assert len(collection["features"]) == len(chosen) > 20
    for row, feature in enumerate(collection["features"]):
        name, kind, measured = as_qupath_reads(feature)
        assert (name, kind) == (expected.obs_names[row], "Predicted spot")
        for column, gene in enumerate(ODD_GENES):
            assert measured[f"{gene} (predicted)"] == pytest.approx(
                expected.X[row, column], rel=1e-3
            )
            assert measured[f"{gene} (predicted std)"] == pytest.approx(
                expected.layers["std"][row, column], rel=1e-3
            )
        assert measured["ood_score"] == pytest.approx(expected.obs["ood_score"].iloc[row], rel=1e-3)
        assert measured["array_row"] == expected.obs["array_row"].iloc[row]


def test_the_collection_says_predicted_and_the_unit(choose, tmp_path):
    about = written(choose(), tmp_path / "s.geojson")["hypergene"]
    assert about["predicted"] is True
    assert about["units"] == UNITS


def test_archetypes_are_derived_classes(choose, tmp_path):
    chosen = choose(archetypes=True, wanted=("ABC",))
    kinds = {as_qupath_reads(f)[1] for f in written(chosen, tmp_path / "s.geojson")["features"]}
    assert kinds == {f"Predicted spot: archetype {state}" for state in range(3)}


def test_without_spread_there_is_none(choose, tmp_path):
    chosen = choose(spread=False, wanted=("ABC",))
    _, _, measured = as_qupath_reads(written(chosen, tmp_path / "s.geojson")["features"][0])
    assert [name for name in measured if "predicted" in name] == ["ABC (predicted)"]


def test_what_is_not_a_number_is_left_out(tmp_path):
    adata = tiny_prediction(("A", "B"))
    adata.obs.loc[adata.obs_names[3], "ood_score"] = np.nan
    write_anndata(adata, tmp_path / "p.zarr")
    chosen = Chosen(open_prediction(tmp_path / "p.zarr"), ("A", "B"), False)
    features = written(chosen, tmp_path / "s.geojson")["features"]
    with_score = ["ood_score" in as_qupath_reads(feature)[2] for feature in features]
    assert with_score.count(False) == 1
    assert not with_score[3]
    assert as_qupath_reads(features[3])[2]["B (predicted)"] == pytest.approx(
        adata.X[3, 1], rel=1e-3
    )


def test_memory_does_not_grow_with_the_number_of_spots(tmp_path):
    genes = [f"G{number}" for number in range(8)]

    def peak_bytes(side_px: int) -> int:
        folder = tmp_path / str(side_px)
        folder.mkdir()
        options = {"layout": "visium-hd-8", "size_px": (side_px, side_px), "mpp": (1.0, 1.0)}
        opened = open_prediction(write_tiny_prediction(folder, genes, **options))
        chosen = Chosen(opened, tuple(genes), True)
        chosen.spots  # noqa: B018  # a few numbers a spot are held
        tracemalloc.start()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("hypergene.output.export.chosen.BLOCK_VALUES", 2**13)
                write_qupath(chosen, folder / "s.geojson")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(480) < 1.3 * peak_bytes(240)  # 3,600 and 900 spots
