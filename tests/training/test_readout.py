from __future__ import annotations

import numpy as np
import pytest
import torch

from hypergene.hyperbolic import exp0
from hypergene.model.readout import NEIGHBOURS, KernelReadout
from hypergene.training import readout
from hypergene.training.leave_out import leave_groups_out
from hypergene.training.readout import (
    KERNEL_PENALTIES,
    PENALTIES,
    KernelFit,
    Kernels,
    Ridge,
    fit_gallery,
    fit_kernel,
    fit_ridge,
    spatial_blocks,
)

KINDS = pytest.mark.parametrize("kind", ["laplacian", "rbf", "hyperbolic"])
RNG = np.random.default_rng(1)


def problem(n: int, p: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = RNG.normal(size=(n, p)).astype(np.float32)
    w = RNG.normal(size=(p, 3)).astype(np.float32)
    y = (x @ w + noise * RNG.normal(size=(n, 3))).astype(np.float32)
    return x, y, np.arange(n) % 4


def ridge_by_hand(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    scale = x.std(0) + 1e-6
    z = x / scale
    return np.linalg.solve(z.T @ z + penalty * np.eye(x.shape[1]), z.T @ y) / scale[:, None]


@pytest.mark.parametrize(("n", "p"), [(400, 20), (40, 80)])
def test_the_weights_are_those_of_a_ridge_on_the_grid(n: int, p: int) -> None:
    x, y, groups = problem(n, p)
    fitted = fit_ridge(x, y, groups)
    for module in range(3):
        errors = [
            np.abs(ridge_by_hand(x, y[:, [module]], penalty)[:, 0] - fitted[:, module]).max()
            for penalty in PENALTIES
        ]
        assert min(errors) < 1e-4


def test_a_penalty_is_chosen_for_each_module_apart() -> None:
    x, y, groups = problem(200, 20)
    y[:, 2] = RNG.normal(size=200)
    fitted = fit_ridge(x, y, groups)
    assert np.linalg.norm(fitted[:, 0]) > 10 * np.linalg.norm(fitted[:, 2])


def test_what_only_tells_groups_apart_is_not_believed() -> None:
    groups = np.repeat(np.arange(4), 50)
    level = RNG.normal(size=4)[groups]
    x = np.stack([level, RNG.normal(size=200)], 1).astype(np.float32)
    signs = np.array([1.0, -1.0, 1.0, -1.0])[groups]
    y = (level * signs)[:, None].astype(np.float32) + 0.01 * RNG.normal(size=(200, 1))
    fitted = fit_ridge(x, y.astype(np.float32), groups)
    assert abs(fitted[0, 0]) < 0.2


def kernel_by_hand(kind: str, left: np.ndarray, right: np.ndarray, gamma: float) -> np.ndarray:
    if kind == "hyperbolic":
        time = [np.sqrt(1 + np.square(x).sum(1)) for x in (left, right)]
        d = np.arccosh((np.outer(*time) - left @ right.T).clip(1))
    else:
        d = np.linalg.norm(left[:, None] - right, axis=2)
    return np.exp(-gamma * (d**2 if kind == "rbf" else d))


def points(kind: str, n: int, seed: int = 3) -> np.ndarray:
    """Points in three dimensions, on the unit hyperboloid or of unit spread."""
    x = np.random.default_rng(seed).normal(size=(n, 3))
    x = exp0(torch.from_numpy(x), 1.0).numpy() if kind == "hyperbolic" else x / x.std(0)
    return x.astype(np.float32)


def predicted(kind: str, fit: KernelFit, inputs: np.ndarray) -> np.ndarray:
    readout = KernelReadout(inputs.shape[1], fit.weight.shape[1], len(fit.points), kind)
    readout.hold(*map(torch.as_tensor, fit))
    return readout(torch.from_numpy(inputs), torch.tensor(1.0)).numpy()


@KINDS
def test_without_too_many_spots_the_kernel_readout_is_kernel_ridge(kind: str) -> None:
    x, groups = points(kind, 60), np.arange(60) // 15
    y = np.stack([np.sin(3 * x[:, 0]), x[:, 1]], 1).astype(np.float32)
    fit = fit_kernel(kind, x, y, groups, inducing=100)
    scaled = x / fit.scale.astype(float)
    kernel = kernel_by_hand(kind, scaled, scaled, fit.gamma)
    found = predicted(kind, fit, x)
    for module in range(2):
        errors = []
        for penalty in KERNEL_PENALTIES:
            weight = np.linalg.solve(kernel + penalty * np.eye(60), y[:, module])
            errors.append(np.abs(kernel @ weight - found[:, module]).max())
        assert min(errors) < 1e-4


@KINDS
def test_leaving_a_slide_out_of_a_kernel_ridge_is_refitting_without_it(kind: str) -> None:
    n, penalty = 48, 0.3
    groups = np.arange(n) // 12
    x = points(kind, n).astype(float)
    y = np.random.default_rng(5).normal(size=(n, 2))
    kernels = Kernels(kind, x, np.arange(n), 1.0)
    table, _ = kernels.table(0.8, np.arange(n))
    found = leave_groups_out(table, y, groups, np.array([penalty]))[0]
    kernel = kernel_by_hand(kind, x, x, 0.8)
    inverse = np.linalg.inv(kernel + penalty * np.eye(n))
    for group in range(4):
        out = groups == group
        inside = kernel[np.ix_(~out, ~out)] + penalty * np.eye((~out).sum())
        refitted = kernel[np.ix_(out, ~out)] @ np.linalg.solve(inside, y[~out])
        residual = np.linalg.solve(inverse[np.ix_(out, out)], (inverse @ y)[out])
        # The floor of hyperbolic distances is 1e-6, a thousandth of a thousandth of them.
        exactly = 1e-6 if kind == "hyperbolic" else 1e-8
        np.testing.assert_allclose(found[out], refitted, rtol=0, atol=exactly)
        np.testing.assert_allclose(y[out] - found[out], residual, rtol=0, atol=exactly)


@KINDS
def test_a_kernel_learns_what_a_ridge_cannot_and_needs_few_points_for_it(kind: str) -> None:
    x, new = points(kind, 500), points(kind, 200, seed=4)

    def truth(at: np.ndarray) -> np.ndarray:
        return (np.linalg.norm(at, axis=1, keepdims=True) < 1.5).astype(np.float32) - 0.5

    groups = np.arange(500) // 100
    straight = new @ fit_ridge(x, truth(x), groups)
    assert abs(np.corrcoef(straight[:, 0], truth(new)[:, 0])[0, 1]) < 0.3
    for inducing in (100, 500):
        curved = predicted(kind, fit_kernel(kind, x, truth(x), groups, inducing=inducing), new)
        assert np.corrcoef(curved[:, 0], truth(new)[:, 0])[0, 1] > 0.8


def test_a_kernel_is_the_same_every_time_and_has_no_more_points_than_asked_for() -> None:
    x, y, groups = problem(200, 6)
    first, again = (fit_kernel("laplacian", x, y, groups, inducing=50) for _ in range(2))
    assert first.points.shape == (50, 6) and first.weight.shape == (50, 3)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {tuple(point) for point in first.points} <= {tuple(row) for row in x}


@KINDS
def test_spots_that_all_look_alike_give_a_finite_kernel(kind: str) -> None:
    y = RNG.normal(size=(20, 2)).astype(np.float32)
    x = np.zeros((20, 3), np.float32)
    fit = fit_kernel(kind, x, y, np.arange(20) // 5, inducing=10)
    assert np.isfinite(predicted(kind, fit, x)).all()


def test_a_residual_does_not_know_what_was_measured_at_its_spots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readout, "PENALTIES", np.array([5.0]))
    x, y, slides = problem(120, 10)
    patients = slides // 2
    other = y.copy()
    other[patients == 1] += RNG.normal(size=other[patients == 1].shape).astype(np.float32)
    one, two = (Ridge(x, target, slides).residuals(patients) for target in (y, other))
    ours = patients == 1
    np.testing.assert_allclose((two - one)[ours], (other - y)[ours], atol=1e-5)
    assert np.abs(two - one)[~ours].max() > 0.01, "those of others do follow"


def test_residuals_are_those_of_the_penalties_chosen_by_slide() -> None:
    x, y, slides = problem(200, 20)
    y[:, 2] = RNG.normal(size=200)
    residual = Ridge(x, y, slides).residuals(slides)
    scale = x.std(0) + 1e-6
    for module in range(3):
        errors = []
        for penalty in PENALTIES:
            left_out = np.empty(200)
            for slide in range(4):
                out = slides == slide
                z = x[~out] / scale
                gram = z.T @ z + penalty * np.eye(20)
                left_out[out] = x[out] / scale @ np.linalg.solve(gram, z.T @ y[~out, module])
            errors.append(np.square(y[:, module] - left_out).sum())
            if np.abs(y[:, module] - left_out - residual[:, module]).max() < 1e-4:
                found = errors[-1]
        assert found == min(errors)


def test_a_gallery_keeps_spots_with_their_own_residuals() -> None:
    x, y, _ = problem(100, 5)
    fit = fit_gallery(x, y, 30)
    assert fit.keys.shape == (30, 5)
    place = {tuple(row): number for number, row in enumerate(x)}
    assert len({tuple(key) for key in fit.keys}) == 30
    for key, residual in zip(fit.keys, fit.residuals, strict=True):
        np.testing.assert_array_equal(y[place[tuple(key)]], residual)
    assert fit_gallery(x, y, 1000).keys.shape == (100, 5)


@pytest.mark.parametrize("spots", [1, 2, 30])
def test_the_weights_of_a_gallery_are_as_wide_as_it_is_dense(spots: int) -> None:
    x = RNG.normal(size=(spots, 4)).astype(np.float32)
    y = np.zeros((spots, 2), np.float32)
    assert fit_gallery(x, y, 30).temperature > 0
    if spots == 30:
        scaled = x / (x.std(0) + 1e-6)
        d = np.sort(np.linalg.norm(scaled[:, None] - scaled, axis=2), axis=1)
        wanted = np.median(d[:, NEIGHBOURS] - d[:, 1])
        assert fit_gallery(x, y, 30).temperature == pytest.approx(wanted, rel=0.1)


def test_blocks_quarter_a_slide() -> None:
    row, column = np.divmod(np.arange(64), 8)
    blocks = spatial_blocks(np.stack([column, row], 1).astype(float))
    assert sorted(np.bincount(blocks)) == [16, 16, 16, 16]
    assert len({blocks[0], blocks[7], blocks[56], blocks[63]}) == 4
