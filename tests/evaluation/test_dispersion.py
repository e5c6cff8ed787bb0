"""Dispersion is scanpy's, so that published rules pick the genes that they picked."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.evaluation.dispersion import by_dispersion, normalised_dispersion


@pytest.fixture
def counts() -> np.ndarray:
    rng = np.random.default_rng(0)
    level = rng.lognormal(0, 1.2, 300)
    return rng.negative_binomial(3, 3 / (3 + level), (200, 300)).astype(np.float64)


def test_it_is_scanpys(counts: np.ndarray) -> None:
    scanpy = pytest.importorskip("scanpy")
    anndata = pytest.importorskip("anndata")
    table = scanpy.pp.highly_variable_genes(
        anndata.AnnData(np.log1p(counts)), n_top_genes=50, inplace=False
    )
    found = normalised_dispersion(counts.mean(axis=0), counts.var(axis=0, ddof=1))
    np.testing.assert_allclose(found, table["dispersions_norm"], rtol=1e-4, atol=1e-4)
    # scanpy takes all of those that tie with the last, such as genes alone in their bins.
    picked, theirs = by_dispersion(found, 50), np.flatnonzero(table["highly_variable"])
    assert set(picked) <= set(theirs)
    ties = table["dispersions_norm"].to_numpy()[[i for i in theirs if i not in set(picked)]]
    np.testing.assert_allclose(ties, found[picked[-1]], rtol=1e-4)


def test_among_genes_of_a_like_mean_the_more_variable_is_above() -> None:
    mean, variance = np.full(5, 2.0), np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    assert by_dispersion(normalised_dispersion(mean, variance), 2).tolist() == [4, 3]


def test_a_gene_that_does_not_vary_is_picked_last() -> None:
    found = normalised_dispersion([1.0, 1.0, 0.0, 1.1], [1.0, 2.0, 0.0, 0.0])
    assert np.isnan(found[2:]).all()
    assert by_dispersion(found, 4).tolist()[:2] == [1, 0]
