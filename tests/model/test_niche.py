"""Readers of single neighbours: whoever is not there, and in whatever order, has no say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypergene import hyperbolic
from hypergene.model.config import ModelConfig
from hypergene.model.lift import SharedSpace
from hypergene.model.niche import (
    DistanceBias,
    HyperbolicAttention,
    Neighbours,
    NicheReader,
    TangentAttention,
    make_reader,
    ring_centroid,
)

DIM, SPOTS, CONTEXT, NEAREST = 6, 5, 9, 4
READERS = {
    "attention": ("attention", "lorentz"),
    "flat attention": ("attention", "euclidean"),
    "hyperbolic attention": ("hyperbolic-attention", "lorentz"),
}
EVERY_READER = pytest.mark.parametrize("name", READERS)
properties = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

MakeConfig = Callable[..., ModelConfig]


class Scene:
    """A reader with random weights in a space of some curvature, and spots with neighbours."""

    def __init__(self, make_config: MakeConfig, name: str, seed: int = 0, **niche: Any) -> None:
        reader, kind = READERS[name]
        self.config = make_config(
            geometry={"kind": kind, "dim": DIM}, niche={"reader": reader, **niche}
        )
        torch.manual_seed(seed)
        made = make_reader(self.config)
        assert made is not None
        self.reader: NicheReader = made
        self.space = SharedSpace(self.config.geometry)
        with torch.no_grad():
            self.space.log_curvature.uniform_(-1, 1)
            for parameter in made.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
            self.spot = self.space.lift(0.5 * torch.randn(SPOTS, DIM))
            self.context = self.space.lift(0.5 * torch.randn(CONTEXT, DIM))
        mask = torch.rand(SPOTS, NEAREST) < 0.7
        mask[:, 0] = True
        index = torch.randint(0, CONTEXT, (SPOTS, NEAREST))
        self.near = Neighbours(index, 100 + 550 * torch.rand(SPOTS, NEAREST), mask)

    def read(self, near: Neighbours | None = None, context: Tensor | None = None) -> Tensor:
        context = self.context if context is None else context
        return self.reader(self.space, self.spot, context, self.near if near is None else near)


@EVERY_READER
@given(seed=st.integers(0, 999))
@properties
def test_the_order_of_the_neighbours_does_not_matter(make_config: MakeConfig, name: str, seed: int):
    scene = Scene(make_config, name, seed)
    order = torch.stack([torch.randperm(NEAREST) for _ in range(SPOTS)])
    tables = (scene.near.index, scene.near.distance_um, scene.near.mask)
    shuffled = Neighbours(*(table.gather(1, order) for table in tables))
    torch.testing.assert_close(scene.read(shuffled), scene.read(), rtol=1e-4, atol=1e-5)


@EVERY_READER
@given(seed=st.integers(0, 999), distance_um=st.floats(width=32), value=st.floats(width=32))
@properties
def test_whoever_is_masked_has_no_say_whatever_it_holds(
    make_config: MakeConfig, name: str, seed: int, distance_um: float, value: float
):
    scene = Scene(make_config, name, seed)
    near, there = scene.near, scene.near.mask
    strange = torch.cat([scene.context, torch.full((1, DIM), value)])
    other = Neighbours(
        torch.where(there, near.index, CONTEXT),
        torch.where(there, near.distance_um, distance_um),
        there,
    )
    assert torch.equal(scene.read(other, strange), scene.read())
    # And whoever is there has one.
    if bool((there.sum(1) > 1).any()):
        fewer = replace(near, mask=there & (torch.arange(NEAREST) < 1))
        assert not torch.equal(scene.read(fewer), scene.read())


@EVERY_READER
@given(seed=st.integers(0, 999), data=st.data())
@properties
def test_gradients_are_finite_also_for_lone_and_coincident_spots(
    make_config: MakeConfig, name: str, seed: int, data: st.DataObject
):
    scene = Scene(make_config, name, seed)
    flags = st.lists(st.booleans(), min_size=NEAREST * SPOTS, max_size=NEAREST * SPOTS)
    mask = torch.tensor(data.draw(flags)).view(SPOTS, NEAREST)
    scene.context[:2] = scene.spot[:2]  # spots whose neighbour is at the very same point
    scene.context[2] = 0.0
    for points in (scene.spot, scene.context):
        points.requires_grad_()
    near = replace(scene.near, mask=mask)
    scene.read(near).square().sum().backward()
    leaves = [scene.spot, scene.context, *scene.reader.parameters(), *scene.space.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)
    assert scene.spot.grad is not None and scene.context.grad is not None
    # A neighbour that is masked everywhere gets none at all.
    unseen = set(range(CONTEXT)) - set(near.index[mask].tolist())
    assert not scene.context.grad[sorted(unseen)].any()


@EVERY_READER
def test_a_lone_spot_reads_itself(make_config: MakeConfig, name: str):
    scene = Scene(make_config, name)
    mask = scene.near.mask.clone()
    mask[2] = False
    read = scene.read(replace(scene.near, mask=mask))
    assert torch.equal(read[2], scene.spot[2])
    others = torch.arange(SPOTS) != 2
    assert torch.equal(read[others], scene.read()[others])
    assert (read[others] - scene.spot[others]).abs().amax(1).min() > 0.01
    nobody = replace(scene.near, mask=torch.zeros_like(mask))
    assert torch.equal(scene.read(nobody), scene.spot)


@EVERY_READER
def test_a_spot_is_read_alike_alone_and_among_others(make_config: MakeConfig, name: str):
    scene = Scene(make_config, name)
    together = scene.read()
    for spot in range(SPOTS):
        rows = slice(spot, spot + 1)
        near = scene.near
        own = Neighbours(near.index[rows], near.distance_um[rows], near.mask[rows])
        alone = scene.reader(scene.space, scene.spot[rows], scene.context, own)
        torch.testing.assert_close(alone, together[rows], rtol=1e-5, atol=1e-6)


@EVERY_READER
def test_every_weight_of_a_reader_learns(make_config: MakeConfig, name: str):
    scene = Scene(make_config, name)
    scene.read().square().sum().backward()
    for parameter in scene.reader.parameters():
        assert parameter.grad is not None and parameter.grad.any()


@given(seed=st.integers(0, 999))
@properties
def test_hyperbolic_attention_with_equal_weights_is_the_centroid(
    make_config: MakeConfig, seed: int
):
    scene = Scene(make_config, "hyperbolic attention", seed)
    reader = scene.reader
    assert isinstance(reader, HyperbolicAttention)
    with torch.no_grad():
        reader.log_temperature.fill_(30.0)  # so hot that no distance counts
        reader.bias.logit.weight.zero_()
    dense = torch.zeros(SPOTS, CONTEXT)
    dense.scatter_add_(1, scene.near.index, scene.near.mask.float())
    ring = (dense / dense.sum(1, keepdim=True)).to_sparse().coalesce()
    centroid = ring_centroid(scene.space, scene.spot, scene.context, ring)
    torch.testing.assert_close(scene.read(), centroid, rtol=1e-4, atol=1e-5)


def test_hyperbolic_attention_weighs_by_the_distance_in_the_shared_space(make_config: MakeConfig):
    scene = Scene(make_config, "hyperbolic attention")
    reader, c = scene.reader, scene.space.curvature
    assert isinstance(reader, HyperbolicAttention)
    with torch.no_grad():
        reader.bias.logit.weight.zero_()
        reader.log_temperature.fill_(-0.5)
    points = scene.context[scene.near.index]
    far = hyperbolic.distance(scene.spot[:, None], points, c)
    weights = torch.exp(-far / torch.tensor(-0.5).exp()) * scene.near.mask
    expected = hyperbolic.centroid(points, weights, c)
    torch.testing.assert_close(scene.read(), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        reader.log_temperature.fill_(-50.0)
    assert reader.temperature.item() == pytest.approx(0.01)


def test_attention_starts_as_a_weighted_mean_of_its_neighbours(make_config: MakeConfig):
    config = make_config(
        geometry={"kind": "euclidean", "dim": DIM}, niche={"reader": "attention", "heads": 4}
    )
    reader, space = TangentAttention(config), SharedSpace(config.geometry)
    scene = Scene(make_config, "flat attention")
    with torch.no_grad():
        reader.query.weight.zero_()
        reader.query.bias.zero_()
    read = reader(space, scene.spot, scene.context, scene.near)
    mask = scene.near.mask[..., None]
    mean = (scene.context[scene.near.index] * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(read, mean)


@pytest.mark.parametrize("heads", [1, 4, 5, 16])
def test_any_number_of_heads_fits_any_dimension(make_config: MakeConfig, heads: int):
    assert Scene(make_config, "attention", heads=heads).read().shape == (SPOTS, DIM)


@EVERY_READER
def test_only_distances_in_pitches_count(make_config: MakeConfig, name: str):
    scene = Scene(make_config, name)
    layout = scene.config.layout.model_dump()
    wide = make_config(
        layout=layout | {"pitch_um": 2 * layout["pitch_um"]},
        geometry=scene.config.geometry.model_dump(),
        niche=scene.config.niche.model_dump(),
    )
    twin = make_reader(wide)
    assert twin is not None
    twin.load_state_dict(scene.reader.state_dict())
    twice = replace(scene.near, distance_um=2 * scene.near.distance_um)
    read = twin(scene.space, scene.spot, scene.context, twice)
    torch.testing.assert_close(read, scene.read(), rtol=1e-5, atol=1e-6)
    assert (scene.read(twice) - scene.read()).abs().max() > 1e-3


def test_the_bias_is_a_smooth_function_of_distance_that_starts_at_zero(make_config: MakeConfig):
    bias = DistanceBias(make_config(), heads=2)
    distance_um = torch.linspace(100, 650, 300)[None]
    assert bias(distance_um).shape == (1, 300, 2) and not bias(distance_um).any()
    torch.manual_seed(0)
    torch.nn.init.normal_(bias.logit.weight)
    curve = bias(distance_um)[0]
    assert curve.std(0).min() > 0.1
    assert curve.diff(dim=0).abs().max() < 0.1 * (curve.max() - curve.min())


def test_rings_need_no_reader(make_config: MakeConfig):
    assert make_reader(make_config()) is None
