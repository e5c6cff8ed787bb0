from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st import log1p_cp10k
from hypergene.st.normalise import check_counts

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
