"""The readouts, and the genes their module scores stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.model.config import HeadConfig
from hypergene.model.head import LOG_VARIANCE_RANGE, GeneModules, Head
from hypergene.model.readout import RidgeReadout

MODULES, GENES = 3, 11


@pytest.fixture
def genes() -> GeneModules:
    generator = torch.Generator().manual_seed(0)
    modules = GeneModules(MODULES, GENES)
    modules.mean.copy_(torch.rand(GENES, generator=generator))
    modules.loadings.copy_(torch.randn(MODULES, GENES, generator=generator))
    modules.residual_variance.copy_(torch.rand(GENES, generator=generator))
    return modules


@pytest.fixture
def scores() -> Tensor:
    return torch.randn(40, MODULES, generator=torch.Generator().manual_seed(1))


def test_expression_is_the_mean_plus_loadings_and_never_below_zero(
    genes: GeneModules, scores: Tensor
):
    expected = genes.mean.numpy() + scores.numpy() @ genes.loadings.numpy()
    assert (expected < 0).any() and (expected > 0).any()
    np.testing.assert_allclose(genes.expression(scores), expected.clip(0), atol=1e-6)


def test_the_spread_is_that_of_modules_and_residual_together(genes: GeneModules, scores: Tensor):
    genes.spread_scale.fill_(1.5)
    variance = np.exp(scores.numpy()) @ genes.loadings.numpy() ** 2
    expected = 1.5 * np.sqrt(variance + genes.residual_variance.numpy())
    np.testing.assert_allclose(genes.spread(scores), expected, rtol=1e-5)


def test_asking_for_some_genes_gives_their_columns(genes: GeneModules, scores: Tensor):
    wanted = torch.tensor([7, 0, 3])
    for read in (genes.expression, genes.spread):
        torch.testing.assert_close(read(scores, wanted), read(scores)[:, wanted])


def test_genes_are_computed_in_float32_under_autocast(genes: GeneModules, scores: Tensor):
    with torch.autocast("cpu", torch.bfloat16):
        assert (scores @ genes.loadings).dtype == torch.bfloat16
        assert torch.equal(genes.expression(scores), _plain(genes.expression, scores))
        assert torch.equal(genes.spread(scores), _plain(genes.spread, scores))


def _plain(read: object, scores: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return read(scores)  # type: ignore[operator]


@given(st.floats(*LOG_VARIANCE_RANGE), st.floats(0.01, 5))
def test_the_spread_is_positive_and_grows_with_the_log_variance(log_variance: float, more: float):
    genes = GeneModules(1, 2)
    genes.loadings.copy_(torch.tensor([[0.0, 0.7]]))
    genes.residual_variance.copy_(torch.tensor([0.0, 0.1]))
    less, greater = genes.spread(torch.tensor([[log_variance], [log_variance + more]]))
    assert (less > 0).all() and less.isfinite().all()
    assert greater[1] > less[1]
    assert greater[0] == less[0]  # a gene in no module


def test_module_variance_is_a_share_also_without_any_loading(genes: GeneModules):
    torch.testing.assert_close(genes.module_variance.sum(), torch.tensor(1.0))
    assert not GeneModules(2, 5).module_variance.any()


def test_the_ridge_is_a_product_with_its_weights():
    ridge = RidgeReadout(5, MODULES)
    ridge.weight.normal_(generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ridge(inputs), inputs @ ridge.weight)
    assert not list(ridge.parameters())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_blend_goes_from_head_to_ridge(share: float):
    ridge = RidgeReadout(5, MODULES)
    ridge.share.fill_(share)
    one, other = torch.full((2, MODULES), 3.0), torch.full((2, MODULES), -1.0)
    assert torch.equal(ridge.blend(one, other), torch.full((2, MODULES), 3.0 - 4.0 * share))


@pytest.mark.parametrize("hidden", [0, 6])
def test_the_spread_does_not_steer_what_the_body_learns(hidden: int):
    torch.manual_seed(0)
    head = Head(5, HeadConfig(modules=MODULES, hidden=hidden, dropout=0.0))
    for layer in (head.mean, head.log_variance):
        torch.nn.init.normal_(layer.weight)
    inputs = torch.randn(4, 5, requires_grad=True)
    head(inputs).log_variance.sum().backward()
    assert inputs.grad is None and all(p.grad is None for p in head.body.parameters())
    assert head.log_variance.weight.grad is not None and head.log_variance.weight.grad.any()
    head(inputs).mean.sum().backward()
    assert inputs.grad is not None and inputs.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in head.body.parameters())


def test_a_head_that_does_not_start_at_zero_still_starts_with_unit_spread():
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    still, moving = (
        Head(5, HeadConfig(modules=MODULES), from_zero=z).eval() for z in (True, False)
    )
    assert not still(inputs).mean.any() and moving(inputs).mean.std() > 0.01
    assert not still(inputs).log_variance.any() and not moving(inputs).log_variance.any()


def test_the_log_variance_stays_in_its_bounds():
    head = Head(1, HeadConfig(modules=1)).eval()
    head.log_variance.weight.data.fill_(100.0)
    low, high = head(torch.tensor([[-1.0], [1.0]])).log_variance
    assert (low.item(), high.item()) == LOG_VARIANCE_RANGE


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    head = Head(50, HeadConfig(modules=1, dropout=0.5))
    head.mean.weight.data.normal_()
    inputs = torch.randn(1, 50)
    assert not torch.equal(head(inputs).mean, head(inputs).mean)
    head.eval()
    assert torch.equal(head(inputs).mean, head(inputs).mean)
