"""Metrics from sums over blocks are the metrics of the spots that were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.evaluation.metrics import METRICS, SCALED, score_slide
from hypergene.evaluation.moments import BlockMoments

seeds = st.integers(0, 2**32 - 1)


def slide(seed: int, spots: int = 60, genes: int = 5, blocks: int = 7):
    rng = np.random.default_rng(seed)
    truth = np.log1p(rng.poisson(2, (spots, genes)).astype(float))
    depth = rng.normal(6, 1, spots)
    mean = 0.5 * truth + rng.normal(size=truth.shape) + 0.3 * depth[:, None]
    return truth, mean, depth, np.arange(spots) % blocks


@given(seeds)
def test_with_each_block_once_they_are_the_metrics_of_the_slide(seed):
    truth, mean, depth, blocks = slide(seed)
    found = BlockMoments(truth, mean, depth, blocks).metrics(np.ones((1, 7)))
    expected = score_slide(truth, mean, list("abcde"), depth)
    for name in METRICS:
        np.testing.assert_allclose(found[name][0], expected[name], atol=1e-9, err_msg=name)


@given(seeds)
def test_blocks_drawn_twice_count_as_spots_that_are_there_twice(seed):
    truth, mean, depth, blocks = slide(seed)
    weights = np.array([2, 0, 1, 3, 0, 1, 0])
    found = BlockMoments(truth, mean, depth, blocks).metrics(weights[None])
    rows = np.repeat(np.arange(len(truth)), weights[blocks])
    expected = score_slide(truth[rows], mean[rows], list("abcde"), depth[rows])
    for name in ("pearson", "pearson_beyond_depth", *SCALED):
        np.testing.assert_allclose(found[name][0], expected[name], atol=1e-8, err_msg=name)


def test_silence_counts_as_0_and_a_gene_that_does_not_vary_counts_as_nothing():
    truth, mean, depth, blocks = slide(0)
    mean[:, 0] = 2.0
    truth[:, 1] = 0.0
    found = BlockMoments(truth, mean, depth, blocks).metrics(np.ones((1, 7)))
    for name in ("pearson", "spearman", "pearson_beyond_depth", "spearman_beyond_depth"):
        assert found[name][0, 0] == 0
        assert np.isnan(found[name][0, 1])
    assert np.isnan(found["r2"][0, 1])
    assert found["mse"][0, 1] == pytest.approx((mean[:, 1] ** 2).mean())
