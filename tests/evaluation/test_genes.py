from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hypergene.evaluation import GeneMoments, expressed, gene_sets, most_variable


def test_one_of_ten_spots_is_enough_and_one_of_eleven_is_not():
    values = np.zeros((10, 2))
    values[0, 0] = 1
    assert expressed(values).tolist() == [True, False]
    assert expressed(np.vstack([values, np.zeros((1, 2))])).tolist() == [False, False]


@given(st.integers(0, 2**32 - 1))
def test_variance_is_that_of_the_pooled_spots_dense_or_sparse(seed):
    rng = np.random.default_rng(seed)
    values = np.log1p(rng.poisson(1, (30, 20))).astype(np.float32)
    among = expressed(values)
    expected = sorted(np.flatnonzero(among), key=lambda g: -values[:, g].astype(float).var())[:5]
    for form in (values, sparse.csr_matrix(values)):
        chosen = most_variable(form, 5, among)
        np.testing.assert_allclose(values[:, chosen].var(0), values[:, expected].var(0), rtol=1e-4)


def test_equal_variances_are_ordered_by_column():
    assert most_variable(np.tile([[0.0], [1.0]], (1, 4)), 3).tolist() == [0, 1, 2]


def test_a_variable_gene_that_is_hardly_detected_is_not_chosen():
    values = np.ones((20, 3))
    values[:10, 1] = 2
    values[:, 2] = 0
    values[0, 2] = 50
    sets = gene_sets(values, ["flat", "good", "rare"])
    assert sets["expressed"] == ["flat", "good"]
    assert sets["HVG-50"] == ["good", "flat"] == sets["HVG-250"]


def test_sets_are_nested_and_of_their_size():
    rng = np.random.default_rng(0)
    values = np.log1p(rng.poisson(rng.gamma(1, 2, 400), (50, 400)))
    sets = gene_sets(values, [f"g{i}" for i in range(400)])
    assert [len(sets[name]) for name in ("HVG-50", "HVG-250")] == [50, 250]
    assert set(sets["HVG-50"]) < set(sets["HVG-250"]) < set(sets["expressed"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_slides_added_one_by_one_choose_as_all_of_them_pooled(seed, cut):
    rng = np.random.default_rng(seed)
    values = np.log1p(rng.poisson(rng.gamma(0.5, 1, 40), (30, 40)))
    names = [f"g{i}" for i in range(40)]
    moments = GeneMoments.of(values[:cut]) + GeneMoments.of(values[cut:])
    assert gene_sets(moments, names)["expressed"] == gene_sets(values, names)["expressed"]
    np.testing.assert_allclose(moments.variance, values.var(0), atol=1e-12)


def test_a_gene_that_a_slide_did_not_measure_is_judged_by_the_others():
    shown, hidden = np.tile([[1.0, 2.0], [0.0, 2.0]], (5, 1)), np.zeros((90, 2))
    hidden[:, 1] = 1
    moments = GeneMoments.of(shown) + GeneMoments.of(hidden, np.array([False, True]))
    assert moments.spots.tolist() == [10, 100]
    assert expressed(moments, min_share=0.3).tolist() == [True, True]
    assert moments.variance[0] == pytest.approx(0.25)
    nobody = GeneMoments.of(hidden, np.array([False, True]))
    assert expressed(nobody).tolist() == [False, True]


def test_no_spots_or_wrong_names_are_refused():
    with pytest.raises(ValueError, match="training spots"):
        expressed(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="2 gene names for 3"):
        gene_sets(np.ones((4, 3)), ["a", "b"])
