from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.training.guard import guarded

seeds = st.integers(0, 2**31)


def pairs(seed: int, opposed: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of three parameters whose product over all of them has a known sign."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 3), (5,), ())
    r = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    a = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    turned = (product(r, a) < 0) != opposed
    return r, [-x for x in a] if turned else a


def product(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(left, right, strict=True)]).sum()


@given(seeds)
def test_gradients_that_agree_are_simply_added(seed: int) -> None:
    r, a = pairs(seed, opposed=False)
    found = guarded(r, a)
    assert not found.conflict
    for total, x, y in zip(found.gradients, r, a, strict=True):
        assert total is not None
        torch.testing.assert_close(total, x + y, rtol=0, atol=0)


@given(seeds)
def test_what_is_left_of_an_opposing_gradient_is_orthogonal_to_the_regression(seed: int) -> None:
    r, a = pairs(seed, opposed=True)
    found = guarded(r, a)
    assert found.conflict
    kept = [total - x for total, x in zip(found.gradients, r, strict=True)]
    scale = product(r, r).sqrt() * product(a, a).sqrt()
    assert abs(product(kept, r)) <= 1e-9 * scale
    # The part taken out is along r, and nothing else is.
    taken = [x - y for x, y in zip(a, kept, strict=True)]
    along = product(a, r) / product(r, r)
    for part, x in zip(taken, r, strict=True):
        torch.testing.assert_close(part, along * x, rtol=1e-9, atol=1e-9 * float(scale))


@given(seeds)
def test_a_step_along_the_guarded_gradient_lowers_the_regression_as_much_as_without_the_others(
    seed: int,
) -> None:
    r, a = pairs(seed, opposed=True)
    slope = product(guarded(r, a).gradients, r)  # type: ignore[arg-type]
    assert slope >= product(r, r) * (1 - 1e-9)
    plain = [x + y for x, y in zip(r, a, strict=True)]
    assert product(plain, r) < product(r, r)


def test_parameters_that_one_part_alone_reaches_keep_its_gradient() -> None:
    only_r, only_a = torch.tensor([3.0]), torch.tensor([5.0])
    shared_r, shared_a = torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 7.0])
    found = guarded([only_r, None, shared_r, None], [None, only_a, shared_a, None])
    assert found.conflict
    first, second, third, fourth = found.gradients
    assert first is not None and second is not None and third is not None
    assert first.tolist() == [3.0] and second.tolist() == [5.0] and fourth is None
    assert third.tolist() == [1.0, 7.0]


def test_nothing_shared_is_no_conflict() -> None:
    found = guarded([torch.ones(2), None], [None, -torch.ones(2)])
    assert not found.conflict


def test_a_regression_without_any_gradient_opposes_nothing() -> None:
    found = guarded([torch.zeros(3)], [torch.tensor([1.0, -2.0, 0.5])])
    assert not found.conflict
    assert found.gradients[0] is not None
    assert found.gradients[0].tolist() == [1.0, -2.0, 0.5]
