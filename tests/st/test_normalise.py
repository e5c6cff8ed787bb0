from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st import log1p_cp10k
from hypergene.st.normalise import check_counts, kind_of_values

counts = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(0, 1000)
)


def test_a_known_spot_has_the_known_values():
    values = log1p_cp10k([[1, 3, 0]]).toarray()
    np.testing.assert_allclose(values, np.log1p([[2500, 7500, 0]]), rtol=1e-6)


@given(counts)
def test_every_spot_with_counts_sums_to_ten_thousand(matrix):
    values = log1p_cp10k(sparse.csr_matrix(matrix))
    assert values.dtype == np.float32
    assert values.format == "csr"
    sums = np.expm1(values.toarray().astype(float)).sum(axis=1)
    np.testing.assert_allclose(sums, np.where(matrix.sum(axis=1) > 0, 1e4, 0), rtol=1e-4)


@given(counts, st.integers(2, 9))
def test_depth_alone_changes_nothing(matrix, times):
    np.testing.assert_allclose(
        log1p_cp10k(matrix * times).toarray(), log1p_cp10k(matrix).toarray(), rtol=1e-6
    )


def test_stored_zeros_of_an_empty_spot_stay_zero_without_a_warning():
    empty = sparse.csr_matrix((np.zeros(1), [0], [0, 1]), shape=(1, 2))
    with np.errstate(all="raise"):
        assert log1p_cp10k(empty).toarray().tolist() == [[0, 0]]


def test_the_input_is_left_as_it_was():
    matrix = sparse.csr_matrix(np.array([[1.0, 2.0]]))
    log1p_cp10k(matrix)
    check_counts(matrix, "x")
    assert matrix.toarray().tolist() == [[1, 2]]


@given(counts)
def test_whole_floats_pass_as_the_same_integers(matrix):
    checked = check_counts(matrix.astype(np.float64), "x")
    assert checked.dtype == np.int32
    np.testing.assert_array_equal(checked.toarray(), matrix)
    assert (checked.data != 0).all()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.5, "not integers"), (-1, "negative"), (np.nan, "NaN"), (np.inf, "inf"), (3e9, "large")],
)
def test_what_is_no_count_is_refused_by_name(value, said):
    with pytest.raises(DataError, match=said) as raised:
        check_counts(sparse.csr_matrix(np.array([[1.0, value]])), "the file")
    assert "the file" in raised.value.message


def test_text_is_no_count():
    with pytest.raises(DataError, match="no numbers"):
        check_counts(np.array([["a", "b"]], dtype=object), "the file")


def test_indices_that_point_outside_are_refused_before_anything_follows_them():
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 70_000
    with pytest.raises(DataError, match="the file is no valid sparse matrix") as raised:
        check_counts(matrix, "the file")
    assert "damaged" in str(raised.value.hint)


def test_sums_of_duplicates_do_not_overflow():
    big = np.iinfo(np.int32).max
    twice = sparse.csr_matrix((np.array([big, big], np.int32), [0, 0], [0, 2]), shape=(1, 1))
    with pytest.raises(DataError, match="too large"):
        check_counts(twice, "the file")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint64, bool, object])
def test_any_type_of_number_will_do(kind):
    checked = check_counts(np.array([[1, 0, 1]]).astype(kind), "x")
    assert checked.dtype == np.int32
    assert checked.toarray().tolist() == [[1, 0, 1]]


@pytest.fixture(scope="module")
def measured() -> np.ndarray:
    """Counts of 60 spots of different depth and 400 genes, most of them 0."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 3, (60, 1))
    return rng.poisson(rng.gamma(0.3, 2, 400) * depth).astype(float)


def per_10_000(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * 1e4


def z_scores(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)


FEW = slice(None, 60)


@pytest.mark.parametrize(
    ("made", "code", "said"),
    [
        (lambda c: c, "counts", "counts"),
        (per_10_000, "normalised", "a total of 10,000"),
        (lambda c: per_10_000(c) / 1e4, "normalised", "a total of 1 "),
        (lambda c: per_10_000(c)[:, FEW], "normalised", "one total"),
        (lambda c: log1p_cp10k(c), "log1p_normalised", r"^ln\(1 \+ counts .* of 10,000"),
        (lambda c: log1p_cp10k(c)[:, FEW], "log1p_normalised", r"^ln\(1 \+ .* one total"),
        (lambda c: log1p_cp10k(c).toarray().round(2), "log1p_normalised", "of (9,9|10,0)"),
        (lambda c: np.log1p(per_10_000(c) * 100), "log1p_normalised", "1,000,000"),
        (lambda c: np.log2(1 + per_10_000(c)), "log1p_normalised", "^log2.* of 10,000"),
        (lambda c: np.log10(1 + per_10_000(c)), "log1p_normalised", "^log10.* of 10,000"),
        (lambda c: np.log1p(c), "log1p_counts", r"^ln\(1 \+ counts\)$"),
        (lambda c: np.log2(1 + c), "log1p_counts", r"^log2\(1 \+ counts\)$"),
        (lambda c: z_scores(np.log1p(per_10_000(c))), "scaled", "z-scored"),
        (lambda c: np.log1p(c) - 0.5, "scaled", "partly negative"),
        (lambda c: np.sqrt(c + 0.375), "fractional", "neither"),
        (lambda c: c + 0.5 * (c > 0), "fractional", "neither"),
    ],
)  # fmt: skip
def test_what_has_been_made_of_counts_is_recognised(measured, made, code, said):
    values = made(measured)
    for matrix in (values, sparse.csr_matrix(values), sparse.csc_matrix(values, dtype=np.float32)):
        kind = kind_of_values(matrix)
        assert kind.code == code
        assert re.search(said, kind.text)
    if code != "counts":
        with pytest.raises(DataError) as raised:
            check_counts(values, "the file")
        assert kind_of_values(values).text in raised.value.message


@given(
    arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 99))
)
def test_counts_are_counts_whatever_their_type(matrix):
    assert kind_of_values(matrix).code == "counts"
    assert kind_of_values(matrix.astype(np.float32)).code == "counts"
