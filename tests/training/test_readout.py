from __future__ import annotations

import numpy as np
import pytest

from hypergene.training.readout import PENALTIES, fit_ridge, spatial_blocks

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


def test_blocks_quarter_a_slide() -> None:
    row, column = np.divmod(np.arange(64), 8)
    blocks = spatial_blocks(np.stack([column, row], 1).astype(float))
    assert sorted(np.bincount(blocks)) == [16, 16, 16, 16]
    assert len({blocks[0], blocks[7], blocks[56], blocks[63]}) == 4
