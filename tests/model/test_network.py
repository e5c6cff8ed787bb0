"""The network reads a spot and its surroundings: nothing else, in float32, in either geometry."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hypergene.model.network import HyperGene, Reading, Surroundings

MakeModel = Callable[..., HyperGene]
GEOMETRIES = pytest.mark.parametrize("kind", ["lorentz", "euclidean"])


def tensors(reading: Reading) -> list[Tensor]:
    return [*reading.image, *reading.head, reading.ridge, *reading.scores]


def rows(around: Surroundings, chosen: Tensor) -> Surroundings:
    """The surroundings of some of the spots."""
    return Surroundings(
        around.context, tuple(ring.index_select(0, chosen).coalesce() for ring in around.rings)
    )


def without_neighbours(around: Surroundings, spot: int) -> Surroundings:
    rings = []
    for ring in around.rings:
        dense = ring.to_dense()
        dense[spot] = 0
        rings.append(dense.to_sparse().coalesce())
    return Surroundings(around.context, tuple(rings))


def test_no_expression_enters_the_prediction():
    assert list(inspect.signature(HyperGene.forward).parameters) == ["self", "features", "around"]
    assert list(inspect.signature(HyperGene.encode).parameters) == ["self", "tiles"]


@torch.inference_mode()
def test_expression_does_not_depend_on_the_gene_encoders(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = make_model()
    before = model(features, around).scores.mean
    for gene_encoder in (model.gene_spot, model.gene_niche):
        for parameter in gene_encoder.parameters():
            parameter.fill_(float("nan"))
    assert torch.equal(model(features, around).scores.mean, before)


@GEOMETRIES
@torch.inference_mode()
def test_a_spot_is_read_alike_whatever_spots_are_asked_for_with_it(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    together = model(features, around)
    for chosen in (torch.tensor([3]), torch.tensor([5, 0, 3])):
        apart = model(features[chosen], rows(around, chosen))
        for one, all_of_them in zip(tensors(apart), tensors(together), strict=True):
            torch.testing.assert_close(one, all_of_them[chosen], rtol=1e-5, atol=1e-6)
    assert together.scores.mean.std(0).min() > 0.05  # the spots do differ


@GEOMETRIES
@torch.inference_mode()
def test_the_order_of_the_context_does_not_matter_but_the_context_does(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    here = model(features, around).scores.mean
    order = torch.randperm(len(around.context), generator=torch.Generator().manual_seed(0))
    shuffled = around.context[order]
    rings = tuple(ring.index_select(1, order).coalesce() for ring in around.rings)
    moved = model(features, Surroundings(shuffled, rings)).scores.mean
    torch.testing.assert_close(moved, here, rtol=1e-5, atol=1e-6)
    elsewhere = model(features, Surroundings(shuffled, around.rings)).scores.mean
    assert (elsewhere - here).abs().max() > 0.05


@GEOMETRIES
def test_a_spot_without_neighbours_is_its_own_niche(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    alone = without_neighbours(around, 2)
    reading = model(features, alone)
    assert torch.equal(reading.image.niche[2], reading.image.spot[2])
    assert not torch.isclose(reading.image.niche[3], reading.image.spot[3], atol=1e-3).all()
    reading.scores.mean.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@GEOMETRIES
def test_a_batch_without_any_neighbour_is_read(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    empty = torch.zeros(len(features), 1).to_sparse().coalesce()
    nothing = Surroundings(around.context[:1], (empty,) * 3)
    reading = model(features, nothing)
    assert torch.equal(reading.image.niche, reading.image.spot)
    means = model.ridge_inputs(features, nothing)[:, features.shape[1] :]
    assert means.shape == (len(features), 3 * features.shape[1]) and not means.any()
    assert all(tensor.isfinite().all() for tensor in tensors(reading))


@torch.inference_mode()
def test_the_euclidean_niche_is_the_mean_of_the_first_ring(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = make_model(geometry={"kind": "euclidean", "dim": 6})
    points = model.space.lift_image(model.project(around.context))
    expected = around.rings[0].to_dense() @ points
    torch.testing.assert_close(model.view(features, around).niche, expected)


@torch.inference_mode()
def test_the_answer_is_the_blend_of_both_readouts(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = make_model()
    reading = model(features, around)
    torch.testing.assert_close(reading.ridge, model.ridge(model.ridge_inputs(features, around)))
    blend = 0.6 * reading.head.mean + 0.4 * reading.ridge
    torch.testing.assert_close(reading.scores.mean, blend)
    assert torch.equal(reading.scores.log_variance, reading.head.log_variance)
    assert (reading.head.mean - reading.ridge).abs().min() > 1e-3


@torch.inference_mode()
def test_ridge_inputs_are_features_beside_ring_means(features: Tensor, around: Surroundings):
    inputs = HyperGene.ridge_inputs(features, around)
    means = [ring.to_dense() @ around.context for ring in around.rings]
    torch.testing.assert_close(inputs, torch.cat([features, *means], 1))


@torch.inference_mode()
def test_a_fresh_model_predicts_the_mean_of_every_gene_with_unit_spread(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = HyperGene(make_model().config).eval()
    genes = model.modules_to_genes
    genes.mean.uniform_(0.5, 2.0)
    genes.loadings.normal_()
    reading = model(features, around)
    assert not reading.scores.mean.any() and not reading.scores.log_variance.any()
    assert torch.equal(genes.expression(reading.scores.mean), genes.mean.expand(len(features), -1))


@torch.inference_mode()
def test_the_euclidean_twin_runs_with_the_same_tensors(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    lorentz = make_model()
    twin = make_model(seed=1, geometry={"kind": "euclidean", "dim": 6})
    twin.load_state_dict(lorentz.state_dict(), strict=True)
    far = (lorentz(features, around).scores.mean - twin(features, around).scores.mean).abs().max()
    # Close to the origin hyperbolic space is flat, and the twins meet.
    for model in (lorentz, twin):
        model.space.log_scale_image.fill_(-8.0)
    near = (lorentz(features, around).scores.mean - twin(features, around).scores.mean).abs().max()
    assert near < 1e-4 < 100 * far


@GEOMETRIES
def test_gradients_reach_encoder_projection_and_curvature(
    make_model: MakeModel, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    tiles = torch.randint(0, 256, (7, 1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    model(model.encode(tiles), around).scores.mean.square().sum().backward()

    def moved(module: nn.Module) -> bool:
        return all(p.grad is not None and bool(p.grad.any()) for p in module.parameters())

    assert moved(model.project)
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.encoder.parameters())
    assert model.space.log_scale_image.grad is not None
    curvature = model.space.log_curvature
    if kind == "lorentz":
        assert curvature.grad is not None and curvature.grad != 0
    else:
        assert curvature.grad is None and not curvature.requires_grad


@GEOMETRIES
@torch.inference_mode()
def test_autocast_around_the_network_changes_no_digit(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(geometry={"kind": kind, "dim": 6})
    plain = tensors(model(features, around))
    with torch.autocast("cpu", torch.bfloat16):
        assert model.project(features).dtype == torch.bfloat16  # autocast is at work
        cast = tensors(model(features, around))
        view = model.view(features, around)
    for one, other in zip(cast, plain, strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)
    assert torch.equal(view.spot, plain[0]) and torch.equal(view.niche, plain[1])


@torch.inference_mode()
def test_features_in_half_precision_are_read_in_float32(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    reading = make_model()(features.bfloat16(), around)
    assert all(tensor.dtype == torch.float32 for tensor in tensors(reading))


def test_the_network_moves_to_a_device_as_a_whole(make_model: MakeModel):
    model = make_model().to("meta")
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    assert {b.device.type for b in model.buffers()} == {"meta"}
    stray = [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    assert stray == []
