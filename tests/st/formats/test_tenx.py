from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts.made import IDS, SYMBOLS, made_section
from layouts.spaceranger import (
    all_spots,
    made_spots,
    write_h5,
    write_mtx,
    write_v2_h5,
)
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st.formats import tenx
from hypergene.st.formats.tenx import TenxMatrix, as_text, open_matrix

BARCODES, XY_PX = all_spots(made_spots())
COUNTS = made_section().draw(XY_PX)
H5 = "filtered_feature_bc_matrix.h5"
KINDS = ["Gene Expression"] * 18 + ["Antibody Capture", "CRISPR Guide Capture"]


def _h5(folder: Path) -> Path:
    return write_h5(folder / H5, COUNTS, BARCODES)


def _v2_h5(folder: Path) -> Path:
    return write_v2_h5(folder / H5, COUNTS, BARCODES)


def _mtx(folder: Path) -> Path:
    return write_mtx(folder, COUNTS, BARCODES) / "matrix.mtx.gz"


def _v2_mtx(folder: Path) -> Path:
    return write_mtx(folder, COUNTS, BARCODES, version=2) / "matrix.mtx"


def _prefixed_mtx(folder: Path) -> Path:
    return write_mtx(folder, COUNTS, BARCODES, prefix="GSM1_a_") / "GSM1_a_matrix.mtx.gz"


KNOWN = pytest.mark.parametrize("write", [_h5, _v2_h5, _mtx, _v2_mtx, _prefixed_mtx])


@KNOWN
def test_every_layout_holds_the_same_matrix(tmp_path, write):
    matrix = open_matrix(write(tmp_path))
    assert as_text(matrix.barcodes) == BARCODES
    assert matrix.symbols == list(SYMBOLS)
    assert matrix.ids == list(IDS)
    assert matrix.left_out == {}
    counts = matrix.counts()
    assert counts.dtype == np.int32
    assert counts.has_sorted_indices
    np.testing.assert_array_equal(counts.toarray(), COUNTS.toarray())


@KNOWN
def test_a_matrix_is_the_same_in_small_blocks(tmp_path, write, monkeypatch):
    matrix = open_matrix(write(tmp_path))
    monkeypatch.setattr(tenx, "_BLOCK", 50)
    assert len(list(matrix.blocks())) > 5
    np.testing.assert_array_equal(matrix.counts().toarray(), COUNTS.toarray())


@pytest.fixture(scope="module")
def scanpy():
    return pytest.importorskip("scanpy")


def test_scanpy_reads_the_same_from_hdf5_and_from_matrix_market(tmp_path, scanpy):
    theirs = (
        scanpy.read_10x_h5(_h5(tmp_path / "3")),
        scanpy.read_10x_h5(_v2_h5(tmp_path / "2")),
        scanpy.read_10x_mtx(_mtx(tmp_path / "mtx").parent),
        scanpy.read_10x_mtx(_v2_mtx(tmp_path / "plain").parent),
    )
    ours = open_matrix(tmp_path / "3" / H5)
    for adata in theirs:
        assert list(adata.obs_names) == as_text(ours.barcodes)
        assert list(adata.var_names) == ours.symbols
        assert list(adata.var["gene_ids"]) == ours.ids
        np.testing.assert_array_equal(adata.X.toarray(), ours.counts().toarray())


@pytest.mark.parametrize("kind", ["h5", "mtx"])
def test_only_gene_expression_is_kept_and_the_rest_is_counted(tmp_path, kind):
    if kind == "h5":
        path = write_h5(tmp_path / H5, COUNTS, BARCODES, kinds=KINDS)
    else:
        path = write_mtx(tmp_path, COUNTS, BARCODES, kinds=KINDS) / "matrix.mtx.gz"
    matrix = open_matrix(path)
    assert matrix.symbols == list(SYMBOLS[:18])
    assert matrix.left_out == {"Antibody Capture": 1, "CRISPR Guide Capture": 1}
    assert matrix.left_out_text() == "1 Antibody Capture, 1 CRISPR Guide Capture"
    np.testing.assert_array_equal(matrix.counts().toarray(), COUNTS.toarray()[:, :18])


def test_deprecated_probes_stay_as_they_are(tmp_path):
    ids = [*IDS[:-1], "DEPRECATED_ENSG00000141755"]
    matrix = open_matrix(write_h5(tmp_path / H5, COUNTS, BARCODES, ids=ids))
    assert matrix.ids == ids
    assert matrix.left_out == {}


