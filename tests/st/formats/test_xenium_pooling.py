from __future__ import annotations

import logging
import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import xenium as layout
from pyarrow import parquet

from hypergene.errors import DataError
from hypergene.st.formats import xenium, xenium_columns, xenium_pooling

NONE = pa.array([], pa.float32())


def squares_of(adata) -> dict[tuple[int, int], dict[str, int]]:
    """Counts by square and gene, zeros left out."""
    found = {}
    for row, column, counts in zip(
        adata.obs["array_row"], adata.obs["array_col"], adata.X.toarray(), strict=True
    ):
        genes = np.flatnonzero(counts)
        found[row, column] = {adata.var_names[i]: int(counts[i]) for i in genes}
    return found


def test_squares_stand_where_they_stand_whatever_was_measured(tmp_path):
    adata = xenium.read(layout.write_run(tmp_path))
    assert squares_of(adata) == {(0, 0): {"ERBB2": 2}, (0, 1): {"KRT8": 1}, (2, 1): {"KRT8": 1}}
    centres_um = [[27.5, 27.5], [82.5, 27.5], [82.5, 137.5]]
    np.testing.assert_allclose(adata.obsm["spatial"] * 0.2125, centres_um)


def test_the_side_is_55_um_unless_another_is_asked_for_and_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    outs = layout.write_run(tmp_path)
    assert xenium.read(outs).uns["hypergene"]["layout"]["name"] == "xenium-55"
    assert "squares of 55 µm (the default); 2 genes measured" in caplog.text
    adata = xenium.read(outs, spot_um=100)
    assert adata.uns["hypergene"]["layout"]["pitch_um"] == 100
    assert squares_of(adata) == {(0, 0): {"ERBB2": 2, "KRT8": 1}, (1, 0): {"KRT8": 1}}


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(
            st.floats(-200, 500, width=32),
            st.floats(-200, 500, width=32),
            st.sampled_from(["ERBB2", "KRT8", "DCN"]),
        ),
        min_size=1,
        max_size=60,
    ),
    side_um=st.sampled_from([1.0, 8.0, 55.0, 100.0]),
    rows=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_counts_do_not_depend_on_the_order_nor_on_the_batches(
    points, side_um, rows, seed, tmp_path_factory
):
    x, y, feature = zip(*points, strict=True)
    expected: dict[tuple[int, int, str], int] = {}
    for a, b, gene in points:
        key = (math.floor(b / side_um), math.floor(a / side_um), gene)
        expected[key] = expected.get(key, 0) + 1
    order = np.random.default_rng(seed).permutation(len(points))
    path = tmp_path_factory.mktemp("run") / "transcripts.parquet"
    table = pa.table(
        {"feature_name": feature, "x_location": x, "y_location": y, "qv": [20] * len(x)}
    )
    parquet.write_table(table.take(pa.array(order)), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xenium_columns, "_BATCH_ROWS", rows)
        patch.setattr(xenium_pooling, "_FEW_KEYS", 3)
        pooled = xenium_pooling.pool_transcripts(path, side_um, None)
    at, gene = pooled.counts.nonzero()
    found = {
        (int(pooled.row[i]), int(pooled.column[i]), pooled.genes[j]): int(pooled.counts[i, j])
        for i, j in zip(at, gene, strict=True)
    }
    assert found == expected
    assert pooled.genes == sorted(set(feature))
    assert list(zip(pooled.row, pooled.column, strict=True)) == sorted(
        {(r, c) for r, c, _ in expected}
    )


def test_squares_before_the_origin_keep_their_place_and_get_numbers_from_0(tmp_path):
    adata = xenium.read(
        layout.write_run(tmp_path, x=(-60.0, 10.0, 20.0, 70.0), y=(-1.0, 10.0, 10.0, 10.0))
    )
    assert squares_of(adata) == {
        (0, 0): {"ERBB2": 1},
        (1, 2): {"ERBB2": 1, "KRT8": 1},
        (1, 3): {"KRT8": 1},
    }
    np.testing.assert_allclose(adata.obsm["spatial"][0] * 0.2125, [-82.5, -27.5])


def test_one_square_of_one_gene_is_enough(tmp_path):
    adata = xenium.read(layout.write_run(tmp_path, feature=["A"], x=[1.0], y=[1.0], qv=[20.0]))
    assert squares_of(adata) == {(0, 0): {"A": 1}}
    assert adata.uns["hypergene"]["pitch_px"] == pytest.approx(55 / 0.2125)


