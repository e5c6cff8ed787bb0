from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.evaluation import RidgeControl, pearson_per_gene, ridge_loo, training_mean


def problem(seed: int, spots: int = 25, features: int = 6, targets: int = 3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(spots, features)) + rng.normal(size=features)
    y = x @ rng.normal(size=(features, targets)) + 5 + rng.normal(size=(spots, targets)) * 3
    return x, y


def refit(x, y, alpha):
    """Ridge with an intercept by its normal equations."""
    xc, yc = x - x.mean(0), y - y.mean(0)
    coef = np.linalg.solve(xc.T @ xc + alpha * np.eye(x.shape[1]), xc.T @ yc)
    return coef, y.mean(0) - x.mean(0) @ coef


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e3))
@settings(deadline=None)
def test_one_alpha_gives_the_normal_equations(seed, alpha):
    x, y = problem(seed)
    coef, intercept, chosen = ridge_loo(x, y, [alpha])
    expected, level = refit(x, y, alpha)
    np.testing.assert_allclose(coef, expected, atol=1e-8)
    np.testing.assert_allclose(intercept, level, atol=1e-8)
    assert chosen.tolist() == [alpha] * 3


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_the_alpha_is_the_one_that_leaving_out_each_spot_in_turn_prefers(seed):
    x, y = problem(seed)
    alphas = np.logspace(-2, 4, 7)
    errors = np.zeros((len(alphas), y.shape[1]))
    for a, alpha in enumerate(alphas):
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            coef, intercept = refit(x[rest], y[rest], alpha)
            errors[a] += (y[i] - x[i] @ coef - intercept) ** 2
    np.testing.assert_allclose(ridge_loo(x, y, alphas)[2], alphas[errors.argmin(0)])


def test_targets_do_not_touch_each_other():
    x, y = problem(0, targets=600)
    coef, intercept, alpha = ridge_loo(x, y)
    alone = ridge_loo(x, y[:, 555:556])
    np.testing.assert_allclose(coef[:, 555:556], alone[0], atol=1e-12)
    np.testing.assert_allclose(intercept[555:556], alone[1], atol=1e-12)
    assert alpha[555] == alone[2][0]


def test_noise_is_shrunk_to_the_mean():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 20)), rng.normal(size=(60, 200)) + 4
    coef, intercept, alpha = ridge_loo(x, y)
    assert np.median(alpha) > 100
    spread = (x @ coef + intercept).std(axis=0)
    assert np.median(spread) < 0.2 * y.std(axis=0).mean()


def test_features_that_do_not_vary_give_the_mean():
    y = problem(0)[1]
    coef, intercept, _ = ridge_loo(np.ones((25, 2)), y)
    np.testing.assert_allclose(np.ones((4, 2)) @ coef + intercept, training_mean([y], 4))
    control = RidgeControl.fit([np.ones((25, 2))], [y], slide_centred=True)
    np.testing.assert_allclose(control.predict(np.ones((4, 2))), training_mean([y], 4))


def test_malformed_problems_are_refused():
    x, y = problem(0)
    for bad in ((x[:-1], y), (x[0], y), (x[:1], y[:1])):
        with pytest.raises(ValueError, match="ridge needs"):
            ridge_loo(*bad)
    with pytest.raises(ValueError, match="finite"):
        ridge_loo(x * np.nan, y)
    for alphas in ([0.0, 1.0], [], [np.inf]):
        with pytest.raises(ValueError, match="above 0"):
            ridge_loo(x, y, alphas)
    with pytest.raises(ValueError, match="same slides"):
        RidgeControl.fit([x], [y, y], slide_centred=False)


def test_the_training_mean_pools_spots():
    mean = training_mean([np.zeros((3, 2)), np.ones((1, 2))], 5)
    assert mean.shape == (5, 2)
    np.testing.assert_allclose(mean, 0.25)


def slides(seed: int, offset: float, number: int = 6, spots: int = 80):
    """Slides with one biology, and shifts per slide that look like it but say nothing of it."""
    rng = np.random.default_rng(seed)
    loading = rng.normal(size=(5, 12))
    weights = rng.normal(size=(5, 4))
    xs, ys = [], []
    for _ in range(number):
        state, batch = rng.normal(size=(spots, 5)), rng.normal(size=5) * offset
        xs.append((state + batch) @ loading + 0.3 * rng.normal(size=(spots, 12)))
        ys.append(state @ weights + rng.normal(size=4) * offset + rng.normal(size=(spots, 4)))
    return xs, ys


def test_centring_by_slide_holds_where_slides_differ():
    def score(offset, centred):
        found = []
        for seed in range(5):
            xs, ys = slides(seed, offset)
            control = RidgeControl.fit(xs[1:], ys[1:], slide_centred=centred)
            found.append(pearson_per_gene(ys[0], control.predict(xs[0])).mean())
        return np.mean(found)

    assert score(0.0, True) == pytest.approx(score(0.0, False), abs=0.01)
    assert score(2.0, True) == pytest.approx(score(0.0, True), abs=0.01)
    assert score(2.0, False) < score(0.0, False) - 0.1


def test_a_shift_of_a_whole_slide_cannot_move_a_centred_prediction():
    xs, ys = slides(0, offset=1.0)
    control = RidgeControl.fit(xs[1:], ys[1:], slide_centred=True)
    np.testing.assert_allclose(control.predict(xs[0] + 7), control.predict(xs[0]), atol=1e-9)
    raw = RidgeControl.fit(xs[1:], ys[1:], slide_centred=False)
    assert np.abs(raw.predict(xs[0] + 7) - raw.predict(xs[0])).max() > 0.1


def test_all_components_are_plain_ridge():
    xs, ys = slides(0, offset=0.0, number=1)
    control = RidgeControl.fit(xs, ys, slide_centred=False, alphas=[3.0])
    x = (xs[0] - xs[0].mean(0)) / xs[0].std(0)
    coef, intercept = refit(x, ys[0], 3.0)
    np.testing.assert_allclose(control.predict(xs[0]), x @ coef + intercept, atol=1e-8)
    assert RidgeControl.fit(xs, ys, slide_centred=False, components=2).axes.shape == (12, 2)