def test_texts_of_variable_length_are_read_too(tmp_path):
    path = _h5(tmp_path)
    with h5py.File(path, "r+") as file:
        for name, texts in (("barcodes", BARCODES), ("features/id", IDS)):
            del file["matrix"][name]
            file["matrix"].create_dataset(name, data=list(texts), dtype=h5py.string_dtype())
    matrix = open_matrix(path)
    assert as_text(matrix.barcodes) == BARCODES
    assert matrix.ids == list(IDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> TenxMatrix:
    return open_matrix(_h5(tmp_path_factory.mktemp("whole")))


@settings(deadline=None, max_examples=30)
@given(group=st.lists(st.integers(-1, 6), min_size=len(BARCODES), max_size=len(BARCODES)))
def test_groups_of_barcodes_are_summed_and_minus_one_is_left_out(whole, group):
    group = np.array(group)
    summed = whole.summed(group, 7).toarray()
    for number in range(7):
        expected = COUNTS.toarray()[group == number].sum(axis=0)
        np.testing.assert_array_equal(summed[number], expected)


def _sentence(path: Path, match: str) -> DataError:
    with pytest.raises(DataError, match=match) as raised:
        open_matrix(path).counts()
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize(
    "name",
    [
        *("barcodes", "data", "indices", "indptr", "shape"),
        *("features/id", "features/name", "features/feature_type"),
    ],
)
def test_a_missing_dataset_is_named(tmp_path, name):
    path = _h5(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["matrix"][name]
    _sentence(path, f"has no dataset /matrix/{name}")


def _change(path: Path, name: str, values: np.ndarray) -> None:
    with h5py.File(path, "r+") as file:
        del file["matrix"][name]
        file["matrix"][name] = values


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("shape", lambda v: v + 1, r"says that it is 21 x 36 .* but has 20 ids"),
        ("shape", lambda v: v[::-1], r"says that it is 35 x 20"),
        ("shape", lambda v: v[:1], r"says that it is 20 \(features"),
        ("shape", lambda v: v.astype(float), r"no integers in /matrix/shape"),
        ("barcodes", lambda v: v[1:], r"and 34 barcodes"),
        ("features/id", lambda v: v[1:], r"has 19 ids, 20 names"),
        ("features/name", lambda v: v[1:], r"20 ids, 19 names"),
        ("features/feature_type", lambda v: v[1:], r"19 types"),
        ("features/id", lambda v: np.arange(20), r"cannot be read as a 10x count matrix"),
        ("indptr", lambda v: v[:-1], r"indptr that does not divide its"),
        ("indptr", lambda v: v + 1, r"indptr that does not divide its"),
        ("indptr", lambda v: v[::-1], r"indptr that does not divide its"),
        ("indptr", lambda v: v.astype(float), r"no integers in /matrix/indptr"),
        ("indptr", lambda v: v.reshape(-1, 1), r"of shape \(36, 1\)"),
        ("data", lambda v: v[:-1], r"does not divide its \d+ values and"),
        ("indices", lambda v: v[:-1], r"does not divide its \d+ values and"),
        ("indices", lambda v: v + 1, r"no valid sparse matrix"),
        ("indices", lambda v: v - 1, r"no valid sparse matrix"),
        ("indices", lambda v: v * 2**33, r"no valid sparse matrix"),
        ("indices", lambda v: v.astype(float), r"no integers in /matrix/indices"),
        ("data", lambda v: -v, r"negative values"),
        ("data", lambda v: v + 0.5, r"not integers"),
        ("data", lambda v: v * np.nan, r"NaN or infinite"),
        ("data", lambda v: v * np.inf, r"NaN or infinite"),
        ("data", lambda v: v.astype(np.int64) * 10**9, r"too large for a count"),
        ("data", lambda v: v.astype("S"), r"holds no numbers|cannot be read"),
    ],
)
def test_damaged_hdf5_is_one_sentence_with_the_file(tmp_path, name, change, said):
    path = _h5(tmp_path)
    with h5py.File(path, "r") as file:
        values = file["matrix"][name][()]
    _change(path, name, change(values))
    _sentence(path, said)


def test_a_sum_beyond_32_bits_is_an_error_not_a_negative_count(tmp_path):
    counts = sparse.csr_matrix(np.full((3, 2), 2**31 - 1, dtype=np.int32))
    path = write_h5(tmp_path / H5, counts, ["a-1", "b-1", "c-1"], symbols=["A", "B"], ids=IDS[:2])
    matrix = open_matrix(path)
    assert matrix.counts().max() == 2**31 - 1
    with pytest.raises(DataError, match="too large for counts"):
        matrix.summed(np.array([0, -1, 0]), 1)


