"""Every term is what its name says, stands in its family, and stays finite on bad batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypergene.errors import UsageError
from hypergene.hyperbolic import distance, exp0
from hypergene.model import losses as loss
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene, Reading, Surroundings
from hypergene.training.batch import Batch
from hypergene.training.objective import AUXILIARY, REGRESSION, Objective, Terms
from hypergene.training.seen import too_near
from hypergene.training.terms import Losses

B, CONTEXT, FEATURES, MODULES, GENES, CLUSTERS = 12, 9, 16, 4, 12, 3
EVERY_TERM: dict[str, Any] = {
    **{name: {"weight": 0.3} for name in ("relative", *AUXILIARY)},
    "clusters": {"weight": 0.3, "number": CLUSTERS},
    "contrast": {"soft": 0.3},
}
MakeModel = Callable[..., HyperGene]


@pytest.fixture
def make_model(config: ModelConfig) -> MakeModel:
    """A tiny model whose head and gene modules are not zero."""

    def make(**sections: Any) -> HyperGene:
        torch.manual_seed(0)
        changed = ModelConfig.model_validate(config.model_dump() | sections)
        model = HyperGene(changed).eval()
        with torch.no_grad():
            model.head.mean.weight.normal_(0, 0.1)
            model.ridge.weight.normal_(0, 0.1)
            model.modules_to_genes.loadings.normal_(0, 0.5)
            model.modules_to_genes.mean.uniform_(0.5, 3)
        return model

    return make


def batch_of(seed: int = 0, slides: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    ring = torch.full((B, CONTEXT), 1 / CONTEXT).to_sparse().coalesce()
    return Batch(
        features=normal(B, FEATURES),
        around=Surroundings(normal(CONTEXT, FEATURES), (ring, ring, ring)),
        slide=torch.arange(B) % slides,
        xy_um=2000 * torch.rand(B, 2, generator=generator),
        scores=normal(B, MODULES),
        niche_scores=0.5 * normal(B, MODULES),
        log_depth=7 + normal(B),
        richness=torch.rand(B, generator=generator),
        likeness=normal(B, MODULES),
        clusters=normal(B, CLUSTERS).softmax(1),
        counts=torch.poisson(torch.ones(B, GENES), generator=generator),
        measured=torch.rand(GENES, generator=generator).expand(B, GENES) < 0.8,
        spots="made up",
    )


def losses_of(**sections: Any) -> Losses:
    return Losses.model_validate(sections)


def judged(
    model: HyperGene, losses: Losses, batch: Batch | None = None, progress: float = 0.5
) -> Terms:
    batch = batch_of() if batch is None else batch
    torch.manual_seed(1)
    objective = Objective(model, losses)
    torch.manual_seed(2)
    terms: Terms = objective(model, model(batch.features, batch.around), batch, progress)
    return terms


def test_every_term_is_there_once_in_one_family_with_its_weight(make_model: MakeModel) -> None:
    terms = judged(make_model(), losses_of(**EVERY_TERM))
    assert set(terms.values) == set(terms.weights) == set(REGRESSION) | set(AUXILIARY)
    assert not set(REGRESSION) & set(AUXILIARY)
    assert terms.weights == {
        "regression": 1.0, "spread": 0.1, **dict.fromkeys(("relative", *AUXILIARY), 0.3)
    }  # fmt: skip
    families = [
        sum(terms.weights[name] * terms.values[name].item() for name in family)
        for family in (REGRESSION, AUXILIARY)
    ]
    assert terms.regression is not None and terms.auxiliary is not None
    assert terms.regression.item() == pytest.approx(families[0], rel=1e-5)
    assert terms.auxiliary.item() == pytest.approx(families[1], rel=1e-5)
    assert terms.total.item() == pytest.approx(sum(families), rel=1e-5)
    assert all(value.shape == () and value > 0 for value in terms.values.values())


def test_a_term_of_weight_0_is_not_computed(make_model: MakeModel) -> None:
    terms = judged(make_model(), losses_of(regression={"spread": 0.0}))
    assert set(terms.values) == {"regression"}
    assert terms.auxiliary is None
    nothing_else = judged(
        make_model(), losses_of(regression={"weight": 0.0, "spread": 0.0}, hca={"weight": 1.0})
    )
    assert set(nothing_else.values) == {"hca"}
    assert nothing_else.regression is None


def test_weights_follow_their_schedule(make_model: MakeModel) -> None:
    late = {"weight": 2.0, "start": 0.2, "rise": 0.4, "end": 0.8}
    losses = losses_of(hca=late)
    objective = Objective(make_model(), losses)
    found = {p: objective.weights(p).get("hca") for p in (0.0, 0.2, 0.4, 0.6, 0.79, 0.8, 1.0)}
    expected = {0.0: None, 0.2: None, 0.4: 1.0, 0.6: 2.0, 0.79: 2.0, 0.8: None, 1.0: None}
    assert found == pytest.approx(expected)
    assert objective.weights(0.0) == {"regression": 1.0, "spread": 0.1}
    assert "spread" not in Objective(
        make_model(), losses_of(regression={"kind": "gaussian"})
    ).weights(0.5), "the likelihood is the regression already"


def test_no_term_at_all_is_refused(make_model: MakeModel) -> None:
    losses = losses_of(regression={"weight": 0.0, "spread": 0.0}, hca={"weight": 1.0, "end": 0.5})
    judged(make_model(), losses, progress=0.4)
    with pytest.raises(UsageError, match="60%"):
        judged(make_model(), losses, progress=0.6)


def test_a_flat_space_has_no_cones_but_all_other_terms(make_model: MakeModel) -> None:
    model = make_model(geometry={"kind": "euclidean", "dim": 8})
    terms = judged(model, losses_of(**EVERY_TERM))
    assert set(REGRESSION) | set(AUXILIARY) == set(terms.values) | {"hea", "cross", "intra"}
    assert not set(terms.values) & {"hea", "cross", "intra"}


def test_alignment_terms_are_their_losses_on_the_four_points(make_model: MakeModel) -> None:
    model, batch = make_model(), batch_of()
    values = judged(model, losses_of(**EVERY_TERM), batch).values
    image, space = model(batch.features, batch.around).image, model.space
    gene = space.lift_gene(model.gene_spot(batch.scores))
    gene_niche = space.lift_gene(model.gene_niche(batch.niche_scores))
    points = (image.spot, image.niche, gene, gene_niche)
    near = torch.cdist(batch.xy_um, batch.xy_um) < 400
    near &= batch.slide[:, None] == batch.slide
    assert near.sum() > B, "some pairs are too near to be negatives"
    options: dict[str, Any] = {
        "curvature": 1.0, "temperature": space.temperature, "same_slide": batch.slide,
        "ignore": near,
    }  # fmt: skip
    soft = loss.expression_targets(batch.likeness, 0.3, same_slide=batch.slide, ignore=near)
    c: dict[str, Any] = {"curvature": 1.0}
    parent = loss.richness_parents(batch.richness, batch.likeness, batch.slide, 4)
    assert (parent >= 0).any()
    expected = {
        "hca": loss.hierarchical_contrastive_alignment(*points, soft_targets=soft, **options),
        "pairs": loss.branch_contrast(*points, soft_targets=soft, **options),
        "hea": loss.hierarchical_entailment_alignment(*points, **c),
        "cross": loss.entailment_loss(image.spot, gene, eta=0.7, **c),
        "intra": loss.richness_entailment(image.spot, gene, parent, **c),
        "radius": 0.5 * sum(
            loss.radius_dependence(space.radius(x), batch.log_depth, batch.slide)
            for x in (image.spot, gene)
        ),
        "collapse": 0.5 * sum(
            loss.collapse(space.unlift(x), batch.slide, 0.5) for x in (image.spot, gene)
        ),
    }  # fmt: skip
    for name, value in expected.items():
        assert values[name].item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("contrast", "similarity", "cosine"),
        ("contrast", "same_slide", False),
        ("contrast", "apart_pitch", 0.0),
        ("contrast", "soft", 0.0),
        ("pairs", "query", 0.1),
        ("pairs", "neighbour", 0.1),
        ("hea", "level_parent", "spot"),
        *(("hea", "eta", {term: 0.1}) for term in ("spot", "niche", "image", "gene")),
        ("cross", "parent", "gene"),
        ("cross", "eta", 0.1),
        ("intra", "levels", 2),
        ("intra", "eta", 0.1),
        ("collapse", "floor", 3.0),
        ("regression", "kind", "huber"),
        ("regression", "kind", "gaussian"),
        ("regression", "kind", "negative-binomial"),
        ("relative", "genes", 2),
    ],
)
def test_each_key_changes_its_term_and_no_other(
    make_model: MakeModel, name: str, key: str, value: Any
) -> None:
    model = make_model()
    plain = judged(model, losses_of(**EVERY_TERM)).values
    table = EVERY_TERM | {name: {**EVERY_TERM.get(name, {}), key: value}}
    changed = judged(model, losses_of(**table)).values
    touched = {"contrast": {"hca", "pairs"}}.get(name, {name})
    same = {term for term in plain if term in changed and plain[term] == changed[term]}
    assert same == set(changed) - touched


def test_huber_has_its_delta(make_model: MakeModel) -> None:
    values = [
        judged(make_model(), losses_of(regression={"kind": "huber", "delta": delta})).values
        for delta in (0.1, 1.0)
    ]
    assert values[0]["regression"] < values[1]["regression"]


def test_regression_weighs_modules_by_the_variance_they_carry(make_model: MakeModel) -> None:
    model, batch = make_model(), batch_of()
    share = model.modules_to_genes.loadings.square().sum(1)
    share = share / share.sum()
    error = (model(batch.features, batch.around).head.mean - batch.scores).square()
    expected = (error * share).sum(1).mean()
    assert judged(model, Losses(), batch).values["regression"].item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_counts_are_judged_by_unclamped_expression_of_the_answer(make_model: MakeModel) -> None:
    model, batch = make_model(), batch_of()
    table = model.modules_to_genes
    table.mean.sub_(2)
    x = table.mean + model(batch.features, batch.around).head.mean @ table.loadings
    assert (x < 0).any()
    values = judged(
        model,
        losses_of(regression={"kind": "negative-binomial"}, relative={"weight": 1, "genes": GENES}),
        batch,
    ).values
    assert batch.counts is not None
    options: dict[str, Any] = {"measured": batch.measured}
    likelihood = loss.negative_binomial(
        x, batch.counts, batch.log_depth, torch.zeros(GENES), slide=batch.slide, **options
    )
    ranked = loss.listwise(x, batch.counts, batch.log_depth, batch.slide, **options)
    assert values["regression"].item() == pytest.approx(likelihood.item(), rel=1e-5)
    assert values["relative"].item() == pytest.approx(ranked.item(), rel=1e-5)


def test_genes_of_the_relative_loss_repeat_with_torch_s_own_generator(
    make_model: MakeModel,
) -> None:
    model, batch = make_model(), batch_of()
    objective = Objective(model, losses_of(relative={"weight": 1.0, "genes": 3}))
    reading = model(batch.features, batch.around)

    def draw(count: int) -> list[float]:
        terms = [objective(model, reading, batch, 0.0) for _ in range(count)]
        return [term.values["relative"].item() for term in terms]

    torch.manual_seed(7)
    draw(3)
    state = torch.get_rng_state()
    first = draw(4)
    torch.set_rng_state(state)
    assert draw(4) == first
    assert len(set(first)) > 1


def gradients(model: HyperGene, value: Tensor) -> dict[str, float]:
    """Size of the gradient that reaches each parameter."""
    names, parameters = zip(
        *((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True
    )
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return {
        name: 0.0 if gradient is None else float(gradient.abs().sum())
        for name, gradient in zip(names, found, strict=True)
    }


@pytest.mark.parametrize("anchor", [False, True])
def test_a_probe_trains_the_head_alone_and_has_the_same_value(
    make_model: MakeModel, anchor: bool
) -> None:
    model = make_model(readout={"anchor": anchor})
    if model.anchor_scale is not None:
        torch.nn.init.constant_(model.anchor_scale, 0.5)
    tables = {"relative": {"weight": 1.0}}
    plain, probe = (
        judged(model, losses_of(regression={"probe": probe}, **tables)) for probe in (False, True)
    )
    for name in REGRESSION:
        assert plain.values[name].item() == pytest.approx(probe.values[name].item(), rel=1e-6)
    assert plain.regression is not None and probe.regression is not None
    reached = gradients(model, plain.regression), gradients(model, probe.regression)
    before_head = [n for n in reached[0] if not n.startswith(("head.", "anchor_scale"))]
    assert any(reached[0][name] > 0 for name in before_head)
    assert all(reached[1][name] == 0 for name in before_head)
    assert reached[1]["head.mean.weight"] > 0
    assert not anchor or reached[1]["anchor_scale"] > 0


def test_an_anchor_learns_its_scale_from_the_ridge_on(make_model: MakeModel) -> None:
    model, batch = make_model(readout={"anchor": True}), batch_of()
    terms = judged(model, losses_of(regression={"spread": 0.0}), batch)
    ridge = model(batch.features, batch.around).ridge
    weights = model.modules_to_genes.module_variance
    assert terms.values["regression"] == loss.mse(ridge, batch.scores, weights=weights)
    reached = gradients(model, terms.total)
    assert reached["anchor_scale"] > 0
    assert reached["head.mean.weight"] == 0, "not before the scale has left 0"


def test_parameters_of_training_alone_are_trained(make_model: MakeModel) -> None:
    model, batch = make_model(), batch_of()
    losses = losses_of(
        regression={"kind": "negative-binomial"}, clusters={"weight": 1.0, "number": CLUSTERS}
    )
    objective = Objective(model, losses)
    assert {name for name, _ in objective.named_parameters()} == {
        "log_dispersion", "cluster_head.weight", "cluster_head.bias"
    }  # fmt: skip
    objective(model, model(batch.features, batch.around), batch, 0.0).total.backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    assert not list(Objective(model, Losses()).parameters())


def degenerate(case: str) -> tuple[Batch, float]:
    """A bad batch, and the size of the image projection it is seen through."""
    batch, one = batch_of(), torch.zeros(B, dtype=torch.long)
    assert batch.counts is not None and batch.measured is not None
    changed: dict[str, Any] = {
        "plain": {},
        "one slide": {"slide": one},
        "single spot of a slide": {"slide": torch.where(torch.arange(B) == 0, 1, one)},
        "every spot of another slide": {"slide": torch.arange(B)},
        "zero counts": {"counts": torch.zeros_like(batch.counts), "log_depth": torch.zeros(B)},
        "nothing measured": {"measured": torch.zeros_like(batch.measured)},
        "equal depth": {"log_depth": torch.full((B,), 7.0)},
        "equal richness": {"richness": torch.full((B,), 0.5)},
        "one place": {"xy_um": torch.zeros(B, 2)},
        "one expression": {
            name: torch.ones(B, MODULES) for name in ("scores", "niche_scores", "likeness")
        },
        "coincident points": {},
        "at the origin": {},
        "far out": {},
    }[case]
    return batch._replace(**changed), {"at the origin": 0.0, "far out": 1e6}.get(case, 1.0)


@pytest.mark.parametrize("kind", ["mse", "negative-binomial"])
@pytest.mark.parametrize("similarity", ["distance", "cosine"])
@pytest.mark.parametrize(
    "case",
    [
        "plain", "one slide", "single spot of a slide", "every spot of another slide",
        "zero counts", "nothing measured", "equal depth", "equal richness", "one place",
        "one expression", "coincident points", "at the origin", "far out",
    ],
)  # fmt: skip
def test_bad_batches_have_finite_values_and_gradients(
    make_model: MakeModel, case: str, similarity: str, kind: str
) -> None:
    model = make_model()
    batch, size = degenerate(case)
    if case == "coincident points":
        alike = batch.around._replace(context=torch.ones(CONTEXT, FEATURES))
        batch = batch._replace(features=torch.ones(B, FEATURES), around=alike)
        batch = batch._replace(scores=torch.ones(B, MODULES), niche_scores=torch.ones(B, MODULES))
    with torch.no_grad():
        for parameter in model.project.parameters():
            parameter.mul_(size)
    table = EVERY_TERM | {
        "contrast": {"soft": 0.3, "similarity": similarity},
        "regression": {"kind": kind},
    }
    terms = judged(model, losses_of(**table), batch)
    for name, value in terms.values.items():
        assert torch.isfinite(value), name
        reached = gradients(model, value)
        assert all(math.isfinite(size) for size in reached.values()), name


@given(st.integers(0, 2**32 - 1))
def test_too_near_is_within_a_slide_and_below_the_distance(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Whole pitches of 200 µm far from the origin of the slide: many pairs are 2 pitches apart.
    cells = torch.randint(0, 4, (10, 2), generator=generator)
    xy_um, slide = 200.0 * cells + 40_000, torch.randint(0, 2, (10,), generator=generator)
    layout = ModelConfig.model_validate(
        {
            "provenance": {"name": "x"}, "genes": ["G"],
            "layout": {
                "name": "st", "lattice": "square", "shape": "circle", "diameter_um": 100,
                "pitch_um": 200,
            },
        }
    ).layout  # fmt: skip
    near = too_near(slide, xy_um, 2.0, layout)
    for i in range(10):
        for j in range(10):
            apart = math.dist(cells[i].tolist(), cells[j].tolist())
            assert near[i, j].item() == (slide[i].item() == slide[j].item() and apart < 2)


class TestDiagnostics:
    """Numbers for the log."""

    def test_radii_are_distances_to_the_origin_by_level(self, make_model: MakeModel) -> None:
        model, batch = make_model(), batch_of()
        objective = Objective(model, losses_of(hca={"weight": 0.1}))
        reading = model(batch.features, batch.around)
        row = objective.diagnostics(model, reading, batch)
        origin = torch.zeros(B, 8)
        for name, points in (("spot", reading.image.spot), ("niche", reading.image.niche)):
            expected = distance(points, origin, 1.0).mean().item()
            assert row[f"radius/image_{name}"] == pytest.approx(expected, rel=1e-4)
        assert {"radius/gene_spot", "radius/gene_niche"} <= set(row)
        assert row["curvature"] == 1
        assert row["temperature"] == pytest.approx(0.07)
        assert all(isinstance(value, float) and math.isfinite(value) for value in row.values())

    def test_cones_known_by_hand(self, make_model: MakeModel) -> None:
        model, batch = make_model(), batch_of()
        objective = Objective(model, losses_of(hea={"weight": 0.1}))
        reading = model(batch.features, batch.around)
        ray = torch.eye(8)[0].expand(B, 8)

        def row(image: float, niche: float, genes: float) -> dict[str, float]:
            """Every point on one ray: image spots and niches at a radius each, genes at another."""
            for encoder in (model.gene_spot, model.gene_niche):
                with torch.no_grad():
                    for parameter in encoder.parameters():
                        parameter.zero_()
                    scale = model.space.log_scale_gene.exp()
                    encoder.leave.bias.copy_(genes / scale * ray[0])
            view = reading.image._replace(spot=exp0(image * ray, 1.0), niche=exp0(niche * ray, 1.0))
            seen: Reading = reading._replace(image=view)
            return objective.diagnostics(model, seen, batch)

        outwards = row(1.0, 0.5, 2.0)
        # Gene spot and niche coincide, which is no violation.
        assert outwards["cone_violations"] == 0
        assert outwards["dead_apertures"] == 0
        inwards = row(1.0, 1.5, 0.5)
        assert inwards["cone_violations"] == 0.75
        near = row(0.1, 0.05, 2.0)
        # Of four parents (image spot, image niche twice, gene niche), all but the last.
        assert near["dead_apertures"] == 0.75

    def test_nothing_is_said_of_gene_points_that_no_term_trains(
        self, make_model: MakeModel
    ) -> None:
        model, batch = make_model(), batch_of()
        reading = model(batch.features, batch.around)
        row = Objective(model, Losses()).diagnostics(model, reading, batch)
        assert set(row) == {
            "curvature", "temperature", "radius/image_spot", "radius/image_niche"
        }  # fmt: skip

    def test_a_flat_space_has_radii_and_no_cones(self, make_model: MakeModel) -> None:
        model, batch = make_model(geometry={"kind": "euclidean", "dim": 8}), batch_of()
        objective = Objective(model, losses_of(hca={"weight": 0.1}))
        row = objective.diagnostics(model, model(batch.features, batch.around), batch)
        assert "radius/gene_spot" in row
        assert not {"cone_violations", "dead_apertures"} & set(row)
