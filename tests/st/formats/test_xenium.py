from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layouts import xenium as layout
from layouts.made import IDS, SYMBOLS, made_section
from pyarrow import parquet

from hypergene.errors import DataError
from hypergene.st import Sample
from hypergene.st.formats import xenium

SECTION = made_section()
RUN = layout.made_run(SECTION)
FROM_TRANSCRIPTS = [name for name in layout.WRITERS if "transcripts" in name]
FROM_CELLS = [name for name in layout.WRITERS if "cells" in name]


def read(sample: Sample):
    return xenium.read(sample.data, sample.spots, sample.spot_um)


@pytest.mark.parametrize("name", layout.WRITERS)
def test_a_run_becomes_squares_on_the_image(name, tmp_path):
    sample = layout.WRITERS[name](tmp_path, SECTION)
    assert xenium.recognises(sample.data)
    adata = read(sample)
    assert adata.n_obs == 30
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.int32
    assert list(adata.obs_names) == [f"r{r}c{c}" for r, c in zip(RUN.row, RUN.column, strict=True)]
    assert (adata.obs["array_row"] == RUN.row).all()
    assert (adata.obs["array_col"] == RUN.column).all()
    assert (adata.obs["in_tissue"] == 1).all()
    assert adata.obs.dtypes.tolist() == [np.int8, np.int32, np.int32]
    np.testing.assert_allclose(adata.obsm["spatial"], RUN.xy_px, atol=1e-6)
    about = adata.uns["hypergene"]
    assert about["layout"] == {
        "name": "xenium-220",
        "lattice": "square",
        "diameter_um": 220.0,
        "pitch_um": 220.0,
        "shape": "square",
        "orientation_deg": 0.0,
    }
    assert about["pitch_px"] == about["spot_diameter_px"] == pytest.approx(55)
    assert about["mpp"] == pytest.approx([4, 4])
    assert "experiment.xenium" in about["mpp_source"]
    assert about["platform"] == "xenium"
    assert about["panel"]["panel_organism"] == "Human"


@pytest.mark.parametrize("name", FROM_TRANSCRIPTS)
def test_every_good_transcript_of_a_gene_is_counted_and_no_other(name, tmp_path):
    adata = read(layout.WRITERS[name](tmp_path, SECTION))
    np.testing.assert_array_equal(adata[:, list(SYMBOLS)].X.toarray(), RUN.counts)
    assert adata.X.sum() == RUN.counts.sum()
    assert set(adata.var_names) - set(SYMBOLS) <= {"SILENT1"}
    pooled = adata.uns["hypergene"]["pooled"]
    assert pooled["transcripts"] == len(RUN.feature)
    assert pooled["pooled"] == RUN.counts.sum()
    assert min(pooled["low_quality"], pooled["not_genes"]) > 0
    assert sum(pooled.values()) == 2 * len(RUN.feature)


@pytest.mark.parametrize("name", FROM_CELLS)
def test_without_transcripts_cells_are_pooled_by_their_centroids(name, tmp_path):
    adata = read(layout.WRITERS[name](tmp_path, SECTION))
    inside = layout.cell_counts(RUN).toarray()[: len(SYMBOLS)].T.reshape(30, 3, -1).sum(axis=1)
    assert 0 < inside.sum() < RUN.counts.sum()
    np.testing.assert_array_equal(adata.X.toarray(), inside)
    assert list(adata.var["gene_ids"]) == list(IDS)
    assert "cells, by their centroids" in adata.uns["hypergene"]["counts_from"]
    assert adata.uns["hypergene"]["pooled"] == {"cells": 90, "pooled": 90, "without_centroid": 0}


def test_transcripts_come_before_cells_and_may_be_named_themselves(tmp_path):
    sample = layout.write_transcripts(tmp_path, SECTION)
    layout.write_cells(sample.data, RUN, kind="parquet")
    layout.write_h5(sample.data, RUN)
    folder = read(sample)
    assert folder.X.sum() == RUN.counts.sum()
    file = read(replace(sample, data=sample.data / "transcripts.parquet"))
    np.testing.assert_array_equal(file.X.toarray(), folder.X.toarray())


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        (["experiment.xenium"], True),
        (["transcripts.parquet"], True),
        (["cells.csv.gz", "cell_feature_matrix.h5"], True),
        (["cells.parquet"], False),
        (["filtered_feature_bc_matrix.h5"], False),
    ],
)
def test_a_folder_is_recognised_by_the_names_in_it(files, is_one, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    assert xenium.recognises(tmp_path) is is_one


def test_recognising_never_raises():
    assert not xenium.recognises(Path("/nowhere"))
    assert not xenium.recognises(Path("x" * 5000))
    assert xenium.recognises(Path("/nowhere/transcripts.parquet"))


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_truncated_transcripts_are_said_and_never_replaced_by_cells(keep, tmp_path):
    sample = layout.write_transcripts(tmp_path, SECTION)
    layout.write_cells(sample.data, RUN, kind="parquet")
    layout.write_h5(sample.data, RUN)
    path = sample.data / "transcripts.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(DataError, match="cannot be read as a Parquet file"):
        read(sample)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"transcripts.parquet is a folder"):
        read(sample)


