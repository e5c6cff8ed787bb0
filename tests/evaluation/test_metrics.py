from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hypergene.evaluation import (
    mae_per_gene,
    mse_per_gene,
    partial_mse_per_gene,
    partial_pearson_per_gene,
    partial_spearman_per_gene,
    pearson_per_gene,
    r2_per_gene,
    score_slide,
    spearman_per_gene,
    summarise,
    variance_distance_per_gene,
)

seeds = st.integers(0, 2**32 - 1)


def two(seed: int, spots: int = 40, genes: int = 6):
    rng = np.random.default_rng(seed)
    truth = np.log1p(rng.poisson(3, (spots, genes)).astype(float))
    return truth, truth + rng.normal(size=truth.shape), rng.normal(size=spots)


@given(seeds)
def test_correlations_are_scipys(seed):
    truth, prediction, _ = two(seed)
    for ours, theirs in ((pearson_per_gene, stats.pearsonr), (spearman_per_gene, stats.spearmanr)):
        expected = [theirs(a, b).statistic for a, b in zip(truth.T, prediction.T, strict=True)]
        np.testing.assert_allclose(ours(truth, prediction), expected, atol=1e-12)


@given(seeds, st.floats(0.01, 100), st.floats(-50, 50))
def test_pearson_ignores_scale_and_level(seed, scale, level):
    truth, prediction, _ = two(seed)
    np.testing.assert_allclose(
        pearson_per_gene(truth, scale * prediction + level),
        pearson_per_gene(truth, prediction),
        atol=1e-6,
    )


@given(seeds)
def test_spearman_ignores_any_rising_change(seed):
    truth, prediction, _ = two(seed)
    np.testing.assert_allclose(
        spearman_per_gene(truth, np.exp(prediction)), spearman_per_gene(truth, prediction)
    )


@given(seeds)
def test_the_partial_correlation_has_the_textbook_value(seed):
    truth, prediction, depth = two(seed)
    prediction = prediction + 2 * depth[:, None]
    truth = truth + depth[:, None]
    for gene, value in enumerate(partial_pearson_per_gene(truth, prediction, depth)):
        r = np.corrcoef([truth[:, gene], prediction[:, gene], depth])
        expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
        assert value == pytest.approx(expected, abs=1e-9)


def test_a_prediction_that_knows_only_depth_has_nothing_left():
    truth, _, depth = two(0)
    prediction = np.outer(depth, np.arange(1, 7)) + 3
    assert np.isfinite(pearson_per_gene(truth, prediction)).all()
    assert np.isnan(partial_pearson_per_gene(truth, prediction, depth)).all()


def test_depth_that_is_the_same_everywhere_changes_nothing():
    truth, prediction, _ = two(0)
    np.testing.assert_allclose(
        partial_pearson_per_gene(truth, prediction, np.full(40, 7.3)),
        pearson_per_gene(truth, prediction),
    )


def test_errors_have_their_textbook_values():
    truth, prediction = np.array([[0.0], [2.0]]), np.array([[1.0], [4.0]])
    assert mse_per_gene(truth, prediction) == [2.5]
    assert mae_per_gene(truth, prediction) == [1.5]
    assert r2_per_gene(truth, prediction) == [1 - 5 / 2]
    assert variance_distance_per_gene(truth, prediction) == [(2.25 - 1) ** 2]


def test_the_variance_distance_of_a_flat_prediction_is_one_and_has_a_floor():
    truth = np.array([[0.0, 0.0], [2.0, 1e-4]])
    distance = variance_distance_per_gene(truth, np.zeros((2, 2)))
    assert distance[0] == 1
    assert distance[1] < 1e-6
    assert variance_distance_per_gene(truth, truth).tolist() == [0, 0]


@pytest.mark.parametrize("level", [0.0, 0.1, 1e3])
def test_no_variance_gives_nan_and_not_a_number_made_of_rounding(level):
    truth, prediction, depth = two(0)
    flat = np.full_like(truth, level)
    for a, b in ((truth, flat), (flat, prediction), (flat, flat)):
        assert np.isnan(pearson_per_gene(a, b)).all()
        assert np.isnan(spearman_per_gene(a, b)).all()
        assert np.isnan(partial_pearson_per_gene(a, b, depth)).all()
    assert np.isnan(r2_per_gene(flat, prediction)).all()
    noise = (flat + 1e-8 * prediction).astype(np.float32)
    assert np.isnan(pearson_per_gene(truth, level + noise * 0)).all()


