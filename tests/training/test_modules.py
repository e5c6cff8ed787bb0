"""Gene modules are the principal directions within slides, whoever measured what."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit, fit_modules

RNG = np.random.default_rng(0)


def slides(offset: float = 0.0, n: int = 3) -> list[np.ndarray]:
    loadings = RNG.normal(size=(2, 30))
    return [
        (
            RNG.normal(size=(50, 2)) @ loadings + 0.01 * RNG.normal(size=(50, 30)) + offset * i
        ).astype(np.float32)
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def fit(as_expression: Callable[..., Expression]) -> Callable[..., ModuleFit]:
    def run(data: list[np.ndarray], modules: int, **options: object) -> ModuleFit:
        return fit_modules([as_expression(slide) for slide in data], modules, **options)

    return run


def test_modules_rebuild_low_rank_expression(fit) -> None:
    data = slides()
    found = fit(data, 2)
    for slide in data:
        rebuilt = slide.mean(0) + found.scores(slide) @ found.loadings
        np.testing.assert_allclose(rebuilt, slide, atol=0.08)


def test_scores_have_unit_variance_and_the_largest_module_comes_first(fit) -> None:
    data = slides()
    found = fit(data, 2)
    scores = np.concatenate([found.scores(slide) for slide in data])
    np.testing.assert_allclose(scores.var(0), 1, atol=1e-3)
    first, second = np.square(found.loadings).sum(1)
    assert first > second


def test_the_level_of_a_slide_is_not_a_module(fit) -> None:
    data = slides()
    shifted = [slide + 5 * i for i, slide in enumerate(data)]
    plain, moved = fit(data, 2), fit(shifted, 2)
    np.testing.assert_allclose(
        plain.loadings.T @ plain.loadings, moved.loadings.T @ moved.loadings, atol=1e-3
    )
    np.testing.assert_allclose(abs(plain.scores(data[1])), abs(moved.scores(shifted[1])), atol=1e-3)


def test_what_no_module_explains_is_the_residual_variance(fit) -> None:
    data = slides()
    noisy = [slide.copy() for slide in data]
    for slide in noisy:
        slide[:, 7] += 3 * RNG.normal(size=len(slide)).astype(np.float32)
    found = fit(noisy, 1)
    total = np.concatenate([slide - slide.mean(0) for slide in noisy]).var(0)
    explained = np.square(found.loadings).sum(0)
    np.testing.assert_allclose(found.residual_variance, (total - explained).clip(1e-4), rtol=1e-3)


def test_more_modules_than_spots_leaves_the_rest_empty(fit) -> None:
    found = fit([slides(n=1)[0][:4]], 10)
    assert found.loadings.shape == (10, 30)
    assert np.all(found.loadings[3:] == 0)
    assert np.isfinite(found.scores(slides(n=1)[0])).all()


def test_many_genes_give_the_same_directions_as_the_whole_decomposition(fit) -> None:
    """Beyond some hundred genes the directions are iterated, block by block of spots."""
    spectrum = 1 / np.arange(1, 301)
    left, right = (np.linalg.qr(RNG.normal(size=(size, 300)))[0] for size in (1500, 700))
    table = 100 * (left * spectrum) @ right.T
    data = [table[:1100].astype(np.float32), table[1100:].astype(np.float32)]
    centered = np.concatenate([slide - slide.mean(0) for slide in data])
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    found = fit(data, 20)
    loadings = directions[:20] * (singular[:20] / np.sqrt(1500))[:, None]
    np.testing.assert_allclose(
        np.linalg.norm(found.loadings, axis=1), np.linalg.norm(loadings, axis=1), rtol=1e-4
    )
    cosines = (found.loadings * loadings).sum(1) / np.square(loadings).sum(1)
    np.testing.assert_allclose(abs(cosines), 1, atol=1e-3)


def test_the_same_seed_gives_the_same_modules(fit) -> None:
    data = [RNG.normal(size=(80, 400)).astype(np.float32)]
    once, again = fit(data, 5, seed=3), fit(data, 5, seed=3)
    assert once.loadings.tobytes() == again.loadings.tobytes()


def test_a_gene_that_a_slide_did_not_measure_is_learnt_from_the_others(
    as_expression: Callable[..., Expression],
) -> None:
    whole = slides(n=4)
    columns = np.arange(30)
    columns[[3, 17]] = -1
    partly = [as_expression(slide) for slide in whole[:3]]
    partly.append(as_expression(whole[3], columns=columns))
    found = fit_modules(partly, 2)
    full = fit_modules([as_expression(slide) for slide in whole], 2)
    np.testing.assert_allclose(
        found.loadings.T @ found.loadings, full.loadings.T @ full.loadings, atol=0.05
    )
    np.testing.assert_allclose(found.mean[3], np.mean([s[:, 3].mean() for s in whole[:3]]), 1e-5)
    scores = found.scores(partly[3].log(), partly[3].measured)
    rebuilt = whole[3].mean(0) + scores @ found.loadings
    np.testing.assert_allclose(rebuilt, whole[3], atol=0.2)
