from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from hypergene.evaluation import noise_ceiling, pearson_per_gene
from hypergene.st import log1p_cp10k


def section(seed: int, depth: float, spots: int = 400):
    """Poisson counts of 30 genes, and what they would be on average over many measurements."""
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(0, 0.7, (spots, 30)))
    rates *= depth / rates.sum(axis=1, keepdims=True)
    repeats = [log1p_cp10k(rng.poisson(rates)).toarray() for _ in range(30)]
    return rng.poisson(rates), np.mean(repeats, axis=0)


@pytest.mark.parametrize("depth", [50, 100, 300, 1000])
def test_the_best_possible_prediction_scores_about_the_ceiling(depth):
    counts, best = section(0, depth)
    reached = pearson_per_gene(log1p_cp10k(counts).toarray(), best).mean()
    # How far it errs, and where, is said in the docstring.
    assert (
        reached - 0.04 < np.mean(noise_ceiling(counts)) < reached + (0.11 if depth <= 100 else 0.04)
    )


def test_more_depth_raises_the_ceiling():
    shallow, deep = (np.mean(noise_ceiling(section(1, depth)[0])) for depth in (50, 5000))
    assert 0 < shallow < deep < 1
    assert deep > 0.95


def test_noise_alone_has_a_ceiling_near_zero():
    counts = np.random.default_rng(0).poisson(5, (2000, 20))
    # Dividing by the same total leaves a trace of correlation, which is no signal.
    assert np.mean(noise_ceiling(counts)) < 0.25


def test_genes_asked_for_get_what_they_get_among_all():
    counts = sparse.csr_matrix(section(2, 300)[0])
    some = noise_ceiling(counts, [7, 3], seed=5)
    np.testing.assert_array_equal(some, noise_ceiling(counts, seed=5)[[7, 3]])


def test_the_seed_decides():
    counts = section(3, 300)[0]
    np.testing.assert_array_equal(noise_ceiling(counts, seed=1), noise_ceiling(counts, seed=1))
    assert (noise_ceiling(counts, seed=1) != noise_ceiling(counts, seed=2)).any()


def test_a_gene_never_counted_has_none_and_a_gene_counted_once_has_zero():
    counts = np.zeros((5, 3), dtype=int)
    counts[:, 0] = [10, 200, 30, 4, 50]
    counts[0, 1] = 1
    ceiling = noise_ceiling(counts)
    assert np.isnan(ceiling[2])
    assert ceiling[1] == 0


def test_what_is_no_count_is_refused():
    for bad in ([[0.5, 1]], [[-1, 1]]):
        with pytest.raises(ValueError, match="whole"):
            noise_ceiling(bad)
    with pytest.raises(ValueError, match="splits"):
        noise_ceiling([[1, 2]], splits=0)
