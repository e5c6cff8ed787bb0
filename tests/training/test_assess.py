"""Readouts are fitted on training sections, and validation decides what each has to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.model.readout import Blend
from hypergene.training.assess import (
    EncodedSection,
    apart,
    blends,
    choose_blend,
    encode_sections,
    fit_readouts,
    predict_section,
    selection_metric,
    validate,
)
from hypergene.training.section import Section

CPU = torch.device("cpu")
EVERYTHING = {"kernel": "laplacian", "inducing": 30, "gallery": 40}
KERNELS = pytest.mark.parametrize("kernel", ["laplacian", "rbf", "hyperbolic"])

MakeSection = Callable[..., Section]


def a_model(config: ModelConfig, **readout: Any) -> HyperGene:
    torch.manual_seed(0)
    whole = config.model_dump() | {"readout": readout}
    model = HyperGene(ModelConfig.model_validate(whole)).eval()
    with torch.no_grad():
        model.modules_to_genes.loadings.normal_()
        model.modules_to_genes.mean.fill_(2.0)
        model.head.mean.weight.normal_(0, 0.1)
    return model


def encoded_with_scores(
    model: HyperGene, sections: Sequence[Section]
) -> tuple[list[EncodedSection], list[np.ndarray]]:
    """Sections, and scores that follow their picture."""
    encoded = encode_sections(model, sections, CPU)
    rng = np.random.default_rng(0)
    modules = model.config.head.modules
    scores = []
    for one in encoded:
        level = one.section.expression.dense()[:, :1] - 2
        noise = rng.normal(0, 0.05, (len(level), modules))
        scores.append((level * np.linspace(-2, 2, modules) + noise).astype(np.float32))
    return encoded, scores


@pytest.fixture
def sections(make_section: MakeSection) -> list[Section]:
    """Two sections of patient A, one of patient B."""
    return [make_section(name, name[0], seed) for seed, name in enumerate(("A1", "A2", "B1"))]


# Fitting ------------------------------------------------------------------------------------------


@KERNELS
def test_every_readout_that_a_model_has_is_fitted(
    kernel: str, config: ModelConfig, sections: list[Section]
) -> None:
    model = a_model(config, kernel=kernel, inducing=30, gallery=40)
    encoded, scores = encoded_with_scores(model, sections)
    fit_readouts(model, encoded, scores, CPU)
    features = torch.from_numpy(encoded[0].features)
    reading = model(features, encoded[0].around(CPU))
    assert reading.kernel is not None and model.gallery is not None
    for name, answer in (("ridge", reading.ridge), ("kernel", reading.kernel)):
        assert np.corrcoef(answer[:, 0].numpy(), scores[0][:, 0])[0, 1] > 0.8, name
    assert model.gallery.held.sum() == 40
    assert model.gallery.residuals.any(1).all()
    assert model.blend == Blend(0.0, 0.0, 0.0), "shares are for validation to choose"


def test_before_the_first_step_only_the_ridge_is_fitted(
    config: ModelConfig, sections: list[Section]
) -> None:
    model, whole = (a_model(config, **EVERYTHING) for _ in range(2))
    encoded, scores = encoded_with_scores(model, sections)
    fit_readouts(model, encoded, scores, CPU, only_ridge=True)
    fit_readouts(whole, encoded, scores, CPU)
    assert model.ridge.weight.any() and torch.equal(model.ridge.weight, whole.ridge.weight)
    assert model.kernel is not None and not model.kernel.weight.any()
    assert model.gallery is not None and not model.gallery.held.any()


def test_a_ridge_that_is_off_is_never_fitted(config: ModelConfig, sections: list[Section]) -> None:
    model = a_model(config, ridge=False, kernel="rbf", inducing=30)
    encoded, scores = encoded_with_scores(model, sections)
    fit_readouts(model, encoded, scores, CPU)
    assert not model.ridge.weight.any()
    assert model.kernel is not None and model.kernel.weight.any()


def test_a_gallery_never_holds_what_its_own_patient_taught(
    config: ModelConfig, sections: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one penalty to choose from, residuals of a patient depend on the other's scores alone.
    monkeypatch.setattr("hypergene.training.readout.PENALTIES", np.array([10.0]))
    model = a_model(config, gallery=1000)
    encoded, scores = encoded_with_scores(model, sections)
    residuals = []
    others = [scores[0] + np.float32(1), scores[1] - np.float32(1), scores[2]]
    for some in (scores, others):
        fit_readouts(model, encoded, some, CPU)
        assert model.gallery is not None
        residuals.append(model.gallery.residuals[: sum(map(len, some))].numpy().copy())
    moved, changed = residuals[1] - residuals[0], np.concatenate(others) - np.concatenate(scores)
    of_a = slice(0, len(scores[0]) + len(scores[1]))
    np.testing.assert_allclose(moved[of_a], changed[of_a], atol=1e-4)
    assert np.abs(moved[of_a.stop :]).max() > 1e-3, "those of B follow what A taught"


def test_what_is_left_out_together_is_the_patient_where_patients_are_known(
    make_section: MakeSection, sections: list[Section]
) -> None:
    n = len(sections[0])
    assert apart(sections).tolist() == [0] * (2 * n) + [1] * n
    siblings = sections[:2]
    assert apart(siblings).tolist() == [0] * n + [1] * n, "else the slide"
    nameless = [replace(sections[0], patient=None), sections[2]]
    assert apart(nameless).tolist() == [0] * n + [1] * n
    strangers = [replace(section, patient=None) for section in sections]
    assert apart(strangers).tolist() == [0] * n + [1] * n + [2] * n
    assert set(apart(sections[:1]).tolist()) == {0, 1, 2, 3}, "or a quarter of the only one"


# Choosing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readout", "ridge", "kernel", "gallery"),
    [
        ({}, True, False, False),
        ({"ridge": False}, False, False, False),
        ({"anchor": True}, False, False, False),
        ({"kernel": "rbf"}, True, True, False),
        (EVERYTHING, True, True, True),
        ({"ridge": False, "kernel": "hyperbolic"}, False, True, False),
    ],
)
def test_the_grid_holds_weight_zero_of_all_and_others_of_what_there_is(
    readout: dict[str, Any], ridge: bool, kernel: bool, gallery: bool, config: ModelConfig
) -> None:
    grid = blends(a_model(config, **readout))
    assert len(set(grid)) == len(grid) <= 36
    assert Blend(0.0, 0.0, 0.0) in grid
    assert (Blend() in grid) == ridge
    tried = Blend(*(max(shares) for shares in zip(*grid, strict=True)))
    assert tried == Blend(float(ridge), float(kernel), float(gallery))


def test_validation_scores_what_each_blend_would_predict(
    config: ModelConfig, sections: list[Section]
) -> None:
    model = a_model(config, **EVERYTHING)
    encoded, scores = encoded_with_scores(model, sections[:2])
    fit_readouts(model, encoded, scores, CPU)
    watched = encode_sections(model, sections[2:], CPU)
    genes = model.config.genes
    sets = {"all": genes, "two": genes[:2]}
    by_blend = validate(model, watched, genes, sets, CPU)
    assert list(by_blend) == blends(model)
    assert len({round(found["all"], 6) for found in by_blend.values()}) > 10
    truth = sections[2].expression.dense()
    for blend in (Blend(), Blend(0.25, 0.5, 1.0), Blend(0.0, 1.0, 0.0)):
        model.set_blend(blend)
        prediction, _ = predict_section(model, watched[0], CPU)
        wanted = [np.corrcoef(truth[:, g], prediction[:, g])[0, 1] for g in range(len(genes))]
        assert by_blend[blend]["all"] == pytest.approx(np.nan_to_num(wanted).mean(), abs=1e-4)
        assert by_blend[blend]["two"] == pytest.approx(np.nan_to_num(wanted)[:2].mean(), abs=1e-4)


def test_the_even_average_stays_for_a_small_gain_and_goes_for_a_large_one() -> None:
    even, alone, head = Blend(), Blend(ridge=1.0), Blend(ridge=0.0)
    assert choose_blend({even: {"all": 0.200}, alone: {"all": 0.205}}) == even
    assert choose_blend({even: {"all": 0.200}, alone: {"all": 0.215}}) == alone
    three = {head: {"all": 0.230}, even: {"all": 0.200}, alone: {"all": 0.215}}
    assert choose_blend(three) == head


def test_kernel_and_gallery_stay_out_unless_they_are_worth_it() -> None:
    even, kernel, gallery = Blend(), Blend(kernel=0.5), Blend(gallery=1.0)
    assert choose_blend({kernel: {"all": 0.205}, even: {"all": 0.2}}) == even
    assert choose_blend({kernel: {"all": 0.215}, even: {"all": 0.2}, gallery: {"all": 0}}) == kernel


def test_without_a_ridge_to_average_the_head_alone_is_what_stays() -> None:
    head, kernel = Blend(ridge=0.0), Blend(ridge=0.0, kernel=0.5)
    assert choose_blend({kernel: {"all": 0.205}, head: {"all": 0.2}}) == head
    assert choose_blend({kernel: {"all": 0.215}, head: {"all": 0.2}}) == kernel


def test_every_gene_set_counts_alike_in_the_selection() -> None:
    assert selection_metric({"expressed": 0.1, "HVG-50": 0.5, "HVG-250": 0.3}) == pytest.approx(0.3)


def test_an_encoded_section_sees_the_context_of_its_own_slide(
    config: ModelConfig, sections: list[Section]
) -> None:
    model = a_model(config)
    (encoded,) = encode_sections(model, sections[:1], CPU)
    around = encoded.around(CPU)
    means = torch.sparse.mm(around.rings[0], around.context).numpy()
    np.testing.assert_allclose(means, sections[0].rings[0] @ encoded.context.features, atol=1e-5)
