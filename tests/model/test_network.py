"""The network reads a spot and its surroundings: nothing else, in float32, in either geometry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypergene.model.network import HyperGene, Reading, Surroundings
from hypergene.model.readout import Blend

MakeModel = Callable[..., HyperGene]
GEOMETRIES = pytest.mark.parametrize("kind", ["lorentz", "euclidean"])
TWO_CROPS = {
    "name": "resnet10t",
    "arguments": {"channels": [8, 8, 8, 8], "stem_width": 8},
    "tile_um": [112.0, 300.0],
    "tile_px": 32,
}
ALL_READOUTS = {"kernel": "laplacian", "inducing": 9, "gallery": 10}
NICHES: dict[str, dict[str, Any]] = {
    "lorentz": {},
    "euclidean": {"geometry": {"kind": "euclidean", "dim": 6}},
    "attention": {"niche": {"reader": "attention"}},
    "flat attention": {
        "geometry": {"kind": "euclidean", "dim": 6},
        "niche": {"reader": "attention"},
    },
    "hyperbolic attention": {"niche": {"reader": "hyperbolic-attention"}},
    "crop": {"niche": {"source": "crop"}, "encoder": TWO_CROPS},
    "crop, attention": {
        "niche": {"source": "crop", "reader": "attention"},
        "encoder": TWO_CROPS,
        "readout": ALL_READOUTS,
    },
}
EVERY_NICHE = pytest.mark.parametrize("niche", NICHES)


def tensors(reading: Reading) -> list[Tensor]:
    kernel = [] if reading.kernel is None else [reading.kernel]
    return [*reading.image, *reading.head, reading.ridge, *kernel, *reading.scores]


def rows(around: Surroundings, chosen: Tensor) -> Surroundings:
    """The surroundings of some of the spots."""
    near = around.nearest
    assert near is not None
    return Surroundings(
        around.context,
        tuple(ring.index_select(0, chosen).coalesce() for ring in around.rings),
        replace(
            near,
            index=near.index[chosen],
            distance_um=near.distance_um[chosen],
            mask=near.mask[chosen],
        ),
    )


def without_neighbours(around: Surroundings, spot: int) -> Surroundings:
    rings = []
    for ring in around.rings:
        dense = ring.to_dense()
        dense[spot] = 0
        rings.append(dense.to_sparse().coalesce())
    assert around.nearest is not None
    mask = around.nearest.mask.clone()
    mask[spot] = False
    return Surroundings(around.context, tuple(rings), replace(around.nearest, mask=mask))


def fill_readouts(model: HyperGene) -> None:
    """Give kernel and gallery something to say."""
    with torch.no_grad():
        for part in (model.kernel, model.gallery):
            for name, buffer in [] if part is None else part.named_buffers():
                if name in ("points", "weight", "keys", "residuals"):
                    buffer.normal_()
        if model.gallery is not None:
            model.gallery.held.fill_(1.0)


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


@EVERY_NICHE
@torch.inference_mode()
def test_a_spot_is_read_alike_whatever_spots_are_asked_for_with_it(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    fill_readouts(model)
    model.set_blend(Blend(0.4, 0.3, 0.5))
    together = model(features, around)
    for chosen in (torch.tensor([3]), torch.tensor([5, 0, 3])):
        apart = model(features[chosen], rows(around, chosen))
        for one, all_of_them in zip(tensors(apart), tensors(together), strict=True):
            torch.testing.assert_close(one, all_of_them[chosen], rtol=1e-5, atol=1e-6)
    assert together.scores.mean.std(0).min() > 0.05  # the spots do differ


@EVERY_NICHE
@torch.inference_mode()
def test_the_order_of_the_context_does_not_matter_but_the_context_does(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    here = model(features, around).scores.mean
    order = torch.randperm(len(around.context), generator=torch.Generator().manual_seed(0))
    shuffled = around.context[order]
    rings = tuple(ring.index_select(1, order).coalesce() for ring in around.rings)
    assert around.nearest is not None
    near = replace(around.nearest, index=order.argsort()[around.nearest.index])
    moved = model(features, Surroundings(shuffled, rings, near)).scores.mean
    torch.testing.assert_close(moved, here, rtol=1e-5, atol=1e-6)
    elsewhere = model(features, around._replace(context=shuffled)).scores.mean
    assert (elsewhere - here).abs().max() > 0.05


@EVERY_NICHE
def test_a_spot_without_neighbours_reads_itself(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    alone = without_neighbours(around, 2)
    reading = model(features, alone)
    read = [reading.image.niche] if model.config.niche.source == "neighbours" else []
    read += [reading.image.attended] if model.reader is not None else []
    for points in read:
        assert torch.equal(points[2], reading.image.spot[2])
        assert not torch.isclose(points[3], reading.image.spot[3], atol=1e-3).all()
    reading.scores.mean.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@EVERY_NICHE
def test_a_batch_without_any_neighbour_is_read(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    empty = torch.zeros(len(features), 1).to_sparse().coalesce()
    assert around.nearest is not None
    near = replace(
        around.nearest,
        index=torch.zeros_like(around.nearest.index),
        mask=torch.zeros_like(around.nearest.mask),
    )
    nothing = Surroundings(around.context[:1], (empty,) * 3, near)
    reading = model(features, nothing)
    if model.reader is not None or model.config.niche.source == "neighbours":
        assert torch.equal(reading.image.attended, reading.image.spot)
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
    view = model.view(features, around)
    torch.testing.assert_close(view.niche, expected)
    assert view.attended is view.niche  # rings are read as they are


@torch.inference_mode()
def test_the_niche_is_the_second_crop_where_it_should_be(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = make_model(**NICHES["crop"])
    own, wide = features[:, :8], features[:, 8:]
    view = model.view(features, around)
    for points, crop in ((view.spot, own), (view.niche, wide), (view.attended, wide)):
        torch.testing.assert_close(points, model.space.lift_image(model.project(crop)))
    # One projection reads both levels, so the same picture gives the same point.
    alike = model.view(torch.cat([wide, wide], 1), around)
    torch.testing.assert_close(alike.spot, alike.niche)


@pytest.mark.parametrize("niche", ["attention", "flat attention", "hyperbolic attention"])
@torch.inference_mode()
def test_attention_is_read_by_the_head_beside_a_niche_that_stays_the_first_ring(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    view = model.view(features, around)
    plain = dict(NICHES[niche], niche={})
    ring = make_model(**plain)
    ring.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(view.niche, ring.view(features, around).niche)
    assert (view.attended - view.niche).abs().max() > 0.01
    inputs = model.head_inputs(features, view)
    torch.testing.assert_close(inputs[:, 22:28], model.space.unlift(view.attended))
    torch.testing.assert_close(inputs[:, 28], model.space.distance(view.spot, view.attended))


def test_a_model_that_attends_is_not_read_without_neighbours(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    with pytest.raises(ValueError, match="rings alone"):
        make_model(**NICHES["attention"])(features, around._replace(nearest=None))


@pytest.mark.parametrize(
    ("reads", "width"),
    [
        (["spot"], 6),
        (["features"], 16),
        (["features", "niche"], 22),
        (["distances"], 2),
        (["distances", "spot"], 8),
    ],
)
@torch.inference_mode()
def test_the_head_reads_what_it_is_told_to(
    make_model: MakeModel, features: Tensor, around: Surroundings, reads: list[str], width: int
):
    model = make_model(head={"modules": 4, "reads": reads})
    view = model.view(features, around)
    space = model.space
    parts = {
        "features": features,
        "spot": space.unlift(view.spot),
        "niche": space.unlift(view.niche),
        "distances": torch.stack(
            [space.distance(view.spot, view.niche), space.radius(view.spot)], 1
        ),
    }
    inputs = model.head_inputs(features, view)
    assert inputs.shape == (len(features), width)
    assert torch.equal(inputs, torch.cat([parts[name] for name in reads], 1))
    assert torch.equal(model(features, around).head.mean, model.head(inputs).mean)


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
    assert reading.kernel is None


@pytest.mark.parametrize("kind", ["laplacian", "rbf", "hyperbolic"])
@torch.inference_mode()
def test_kernel_and_gallery_have_their_shares_in_the_answer(
    make_model: MakeModel, features: Tensor, around: Surroundings, kind: str
):
    model = make_model(readout=ALL_READOUTS | {"kernel": kind})
    fill_readouts(model)
    reading, inputs = model(features, around), model.ridge_inputs(features, around)
    assert model.kernel is not None and model.gallery is not None and reading.kernel is not None
    read = reading.image.spot if kind == "hyperbolic" else inputs
    torch.testing.assert_close(reading.kernel, model.kernel(read, model.space.curvature))
    parts = (reading.head.mean, reading.ridge, reading.kernel, inputs)
    assert model.blend == pytest.approx((0.4, 0, 0))
    assert torch.equal(model.answer(*parts, Blend(0, 0, 0)), reading.head.mean)
    assert torch.equal(reading.scores.mean, model.answer(*parts))
    average = model.answer(*parts, Blend(0.5, 0.5, 0))
    both = 0.25 * (reading.head.mean + reading.ridge) + 0.5 * reading.kernel
    torch.testing.assert_close(average, both)
    corrected = model.answer(*parts, Blend(0.5, 0.5, 0.5))
    torch.testing.assert_close(corrected, model.gallery(both, inputs, 0.5))
    assert (corrected - average).abs().max() > 1e-3
    model.set_blend(Blend(0.5, 0.5, 0.5))
    assert model.blend == (0.5, 0.5, 0.5)
    torch.testing.assert_close(model(features, around).scores.mean, corrected)


@torch.inference_mode()
def test_what_a_model_does_not_have_gets_no_share(
    make_model: MakeModel, features: Tensor, around: Surroundings
):
    model = make_model(readout={"ridge": False})
    model.set_blend(Blend(0.5, 0.5, 0.5))
    assert model.blend == (0, 0, 0)
    reading = model(features, around)
    assert torch.equal(reading.scores.mean, reading.head.mean)
    parts = (reading.head.mean, reading.ridge, None, features)
    assert torch.equal(model.answer(*parts, Blend(0.5)), reading.head.mean)


@EVERY_NICHE
def test_an_anchored_model_starts_as_the_ridge_bit_by_bit_and_can_leave_it(
    make_config: Callable[..., Any], features: Tensor, around: Surroundings, niche: str
):
    torch.manual_seed(0)
    config = make_config(**NICHES[niche] | {"readout": {"anchor": True}})
    model = HyperGene(config)  # in training: dropout must not matter either
    model.ridge.weight.normal_()
    model.set_blend(Blend())
    reading = model(features, around)
    assert torch.equal(reading.scores.mean, model.ridge(model.ridge_inputs(features, around)))
    assert torch.equal(reading.head.mean, reading.ridge)
    assert reading.ridge.std() > 0.1
    scale = model.anchor_scale
    assert scale is not None
    (reading.head.mean - 1.0).square().mean().backward()
    assert scale.grad is not None and scale.grad.isfinite() and scale.grad.abs() > 1e-4
    assert not model.head.mean.weight.grad.any()  # the next step, from another scale, moves it
    with torch.no_grad():
        scale.sub_(0.1 * scale.grad)
    moved = model(features, around)
    assert not torch.equal(moved.scores.mean, moved.ridge)
    assert torch.equal(moved.scores.mean, moved.head.mean)
    moved.head.mean.square().mean().backward()
    assert model.head.mean.weight.grad.any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_models_without_new_parts_have_the_tensors_they_had(make_model: MakeModel):
    names = {name.split(".")[0] for name in make_model().state_dict()}
    assert names == {
        *("encoder", "project", "space", "gene_spot", "gene_niche", "head", "ridge"),
        *("modules_to_genes", "reference", "heldout_pcc", "ceiling_pcc", "reliable"),
    }
    archetypes = make_model(geometry={"dim": 6, "archetypes": 3}).archetypes
    assert archetypes is not None and len(archetypes) == 3


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


@EVERY_NICHE
@torch.inference_mode()
def test_autocast_around_the_network_changes_no_digit(
    make_model: MakeModel, features: Tensor, around: Surroundings, niche: str
):
    model = make_model(**NICHES[niche])
    plain = tensors(model(features, around))
    with torch.autocast("cpu", torch.bfloat16):
        width = model.project[0].in_features
        assert model.project(features[:, :width]).dtype == torch.bfloat16  # autocast is at work
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
    everything = {"readout": ALL_READOUTS, "niche": {"reader": "attention"}}
    model = make_model(**everything, geometry={"dim": 6, "archetypes": 3}).to("meta")
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    assert {b.device.type for b in model.buffers()} == {"meta"}
    stray = [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    assert stray == []