@given(arrays(np.float64, (5, 3), elements=st.floats(-1e150, 1e150)), seeds)
def test_correlations_stay_within_one_for_any_numbers(prediction, seed):
    truth = two(seed, 5, 3)[0]
    for metric in (pearson_per_gene, spearman_per_gene):
        values = metric(truth, prediction)
        assert (np.isnan(values) | (np.abs(values) <= 1)).all()


def test_malformed_arrays_are_refused():
    truth, prediction, depth = two(0)
    with pytest.raises(ValueError, match="spots, genes"):
        pearson_per_gene(truth, prediction[:-1])
    with pytest.raises(ValueError, match="spots, genes"):
        mse_per_gene(truth[0], prediction[0])
    with pytest.raises(ValueError, match="finite"):
        mse_per_gene(truth, prediction * np.nan)
    with pytest.raises(ValueError, match="log_depth"):
        partial_pearson_per_gene(truth, prediction, depth[:-1])
    with pytest.raises(ValueError, match="unique gene names"):
        score_slide(truth, prediction, ["a"] * 6, depth)


def test_many_genes_are_scored_as_few_are():
    truth, prediction, depth = two(1, 10, 2500)
    scores = score_slide(truth, prediction, [f"g{i}" for i in range(2500)], depth)
    assert scores.shape[0] == 2500
    np.testing.assert_allclose(scores["pearson"], pearson_per_gene(truth, prediction))
    np.testing.assert_allclose(scores["mse"], mse_per_gene(truth, prediction))


def test_a_model_gains_nothing_by_staying_silent_on_a_gene():
    truth, prediction, depth = two(2, genes=2)
    truth[:, 0] = prediction[:, 0]
    prediction[:, 1] = 5
    summary = summarise(score_slide(truth, prediction, ["a", "b"], depth), {"both": ["a", "b"]})
    assert summary.loc["both", "pearson"] == pytest.approx(0.5)
    assert summary.loc["both", "spearman"] == pytest.approx(0.5)
    assert summary.loc["both", "prediction_constant"] == 1
    assert summary.loc["both", "truth_constant"] == 0


def test_genes_that_cannot_be_scored_are_counted_and_do_not_change_the_mean():
    truth, prediction, depth = two(3, genes=3)
    truth[:, 2] = 0
    scores = score_slide(truth, prediction, ["a", "b", "c"], depth)
    summary = summarise(scores, {"some": ["a", "c", "absent"], "none": []})
    assert summary.loc["some", ["genes", "genes_missing", "truth_constant"]].tolist() == [3, 1, 1]
    assert summary.loc["some", "pearson"] == pytest.approx(scores.loc["a", "pearson"])
    assert summary.loc["some", "mse"] == pytest.approx(scores.loc[["a", "c"], "mse"].mean())
    assert summary.loc["none", "genes"] == 0
    assert np.isnan(summary.loc["none", "pearson"])
    assert np.isnan(scores.loc["c", "pearson"])


@given(seeds)
def test_the_partial_rank_correlation_is_the_partial_correlation_of_ranks(seed):
    truth, prediction, depth = two(seed)
    ranks = [stats.rankdata(side, axis=0) for side in (truth, prediction)]
    np.testing.assert_allclose(
        partial_spearman_per_gene(truth, prediction, depth),
        partial_pearson_per_gene(*ranks, stats.rankdata(depth)),
        atol=1e-12,
    )


def test_an_error_of_level_and_depth_is_no_error_beyond_depth():
    truth, _, depth = two(4)
    prediction = truth + 3 - 2 * depth[:, None]
    np.testing.assert_allclose(partial_mse_per_gene(truth, prediction, depth), 0, atol=1e-12)
    noisy = prediction + np.random.default_rng(0).normal(0, 0.5, truth.shape)
    assert (partial_mse_per_gene(truth, noisy, depth) < mse_per_gene(truth, noisy)).all()
    assert partial_mse_per_gene(truth, noisy, depth).mean() == pytest.approx(0.25, abs=0.08)
