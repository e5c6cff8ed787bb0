"""A spot's surroundings come from the model's own lattice, never from the spots asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from hypergene.errors import SpotsError, TissueError
from hypergene.features.context import (
    Context,
    as_sparse,
    context_layout,
    context_spots,
    joined,
    surroundings,
    vicinity,
)
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene, Surroundings
from hypergene.slide import Slide, TissueMask, find_tissue
from hypergene.spots import rings

CPU = torch.device("cpu")
MakeConfig = Callable[..., ModelConfig]
SIDE = 20
READERS = pytest.mark.parametrize("reader", ["rings", "attention", "hyperbolic-attention"])


def drawn(config: ModelConfig) -> HyperGene:
    """A model with random weights whose predictions vary from spot to spot."""
    torch.manual_seed(0)
    model = HyperGene(config).eval().requires_grad_(False)
    for weights in (model.head.mean.weight, model.ridge.weight):
        weights.normal_()
    if model.reader is not None:
        model.reader.bias.logit.weight.normal_()
    model.ridge.share.fill_(0.5)
    return model


def read(model: HyperGene, around: Surroundings, features: NDArray) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.from_numpy(features), around).scores.mean


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
    dense = [m.toarray() for m in rings(asked, lattice_um, context.config.ring_edges_um)]
    touched = np.any([m.any(0) for m in dense], axis=0).sum()
    assert 0 < len(around.context) == touched < len(lattice_um) / 2
    assert len(around.rings) == 3
    for ring, matrix in zip(around.rings, dense, strict=True):
        assert ring.dtype == torch.float32 and ring.is_coalesced()
        means = torch.sparse.mm(ring, around.context).numpy()
        np.testing.assert_allclose(means, matrix @ context.features, atol=1e-5)
        assert np.abs(means).max() > 0.1


@READERS
def test_surroundings_of_a_spot_do_not_depend_on_the_spots_asked_for(
    lattice_um: NDArray, raw: NDArray, make_config: MakeConfig, reader: str
):
    config = make_config(niche={"reader": reader})
    context, model = Context.of(lattice_um, raw, config), drawn(config)
    rng = np.random.default_rng(1)
    asked = rng.uniform(0, 1900, (60, 2))
    features = rng.normal(size=(60, 32)).astype(np.float32)
    together = read(model, context.around(asked, CPU), features)
    for chosen in ([7], [59, 0, 30]):
        apart = read(model, context.around(asked[chosen], CPU), features[chosen])
        torch.testing.assert_close(apart, together[chosen], rtol=1e-4, atol=1e-4)
    assert together.std(0).min() > 0.5


@READERS
@given(
    angle=st.floats(-np.pi, np.pi),
    mirrored=st.booleans(),
    shift=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_slide_moved_turned_or_mirrored_is_read_alike(
    lattice_um: NDArray,
    raw: NDArray,
    make_config: MakeConfig,
    reader: str,
    angle: float,
    mirrored: bool,
    shift: tuple[float, float],
):
    config = make_config(niche={"reader": reader})
    model = drawn(config)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved_um = lattice_um * [-1 if mirrored else 1, 1] @ turn.T + shift
    before, after = (
        read(model, context.around(xy_um, CPU), context.features)
        for xy_um in (lattice_um, moved_um)
        for context in [Context.of(xy_um, raw, config)]
    )
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert before.std(0).min() > 0.5


@READERS
def test_some_spots_of_a_section_bring_only_the_context_they_touch(
    context: Context, raw: NDArray, make_config: MakeConfig, reader: str
):
    config = make_config(niche={"reader": reader, "neighbours": 12})
    model, xy_um = drawn(config), context.xy_um
    rng = np.random.default_rng(0)
    asked = rng.uniform(0, 1900, (60, 2))
    features = rng.normal(size=(60, 32)).astype(np.float32)
    seen = vicinity(asked, xy_um, config)
    assert (seen.nearest is None) == (reader == "rings")
    whole = surroundings(context.features, seen.rings, seen.nearest, slice(None), CPU)
    together = read(model, whole, features)
    rows = np.array([41, 3, 17])
    some = surroundings(context.features, seen.rings, seen.nearest, rows, CPU)
    assert len(some.context) < len(whole.context) / 2
    torch.testing.assert_close(
        read(model, some, features[rows]), together[rows], rtol=1e-4, atol=1e-4
    )
    if reader != "rings":
        assert some.nearest is not None and seen.nearest is not None
        there = some.nearest.mask.numpy()
        assert np.array_equal(there, seen.nearest.index[rows] >= 0) and there.sum() > 10
        found = some.context[some.nearest.index].numpy()[there]
        assert np.array_equal(found, context.features[seen.nearest.index[rows][there]])
        assert some.nearest.distance_um.isfinite().all()


@READERS
def test_slides_of_a_batch_are_read_as_if_each_were_alone(
    lattice_um: NDArray, raw: NDArray, make_config: MakeConfig, reader: str
):
    config = make_config(niche={"reader": reader})
    model, rng = drawn(config), np.random.default_rng(0)
    places = [rng.uniform(0, 1900, (n, 2)) for n in (3, 1, 5)]
    places[1][:] = 1e6  # a spot that sees nobody
    parts = [
        Context.of(lattice_um, raw[rng.permutation(len(raw))], config).around(xy_um, CPU)
        for xy_um in places
    ]
    features = [rng.normal(size=(len(xy_um), 32)).astype(np.float32) for xy_um in places]
    batch = joined(parts)
    assert all(ring.is_coalesced() for ring in batch.rings)
    together = read(model, batch, np.concatenate(features))
    alone = torch.cat([read(model, *pair) for pair in zip(parts, features, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    for k, ring in enumerate(batch.rings):
        assert torch.equal(
            ring.to_dense(), torch.block_diag(*(part.rings[k].to_dense() for part in parts))
        )


@READERS
def test_a_slide_of_one_spot_is_read(make_config: MakeConfig, reader: str):
    config = make_config(niche={"reader": reader})
    xy_um, raw = np.array([[50.0, 50.0]]), np.ones((1, 32), np.float32)
    context, model = Context.of(xy_um, raw, config), drawn(config)
    features = np.full((1, 32), 0.5, np.float32)
    with torch.inference_mode():
        reading = model(torch.from_numpy(features), context.around(xy_um, CPU))
    assert torch.equal(reading.image.attended, reading.image.spot)
    assert reading.scores.mean.isfinite().all() and reading.scores.mean.any()


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
