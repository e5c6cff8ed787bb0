"""Validation tells how far each gene, and the spread, can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from hypergene.evaluation import pearson_per_gene
from hypergene.evaluation.scales import around
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.training.assess import EncodedSection, encode_sections, predict_section
from hypergene.training.expression import Expression
from hypergene.training.reliability import (
    copy_reliability,
    fit_reference,
    held_out_ratios,
    hold_out_reference,
    measure_reliability,
)
from hypergene.training.section import Section

CPU = torch.device("cpu")
READ, UNREAD, UNMEASURED = 0, 1, 2


@pytest.fixture
def model(config: ModelConfig) -> HyperGene:
    torch.manual_seed(0)
    made = HyperGene(config).eval()
    with torch.no_grad():
        made.head.mean.weight.normal_()
        made.modules_to_genes.loadings.normal_()
        made.modules_to_genes.mean.fill_(20.0)
    return made


@pytest.fixture
def held_out(
    model: HyperGene,
    make_section: Callable[..., Section],
    as_expression: Callable[..., Expression],
) -> list[EncodedSection]:
    """Two sections: one gene is as predicted, one is noise, one was never measured."""
    rng = np.random.default_rng(0)
    found = []
    for seed, name in enumerate("AB"):
        (encoded,) = encode_sections(model, [make_section(name, name, seed, side=8)], CPU)
        mean, spread = predict_section(model, encoded, CPU)
        table = mean + 0.5 * spread * rng.standard_normal(mean.shape)
        table[:, READ] = mean[:, READ]
        table[:, UNREAD] = rng.normal(10, 1, len(mean))
        counts = sparse.csr_matrix(rng.poisson(20, table.shape))
        columns = np.where(np.arange(table.shape[1]) == UNMEASURED, -1, np.arange(table.shape[1]))
        expression = as_expression(table, counts, columns)
        section = encoded.section
        object.__setattr__(section, "expression", expression)
        found.append(encoded)
    return found


def test_a_gene_is_reliable_if_it_is_predicted_where_it_was_held_out(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    measure_reliability(model, held_out, CPU)
    assert model.heldout_pcc[READ] > 0.99 and model.reliable[READ]
    assert abs(model.heldout_pcc[UNREAD]) < 0.3 and not model.reliable[UNREAD]
    assert model.heldout_pcc[UNMEASURED].isnan() and not model.reliable[UNMEASURED]
    by_section = [
        pearson_per_gene(one.section.expression.dense(), predict_section(model, one, CPU)[0])[3]
        for one in held_out
    ]
    assert model.heldout_pcc[3].item() == pytest.approx(np.mean(by_section), abs=1e-5)


def test_the_spread_is_scaled_to_cover_two_thirds_of_what_was_held_out(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    for _ in range(2):
        measure_reliability(model, held_out, CPU)
        inside = []
        for one in held_out:
            mean, spread = predict_section(model, one, CPU)
            measured = one.section.expression.measured
            near = np.abs(one.section.expression.dense() - mean) <= spread * (1 + 1e-5)
            inside.append(near[:, measured])
        assert np.concatenate(inside).mean() == pytest.approx(0.6827, abs=0.005)


def test_what_was_measured_goes_with_the_model_that_is_trained_on_everything(
    model: HyperGene, held_out: list[EncodedSection], config: ModelConfig
) -> None:
    other = HyperGene(config)
    measure_reliability(model, held_out, CPU)
    copy_reliability(model, other)
    torch.testing.assert_close(other.heldout_pcc, model.heldout_pcc, equal_nan=True)
    assert torch.equal(other.reliable, model.reliable) and other.reliable.any()
    assert other.held_out is not None and model.held_out is not None
    torch.testing.assert_close(other.held_out.low, model.held_out.low, equal_nan=True)
    assert other.config.held_out == model.config.held_out
    assert other.modules_to_genes.spread_scale == model.modules_to_genes.spread_scale != 1


def test_the_reference_is_of_features_before_centring(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    raw = np.concatenate([one.context.features + one.context.mean for one in held_out])
    seen: list[torch.Tensor] = []
    model.reference.fit = seen.append  # type: ignore[method-assign]
    fit_reference(model, held_out)
    np.testing.assert_allclose(seen[0].numpy(), raw, atol=1e-6)


def test_a_correlation_lies_in_its_interval(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    measure_reliability(model, held_out, CPU)
    kept, how = model.held_out, model.config.held_out
    assert kept is not None and how is not None
    assert (how.interval, how.calibration) == ("spot-block", "empirical, spot-level")
    assert how.units == 8  # 4 squares of 1 mm in each section
    assert kept.low[READ] > 0.99
    assert kept.low[UNREAD] < model.heldout_pcc[UNREAD] < kept.high[UNREAD]
    assert kept.low[UNMEASURED].isnan() and kept.coverage_80[UNMEASURED].isnan()
    assert kept.coverage_80[READ] == 1
    assert kept.coverage_80[UNREAD] < 0.8


def test_patients_are_resampled_where_nothing_was_trained_on_of_them(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    measure_reliability(model, held_out, CPU, apart=True)
    how = model.config.held_out
    assert how is not None
    assert (how.interval, how.units) == ("patient", 2)
    assert how.calibration == "empirical, spot-level", "two patients are too few"


def test_three_patients_are_enough_for_a_conformal_spread(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    measure_reliability(model, held_out, CPU)
    empirical = model.modules_to_genes.spread_scale.item()
    three = [
        *held_out,
        replace(held_out[0], section=replace(held_out[0].section, patient="C", name="C")),
    ]
    measure_reliability(model, three, CPU, apart=True)
    how = model.config.held_out
    assert how is not None and how.calibration == "conformal by patient (3 patients)"
    assert model.modules_to_genes.spread_scale.item() > empirical, "one of 4 groups is unknown"


def test_genes_and_modules_are_measured_at_coarser_scales(
    model: HyperGene, held_out: list[EncodedSection]
) -> None:
    measure_reliability(model, held_out, CPU)
    kept, how = model.held_out, model.config.held_out
    assert kept is not None and kept.coarse is not None and kept.modules_at is not None
    assert how is not None and how.scales == ("1 ring", "2 rings")
    assert kept.coarse.pearson.shape == (2, len(model.config.genes))
    assert (kept.coarse.pearson[:, READ] > 0.99).all() and (kept.coarse.low[:, READ] > 0.99).all()
    assert (kept.coarse.low[:, UNREAD] < 0.3).all()
    assert kept.coarse.pearson[:, UNMEASURED].isnan().all()
    by_section = []
    for one in held_out:
        ring = around(one.section.xy_um, 1.25 * model.config.layout.pitch_um)
        truth, mean = one.section.expression.dense(), predict_section(model, one, CPU)[0]
        by_section.append(pearson_per_gene(ring @ truth[:, [3]], ring @ mean[:, [3]])[0])
    assert kept.coarse.pearson[0, 3].item() == pytest.approx(np.mean(by_section), abs=1e-5)
    modules = kept.modules_at
    assert modules.pearson.shape == (3, model.config.head.modules)
    known = modules.pearson[0].isfinite()
    assert known.any() and (modules.low[0][known] <= modules.pearson[0][known]).all()
    assert (modules.pearson[0][known] <= modules.high[0][known]).all()


def test_held_out_distances_become_the_percentiles_of_another_training(
    model: HyperGene, make_section: Callable[..., Section], config: ModelConfig
) -> None:
    names = ("A", "B", "C")
    a, b, new = (make_section(name, name, seed, side=8) for seed, name in enumerate(names))
    trained, watched = (encode_sections(model, [section], CPU) for section in (a, b))
    ratios = held_out_ratios(model, trained, watched)
    assert ratios.isfinite().all() and (ratios.diff() >= 0).all()
    torch.manual_seed(1)
    final = HyperGene(config).eval()
    fit_reference(final, encode_sections(final, [a, b], CPU))
    measure_reliability(model, watched, CPU, apart=True)
    copy_reliability(model, final)
    hold_out_reference(final, ratios, "patient")
    assert final.config.held_out is not None and final.config.held_out.distances == "patient"
    (seen,) = encode_sections(final, [new], CPU)
    raw = torch.from_numpy(seen.context.features + seen.context.mean)
    assert 0.1 < final.reference(raw).mean() < 0.9


def test_what_was_never_held_out_has_no_held_out_distances(model: HyperGene) -> None:
    with pytest.raises(ValueError, match="nothing was held out"):
        hold_out_reference(model, torch.ones(101), "patient")
