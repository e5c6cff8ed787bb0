"""A spot's surroundings come from the model's own lattice, never from the spots asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from hypergene.errors import SpotsError, TissueError
from hypergene.features.context import Context, as_sparse, context_layout, context_spots
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.slide import Slide, TissueMask, find_tissue
from hypergene.spots import rings

CPU = torch.device("cpu")
MakeConfig = Callable[..., ModelConfig]
SIDE = 20


@pytest.fixture
def lattice_um() -> NDArray[np.float64]:
    """(400, 2), 100 µm apart."""
    return 100.0 * np.stack(np.divmod(np.arange(SIDE * SIDE), SIDE), 1)


@pytest.fixture
def raw() -> NDArray[np.float32]:
    """(400, 32) features far from zero."""
    return np.random.default_rng(0).normal(5, 1, (SIDE * SIDE, 32)).astype(np.float32)


@pytest.fixture
def context(lattice_um: NDArray, raw: NDArray, make_config: MakeConfig) -> Context:
    return Context.of(lattice_um, raw, make_config())


def test_features_of_the_context_are_centred_on_the_slide(context: Context, raw: NDArray):
    np.testing.assert_allclose(context.mean, raw.mean(0), rtol=1e-5)
    np.testing.assert_allclose(context.features.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(context.features + context.mean, raw, rtol=1e-5)
    assert context.features.dtype == context.mean.dtype == np.float32


def test_a_large_slide_is_centred_by_a_fixed_sample(
    lattice_um: NDArray, raw: NDArray, make_config: MakeConfig
):
    config = make_config(niche={"context_spots": 50})
    first, again = (Context.of(lattice_um, raw, config) for _ in range(2))
    assert np.array_equal(first.mean, again.mean)
    # The mean of 50 spots: off that of all 400, by about 1/sqrt(50).
    off = np.abs(first.mean - raw.mean(0))
    assert 0.02 < off.mean() < 0.3
    np.testing.assert_allclose(first.features + first.mean, raw, rtol=1e-5)
    # Global randomness has no say.
    np.random.seed(1)
    assert np.array_equal(Context.of(lattice_um, raw, config).mean, first.mean)


def test_a_slide_of_just_enough_spots_is_centred_by_all(
    lattice_um: NDArray, raw: NDArray, make_config: MakeConfig
):
    config = make_config(niche={"context_spots": len(raw)})
    np.testing.assert_allclose(Context.of(lattice_um, raw, config).mean, raw.mean(0), rtol=1e-5)


def test_surroundings_hold_only_the_context_that_is_touched_and_lose_nothing(
    context: Context, lattice_um: NDArray
):
    asked = np.array([[310.0, 290.0], [500.0, 500.0], [0.0, 0.0]])
    around = context.around(asked, CPU)
    dense = [m.toarray() for m in rings(asked, lattice_um, context.ring_edges_um)]
    touched = np.any([m.any(0) for m in dense], axis=0).sum()
    assert 0 < len(around.context) == touched < len(lattice_um) / 2
    assert len(around.rings) == 3
    for ring, matrix in zip(around.rings, dense, strict=True):
        assert ring.dtype == torch.float32 and ring.is_coalesced()
        means = torch.sparse.mm(ring, around.context).numpy()
        np.testing.assert_allclose(means, matrix @ context.features, atol=1e-5)
        assert np.abs(means).max() > 0.1


def test_surroundings_of_a_spot_do_not_depend_on_the_spots_asked_for(
    context: Context, make_config: MakeConfig
):
    rng = np.random.default_rng(1)
    asked = rng.uniform(0, 1900, (60, 2))
    features = torch.from_numpy(rng.normal(size=(60, 32)).astype(np.float32))
    torch.manual_seed(0)
    model = HyperGene(make_config()).eval()
    with torch.inference_mode():
        model.head.mean.weight.normal_()
        model.ridge.weight.normal_()
        model.ridge.share.fill_(0.5)
        together = model(features, context.around(asked, CPU)).scores.mean
        for chosen in ([7], [59, 0, 30]):
            apart = model(features[chosen], context.around(asked[chosen], CPU)).scores.mean
            torch.testing.assert_close(apart, together[chosen], rtol=1e-4, atol=1e-4)
    assert together.std(0).min() > 0.5


def test_a_spot_far_from_all_tissue_has_empty_rings(context: Context):
    around = context.around(np.array([[1e6, 1e6]]), CPU)
    assert all(ring.shape == (1, len(around.context)) and not ring._nnz() for ring in around.rings)
    near = context.around(np.array([[1e6, 1e6], [100.0, 100.0]]), CPU)
    assert not near.rings[0].to_dense()[0].any() and near.rings[0].to_dense()[1].any()


def test_a_spot_of_the_lattice_is_not_its_own_neighbour(context: Context, lattice_um: NDArray):
    around = context.around(lattice_um[:1], CPU)
    own = torch.from_numpy(context.features[0])
    assert not (around.context == own).all(1).any()


def test_places_that_are_not_finite_are_refused(context: Context):
    with pytest.raises(SpotsError, match="finite"):
        context.around(np.array([[np.nan, 0.0]]), CPU)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_a_sparse_matrix_stays_the_same_in_torch_whatever_its_order(layout: str):
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, 5, 30), rng.integers(0, 7, 30)  # unsorted, some pairs twice
    matrix = sparse.coo_matrix((rng.random(30), (row, column)), (5, 7)).asformat(layout)
    tensor = as_sparse(matrix)
    assert tensor.dtype == torch.float32 and tensor.is_coalesced()
    np.testing.assert_allclose(tensor.to_dense(), matrix.toarray(), rtol=1e-6)
    # Every pair once, in order, as torch trusts a coalesced tensor to be.
    assert torch.equal(tensor.indices(), tensor.to_dense().nonzero().T)
    ones = torch.ones(7, 1)
    np.testing.assert_allclose(torch.sparse.mm(tensor, ones), matrix @ ones.numpy(), rtol=1e-6)


def test_context_spots_are_the_models_lattice_on_tissue(slide: Slide, make_config: MakeConfig):
    config, mask = make_config(), find_tissue(slide)
    spots = context_spots(slide, mask, config)
    layout = context_layout(config)
    assert (spots.layout.pitch_um, spots.layout.diameter_um) == (100.0, 50.0)
    share = mask.fraction(spots.xy_px, layout.diameter_um, slide.mpp, layout.shape)
    assert len(spots) > 20 and (share >= 0.25).all()
    nearest = np.linalg.norm(spots.xy_um[:, None] - spots.xy_um, axis=2)
    assert nearest[nearest > 0].min() == pytest.approx(100.0)


def test_a_slide_without_tissue_has_no_context(slide: Slide, make_config: MakeConfig):
    mask: TissueMask = find_tissue(slide)
    with pytest.raises(TissueError, match="has no tissue") as caught:
        context_spots(slide, replace(mask, mask=np.zeros_like(mask.mask)), make_config())
    assert str(slide.path) in caught.value.message and "--tissue" in (caught.value.hint or "")
