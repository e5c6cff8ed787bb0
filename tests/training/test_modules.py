from __future__ import annotations

import numpy as np

from hypergene.training.modules import fit_modules

RNG = np.random.default_rng(0)


def slides(offset: float = 0.0, n: int = 3) -> list[np.ndarray]:
    loadings = RNG.normal(size=(2, 30))
    return [
        (
            RNG.normal(size=(50, 2)) @ loadings + 0.01 * RNG.normal(size=(50, 30)) + offset * i
        ).astype(np.float32)
        for i in range(n)
    ]


def test_modules_rebuild_low_rank_expression() -> None:
    data = slides()
    fit = fit_modules(data, 2)
    for slide in data:
        rebuilt = slide.mean(0) + fit.scores(slide) @ fit.loadings
        np.testing.assert_allclose(rebuilt, slide, atol=0.08)


def test_scores_have_unit_variance_and_the_largest_module_comes_first() -> None:
    data = slides()
    fit = fit_modules(data, 2)
    scores = np.concatenate([fit.scores(slide) for slide in data])
    np.testing.assert_allclose(scores.var(0), 1, atol=1e-3)
    first, second = np.square(fit.loadings).sum(1)
    assert first > second


def test_the_level_of_a_slide_is_not_a_module() -> None:
    data = slides()
    shifted = [slide + 5 * i for i, slide in enumerate(data)]
    plain, moved = fit_modules(data, 2), fit_modules(shifted, 2)
    np.testing.assert_allclose(
        plain.loadings.T @ plain.loadings, moved.loadings.T @ moved.loadings, atol=1e-3
    )
    np.testing.assert_allclose(plain.scores(data[1]), plain.scores(shifted[1]), atol=1e-4)


def test_what_no_module_explains_is_the_residual_variance() -> None:
    data = slides()
    noisy = [slide.copy() for slide in data]
    for slide in noisy:
        slide[:, 7] += 3 * RNG.normal(size=len(slide)).astype(np.float32)
    fit = fit_modules(noisy, 1)
    total = np.concatenate([slide - slide.mean(0) for slide in noisy]).var(0)
    explained = np.square(fit.loadings).sum(0)
    np.testing.assert_allclose(fit.residual_variance, (total - explained).clip(1e-4), rtol=1e-3)


def test_more_modules_than_spots_leaves_the_rest_empty() -> None:
    fit = fit_modules([slides(n=1)[0][:4]], 10)
    assert fit.loadings.shape == (10, 30)
    assert np.all(fit.loadings[3:] == 0)
    assert np.isfinite(fit.scores(slides(n=1)[0])).all()