def test_memory_follows_squares_and_genes_not_transcripts(tmp_path, monkeypatch):
    monkeypatch.setattr(xenium_columns, "_BATCH_ROWS", 5_000)
    monkeypatch.setattr(xenium_pooling, "_FEW_KEYS", 10_000)
    rng = np.random.default_rng(0)
    peaks = []
    for number in (50_000, 400_000):
        path = tmp_path / f"{number}.parquet"
        columns = {name: rng.uniform(0, 300, number) for name in ("x_location", "y_location")}
        columns |= {"qv": np.full(number, 30.0), "feature_name": np.repeat("ERBB2", number)}
        parquet.write_table(pa.table(columns), path)
        tracemalloc.start()
        pooled = xenium_pooling.pool_transcripts(path, 55, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert pooled.counts.sum() == number
    assert peaks[1] < 1.5 * peaks[0]


NAMES = ("ERBB2", "BLANK_1", "KRT8", "NegControlProbe_1")
RULES: dict[str, tuple[dict, set[str]]] = {
    # Each rule is given names that the next one would decide otherwise.
    "is_gene": (
        {
            "is_gene": [True, True, False, False],
            "codeword_category": ["predesigned_gene"] * 4,
            "panel": layout.panel_of("ERBB2", "BLANK_1"),
        },
        {"ERBB2", "BLANK_1"},
    ),
    "codeword_category": (
        {
            "codeword_category": [
                *("custom_gene", "predesigned_gene"),
                *("genomic_control_probe", "negative_control_probe"),
            ],
            "panel": layout.panel_of("ERBB2"),
        },
        {"ERBB2", "BLANK_1"},
    ),
    "gene_panel.json": ({"panel": layout.panel_of("BLANK_1", controls=("KRT8",))}, {"BLANK_1"}),
    "the prefixes of names": ({}, {"ERBB2", "KRT8"}),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_best_statement_of_what_is_a_gene_wins(rule, tmp_path):
    columns, genes = RULES[rule]
    adata = xenium.read(layout.write_run(tmp_path, feature=NAMES, **columns))
    assert set(adata.var_names[np.asarray(adata.X.sum(axis=0)).ravel() > 0]) == genes
    assert f"(by {rule})" in adata.uns["hypergene"]["counts_from"]
    assert adata.uns["hypergene"]["pooled"]["not_genes"] == 4 - len(genes)


def test_names_of_controls_are_told_by_their_whole_prefix(tmp_path):
    genes = ("BLANK", "ANTISENSE1", "NegControl", "Blank_1")
    features = (*genes, *layout.CONTROLS)
    n = len(features)
    outs = layout.write_run(tmp_path, feature=features, x=[1.0] * n, y=[1.0] * n, qv=[20.0] * n)
    assert set(xenium.read(outs).var_names) == set(genes)


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string(), pa.large_binary()])
def test_names_are_text_whether_stored_as_text_or_bytes(kind, tmp_path):
    names = pa.array(NAMES).cast(pa.binary()).cast(kind)
    adata = xenium.read(layout.write_run(tmp_path, feature_name=names))
    assert list(adata.var_names) == ["ERBB2", "KRT8"]


def test_a_transcript_counts_from_a_quality_of_20(tmp_path):
    adata = xenium.read(layout.write_run(tmp_path, qv=(20.0, 19.999, 40.0, 0.0)))
    assert squares_of(adata) == {(0, 0): {"ERBB2": 1}, (0, 1): {"KRT8": 1}}
    assert adata.uns["hypergene"]["pooled"]["low_quality"] == 2


def test_all_genes_measured_are_there_also_those_without_a_count(tmp_path):
    seen = xenium.read(layout.write_run(tmp_path / "a", qv=(40.0, 40.0, 1.0, 1.0)))
    assert list(seen.var_names) == ["ERBB2", "KRT8"]
    assert np.asarray(seen.X.sum(axis=0)).ravel().tolist() == [2, 0]
    panel = layout.panel_of("ZZZ3", "KRT8", "ERBB2", controls=("BLANK_1",))
    listed = xenium.read(layout.write_run(tmp_path / "b", panel=panel))
    assert list(listed.var_names) == ["ZZZ3", "KRT8", "ERBB2"]
    assert list(listed.var["gene_ids"]) == ["EZZZ3", "EKRT8", "EERBB2"]
    assert np.asarray(listed.X.sum(axis=0)).ravel().tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"qv": None}, r"no column qv \(found: feature_name, x_location, y_location\)"),
        ({"x_location": list("abcd")}, "holds string in the column x_location, where numbers"),
        ({"feature": (1, 2, 3, 4)}, "holds int64 in the column feature_name, where text"),
        ({"is_gene": ["yes"] * 4}, "holds string in the column is_gene, where flags"),
        ({"is_gene": [True, None, True, True]}, r"column is_gene \(at least 1\)"),
        ({"x_location": [1.0, math.nan, 1.0, math.nan]}, r"column x_location \(at least 2\)"),
        ({"y_location": [1.0, math.inf, 1.0, 1.0]}, r"column y_location \(at least 1\)"),
        ({"qv": [None, 1.0, 1.0, 1.0]}, r"column qv \(at least 1\)"),
        ({"feature": ["A", None, "B", "C"]}, r"column feature_name \(at least 1\)"),
        ({"feature": ["A", " ", "", "C"]}, r"column feature_name \(at least 2\)"),
        ({"feature": [b"A", b"\xff", b"B", b"C"]}, "in the column feature_name that are not UTF-8"),
        ({"x_location": [1.0, -2e5, 1.0, 1.0]}, r"a coordinate of -2e\+05 µm, which is off any"),
        ({"qv": [1.0] * 4}, "of 4, 4 have a qv below 20 and 0 of the others are no genes"),
        ({"feature": ["BLANK_1"] * 4, "qv": [1.0, 30, 30, 30]}, "1 have a qv .* and 3 of the oth"),
        ({"feature_name": NONE.cast("string"), "x": NONE, "y": NONE, "qv": NONE}, "of 0, 0 have"),
    ],
)  # fmt: skip
def test_damaged_transcripts_are_one_sentence_with_the_file(columns, said, tmp_path):
    outs = layout.write_run(tmp_path, **columns)
    with pytest.raises(DataError, match=said) as raised:
        xenium.read(outs)
    assert str(outs / "transcripts.parquet") in raised.value.message
    assert raised.value.hint


def test_too_many_names_are_no_panel(tmp_path, monkeypatch):
    monkeypatch.setattr(xenium_pooling, "_MOST_FEATURES", 1)
    with pytest.raises(DataError, match="more than 1 different feature names"):
        xenium.read(layout.write_run(tmp_path))
