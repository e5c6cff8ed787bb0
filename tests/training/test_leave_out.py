"""Leaving groups out in closed form is refitting without them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.training import leave_out
from hypergene.training.leave_out import choose_penalties, decompose, leave_groups_out

PENALTIES = np.array([0.1, 3.0, 1000.0])


def problem(n: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=(p, 3)) + rng.normal(size=(n, 3))


def refitted(x: np.ndarray, y: np.ndarray, groups: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions by ridges that are solved anew without each group."""
    found = np.empty_like(y)
    for group in np.unique(groups):
        out = groups == group
        gram = x[~out].T @ x[~out] + penalty * np.eye(x.shape[1])
        found[out] = x[out] @ np.linalg.solve(gram, x[~out].T @ y[~out])
    return found


@pytest.mark.parametrize("largest", [0.0, np.inf], ids=["moments", "blocks"])
@pytest.mark.parametrize(("n", "p"), [(90, 10), (30, 30), (30, 70)])
def test_both_ways_are_refitting_without_the_group(
    n: int, p: int, largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_out, "_LARGEST", largest)
    x, y = problem(n, p)
    groups = np.arange(n) % 4
    found = leave_groups_out(x, y, groups, PENALTIES)
    for predictions, penalty in zip(found, PENALTIES, strict=True):
        np.testing.assert_allclose(predictions, refitted(x, y, groups, penalty), rtol=0, atol=1e-8)


@given(
    n=st.integers(6, 40),
    p=st.integers(1, 40),
    group_count=st.integers(2, 6),
    penalty=st.floats(0.01, 1e4),
    seed=st.integers(0, 1000),
)
def test_whatever_the_shape_it_is_refitting_without_the_group(
    n: int, p: int, group_count: int, penalty: float, seed: int
) -> None:
    x, y = problem(n, p, seed)
    groups = np.random.default_rng(seed).integers(0, group_count, n)
    groups[:2] = 0, 1
    found = leave_groups_out(x, y, groups, np.array([penalty]))[0]
    np.testing.assert_allclose(found, refitted(x, y, groups, penalty), rtol=1e-8, atol=1e-8)


def test_a_decomposition_that_is_there_already_gives_the_same() -> None:
    x, y = problem(50, 20)
    groups = np.arange(50) // 10
    whole = decompose(x, y)
    np.testing.assert_array_equal(
        leave_groups_out(x, y, groups, PENALTIES, whole),
        leave_groups_out(x, y, groups, PENALTIES),
    )


def test_the_penalty_of_least_error_is_chosen_for_each_target() -> None:
    x, y = problem(60, 20)
    y[:, 2] = np.random.default_rng(9).normal(size=60)
    groups = np.arange(60) // 10
    chosen, error = choose_penalties(x, y, groups, PENALTIES)
    errors = np.stack([np.square(y - refitted(x, y, groups, p)).mean(0) for p in PENALTIES])
    np.testing.assert_array_equal(chosen, PENALTIES[errors.argmin(0)])
    np.testing.assert_allclose(error, errors.min(0), rtol=1e-9)
    assert chosen[0] < chosen[2]