@pytest.mark.parametrize("side_um", [0.0, -55.0, 0.5, math.nan, math.inf])
def test_squares_that_make_no_sense_are_refused(side_um, tmp_path):
    with pytest.raises(DataError, match="cannot be pooled into squares of") as raised:
        xenium.read(layout.write_run(tmp_path), spot_um=side_um)
    assert "spot_um" in str(raised.value.hint)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        xenium.read(tmp_path / "nowhere")
    outs = layout.write_run(tmp_path / "outs")
    with pytest.raises(DataError, match=r"There is no file .*none.csv"):
        xenium.read(outs, tmp_path / "none.csv")
    (outs / "transcripts.parquet").unlink()
    with pytest.raises(DataError, match=r"neither transcripts.parquet nor both cells.parquet and"):
        xenium.read(outs)
    (outs / "experiment.xenium").unlink()
    with pytest.raises(DataError, match=r"There is no .*experiment.xenium, which states the pixel"):
        xenium.read(outs)


def _cells(**columns) -> Callable[[Path], None]:
    def change(outs: Path) -> None:
        table = parquet.read_table(outs / "cells.parquet")
        for name, values in columns.items():
            old = table.column(name).to_pylist()
            table = table.set_column(table.column_names.index(name), name, [values(old)])
        parquet.write_table(table, outs / "cells.parquet")

    return change


def _without(name: str) -> Callable[[Path], None]:
    def change(outs: Path) -> None:
        table = parquet.read_table(outs / "cells.parquet").drop([name])
        parquet.write_table(table, outs / "cells.parquet")

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("x_centroid"), "no column x_centroid"),
        (_cells(y_centroid=lambda old: [math.nan, *old[1:]]), r"column y_centroid \(at least 1\)"),
        (_cells(y_centroid=lambda old: [1e9, *old[1:]]), r"a coordinate of 1e\+09 µm"),
        (_cells(cell_id=lambda old: [old[1], *old[1:]]), r"1 cells more than once \(such as"),
        (_cells(cell_id=lambda old: [f"x{name}" for name in old]), r"None of the 90 cells of"),
        (lambda outs: (outs / "cells.parquet").write_bytes(b""), "cannot be read as a Parquet"),
        (
            lambda outs: (outs / "cell_feature_matrix.h5").write_bytes(b""),
            "cannot be read as a 10x",
        ),
    ],
)
def test_damaged_cells_are_one_sentence_with_the_file(change, said, tmp_path):
    sample = layout.write_cells_h5(tmp_path, SECTION)
    change(sample.data)
    with pytest.raises(DataError, match=said) as raised:
        read(sample)
    assert str(sample.data) in raised.value.message


def test_a_cell_without_a_centroid_is_left_out_and_counted(tmp_path):
    sample = layout.write_cells_h5(tmp_path, SECTION)
    table = parquet.read_table(sample.data / "cells.parquet")
    parquet.write_table(table.slice(1), sample.data / "cells.parquet")
    adata = read(sample)
    assert adata.uns["hypergene"]["pooled"] == {"cells": 90, "pooled": 89, "without_centroid": 1}
    lost = layout.cell_counts(RUN)[: len(SYMBOLS), 0].sum()
    whole = layout.cell_counts(RUN)[: len(SYMBOLS)].sum()
    assert adata.X.sum() == whole - lost


def test_cells_as_text_are_read_as_strictly(tmp_path):
    sample = layout.write_cells_mtx(tmp_path, SECTION)
    path = sample.data / "cells.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cells.csv.gz cannot be read as a CSV file"):
        read(sample)
    path.unlink()
    plain = sample.data / "cells.csv"
    for text, said in (
        ("cell_id,x_centroid,y_centroid\n1,2.5,here\n", "cannot be read as a CSV file"),
        ("cell_id,x_centroid,y_centroid\n1,2.5\n", "cannot be read as a CSV file"),
        ("cell_id,x_centroid\n1,2.5\n", "cannot be read as a CSV file"),
        ("cell_id,x_centroid,y_centroid\n1,2.5,\n", r"column y_centroid \(at least 1\)"),
        ("cell_id,x_centroid,y_centroid\n", "has no cells"),
    ):
        plain.write_text(text)
        with pytest.raises(DataError, match=said) as raised:
            read(sample)
        assert "\n" not in raised.value.message
