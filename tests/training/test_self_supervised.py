"""Barlow Twins within groups, against its formula and against ways to cheat it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.training.self_supervised import barlow_twins

seeds = st.integers(0, 2**31 - 1)


def views(
    seed: int, groups: int = 3, n: int = 8, dim: int = 5
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(groups, n, dim, generator=generator),
        torch.randn(groups, n, dim, generator=generator),
    )


@settings(max_examples=25)
@given(seed=seeds)
def test_it_is_the_papers_formula_on_correlations_within_groups(seed: int) -> None:
    first, second = views(seed)
    found = barlow_twins(first, second)
    a, b = (
        np.concatenate([group - group.mean(0) for group in view.double().numpy()])
        for view in (first, second)
    )
    dim = a.shape[1]
    c = np.array(
        [
            [
                a[:, i] @ b[:, j] / np.sqrt((a[:, i] @ a[:, i]) * (b[:, j] @ b[:, j]))
                for j in range(dim)
            ]
            for i in range(dim)
        ]
    )
    off = c[~np.eye(dim, dtype=bool)]
    np.testing.assert_allclose(found.disagreement, ((1 - np.diag(c)) ** 2).mean(), rtol=1e-4)
    np.testing.assert_allclose(found.redundancy, (off**2).sum() / dim, rtol=1e-4)


@settings(max_examples=25)
@given(seed=seeds, offset=st.floats(-10, 10), scale=st.floats(0.5, 20))
def test_what_is_common_to_a_slide_changes_nothing(seed: int, offset: float, scale: float) -> None:
    first, second = views(seed)
    shift = offset * torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(seed))
    found, moved = barlow_twins(first, second), barlow_twins(scale * (first + shift), second)
    torch.testing.assert_close(tuple(found), tuple(moved), rtol=1e-3, atol=1e-4)


def test_telling_slides_apart_is_worth_no_more_than_saying_nothing() -> None:
    slides = torch.randn(4, 1, 6).expand(4, 9, 6)
    of_slides, of_nothing = barlow_twins(slides, slides), barlow_twins(0 * slides, 0 * slides)
    torch.testing.assert_close(of_slides.disagreement, torch.tensor(1.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(of_slides.disagreement, of_nothing.disagreement, atol=1e-3, rtol=0)


def test_equal_views_with_dimensions_of_their_own_leave_nothing_to_learn() -> None:
    view = torch.linalg.qr(torch.randn(16, 16))[0][:, :5]
    view = torch.linalg.qr(view - view.mean(0))[0][None]
    found = barlow_twins(view, view)
    assert found.disagreement < 1e-6 and found.redundancy < 1e-6


def test_one_dimension_told_five_times_is_redundant() -> None:
    view = torch.randn(2, 16, 1).expand(2, 16, 5)
    found = barlow_twins(view, view)
    assert found.disagreement < 1e-6
    torch.testing.assert_close(found.redundancy, torch.tensor(4.0), rtol=1e-3, atol=0)


def test_gradients_are_finite_where_everything_has_collapsed() -> None:
    view = torch.ones(2, 8, 5, requires_grad=True)
    sum(barlow_twins(view, view)).backward()
    assert view.grad is not None and torch.isfinite(view.grad).all()