def test_an_array_that_claims_more_than_its_bytes_can_hold_is_not_allocated(tmp_path):
    path = _h5(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["matrix/indptr"]
        file["matrix"].create_dataset("indptr", shape=(10**12,), dtype="i8", chunks=(1024,))
    _sentence(path, r"/matrix/indptr of shape \(1000000000000,\) in 0 bytes")


def test_several_genomes_are_named_and_none_is_guessed(tmp_path):
    path = _v2_h5(tmp_path)
    write_v2_h5(path, COUNTS, BARCODES, genome="mm10")
    _sentence(path, r"one matrix a genome \(GRCh38, mm10\)")


def test_hdf5_of_another_kind_says_what_it_holds(tmp_path):
    path = tmp_path / "molecule_info.h5"
    with h5py.File(path, "w") as file:
        file["barcode_idx"] = np.arange(3)
        file["umi"] = np.arange(3)
    error = _sentence(path, r"no 10x count matrix: .* \(found: barcode_idx, umi\)")
    assert H5 in str(error.hint)


def test_a_matrix_without_genes_or_barcodes_says_what_it_has(tmp_path):
    only = write_h5(tmp_path / "a.h5", COUNTS, BARCODES, kinds=["Antibody Capture"] * 20)
    _sentence(only, r"no features of type 'Gene Expression' \(found: 20 Antibody Capture\)")
    _sentence(write_h5(tmp_path / "b.h5", COUNTS[:0], []), r"has no barcodes")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"not HDF5 at all", "cannot be read"), (None, "There is no file")],
)
def test_what_is_no_hdf5_is_one_sentence(tmp_path, content, said):
    path = tmp_path / H5
    if content is not None:
        path.write_bytes(content)
    _sentence(path, said)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_hdf5_is_one_sentence(tmp_path, share):
    path = _h5(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _sentence(path, "cannot be read")


@pytest.mark.parametrize("name", ["barcodes.tsv.gz", "features.tsv.gz"])
def test_a_missing_part_of_a_matrix_market_folder_is_named(tmp_path, name):
    path = _mtx(tmp_path)
    (tmp_path / name).unlink()
    _sentence(path, rf"There is no {name} or .* beside")


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "binary"])
def test_a_damaged_part_of_a_matrix_market_folder_is_named(tmp_path, name, damage):
    path = _mtx(tmp_path)
    part = tmp_path / name
    whole = part.read_bytes()
    part.write_bytes(
        {"empty": b"", "truncated": whole[: len(whole) // 2], "binary": b"\xff\x00\xfe"}[damage]
    )
    with pytest.raises(DataError, match=r"empty|truncated|UTF-8|NUL|cannot be read") as raised:
        open_matrix(path).counts()
    assert str(part) in raised.value.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("%%MatrixMarket", "%MatrixMarket", r"no Matrix Market file of counts: it begins with"),
        ("coordinate integer", "array integer", r"no Matrix Market file of counts"),
        ("integer general", "pattern general", r"no Matrix Market file of counts"),
        ("integer general", "integer symmetric", r"no Matrix Market file of counts"),
        ("20 35 ", "35 20 ", r"35 features x 20 barcodes, but .*features.* 20 .*barcodes.* 35"),
        ("20 35 ", "20 ", r"does not say how many"),
        ("20 35 ", "20 35 -", r"does not say how many"),
        ("\n1 1 ", "\n1 1 1\n1 1 ", r"holds \d+ values, but its header says \d+"),
        ("\n1 1 ", "\n0 1 ", r"cannot be read .* negative"),
        ("\n1 1 ", "\n1 36 ", r"cannot be read .* index 35 exceeds"),
        ("\n1 1 ", "\n21 1 ", r"cannot be read .* index 20 exceeds"),
        ("\n1 1 ", "\n1.5 1 ", r"cannot be read"),
        ("\n1 1 ", "\nx 1 ", r"cannot be read"),
        ("\n1 1 ", "\n1,1,", r"cannot be read"),
        ("\n1 1 ", "\n1 1 1 ", r"cannot be read .* 4 numbers"),
        ("\n1 2 ", "\n1 2 2 ", r"cannot be read"),
        ("\n1 1 ", "\n1 1 -", r"negative values"),
        ("\n1 1 ", "\n1 1 0.", r"not integers"),
        ("\n1 1 ", "\n1 1 nan\n1 1 ", r"NaN|header says"),
        ("\n1 1 ", "\n1 1 9999999999", r"too large"),
    ],
)
def test_damaged_values_of_matrix_market_are_one_sentence(tmp_path, old, new, said):
    path = _mtx(tmp_path)
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1).encode()))
    _sentence(path, said)


def test_a_matrix_market_file_cut_between_lines_is_noticed(tmp_path):
    path = _v2_mtx(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    _sentence(path, r"holds \d+ values, but its header says \d+")


def test_a_matrix_market_file_without_values_has_no_counts(tmp_path):
    empty = sparse.csr_matrix(COUNTS.shape, dtype=np.int32)
    matrix = open_matrix(write_mtx(tmp_path, empty, BARCODES) / "matrix.mtx.gz")
    assert matrix.counts().nnz == 0
    assert matrix.counts().shape == COUNTS.shape


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("\t", ","), r"no gene name on line 1: .* by commas"),
        (lambda text: text.replace("\tGRB7\tGene Expression", "\tGRB7"), r"no type on line 2"),
        (lambda text: text.replace("\tGRB7", "\t"), r"no gene name on line 2"),
        (lambda text: text.replace("\tGRB7\tGene Expression", ""), r"no gene name on line 2"),
    ],
)
def test_damaged_features_name_the_line(tmp_path, change, said):
    path = _mtx(tmp_path)
    features = tmp_path / "features.tsv.gz"
    text = gzip.decompress(features.read_bytes()).decode()
    features.write_bytes(gzip.compress(change(text).encode()))
    with pytest.raises(DataError, match=said) as raised:
        open_matrix(path)
    assert str(features) in raised.value.message
