"""Predictions of known quality get the figures they deserve, and what flatters gets a word."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from hypergene.evaluation import MeasuredSlide, Prediction, gene_sets, score_fold
from hypergene.evaluation.metrics import METRICS, SCALED
from hypergene.evaluation.scales import Units, scale_table, score_scales
from hypergene.st import log1p_cp10k

GENES = tuple(f"g{number}" for number in range(12))


def made_slide(name: str, patient: str | None, seed: int, held_out="patient", side: int = 16):
    """A slide of side × side spots, 200 µm apart, whose genes follow two smooth fields."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(side * side), side)
    xy_um = 200.0 * np.stack([column, row], axis=1)
    fields = np.stack([np.sin(row / 3 + seed), np.cos(column / 4)], axis=1)
    rate = np.exp(fields @ rng.normal(size=(2, len(GENES))) + 1.5)
    counts = sparse.csr_matrix(rng.poisson(np.hstack([rate, np.full((len(rate), 3), 60.0)])))
    slide = MeasuredSlide(
        name, patient, xy_um, GENES, log1p_cp10k(counts)[:, : len(GENES)].toarray(),
        counts, np.arange(len(GENES)), held_out,
    )  # fmt: skip
    return slide, np.log1p(rate)


def predictions(slide: MeasuredSlide, rate, seed: int = 0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=rate.shape)
    flat = np.tile(slide.log.mean(axis=0), (len(slide), 1))
    return {
        "good": Prediction(rate, np.full(rate.shape, 0.5)),
        "bad": Prediction(0.2 * rate + noise),
        "flat": Prediction(flat, note="says nothing"),
    }


def fold(patients=("A", "A", "B"), held_out="patient"):
    for seed, patient in enumerate(patients):
        slide, rate = made_slide(f"s{seed}", patient, seed, held_out)
        yield slide, predictions(slide, rate, seed)


@pytest.fixture(scope="module")
def scores():
    sets = gene_sets(next(fold())[0].log, GENES)
    return score_fold(fold(), sets, main="good", replicates=100)


def of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_methods_are_ranked_as_they_deserve(scores):
    found = of(scores.summary, metric="pearson", gene_set="expressed").set_index("method")
    assert found.loc["good", "value"] > 0.5 > found.loc["bad", "value"] > 0
    assert found.loc["flat", "value"] == 0
    assert (found["level"] == "patient").all()
    assert (found["units"] == 2).all()
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()


def test_every_metric_has_an_interval(scores):
    found = of(scores.summary, method="good", gene_set="HVG-50").set_index("metric")
    assert set(METRICS) <= set(found.index)
    assert np.isfinite(found.loc[list(METRICS), ["low", "high"]].to_numpy(float)).all()


def test_a_prediction_of_the_rate_comes_near_its_ceiling_and_not_above(scores):
    genes = of(scores.genes, method="good").set_index("gene")
    assert genes["pearson_over_ceiling"].median() == pytest.approx(1, abs=0.1)
    assert (genes["pearson_over_ceiling"] > 0.75).all()


def test_differences_are_paired_and_signed(scores):
    found = of(scores.differences, metric="pearson", gene_set="expressed").set_index("method")
    assert set(found.index) == {"bad", "flat"}
    assert (found["low"] > 0).all()
    means = of(scores.summary, metric="pearson", gene_set="expressed").set_index("method")["value"]
    assert found.loc["bad", "difference"] == pytest.approx(means["good"] - means["bad"])
    assert (found["sign_flip_p"] == 0.5).all()


def test_patients_weigh_alike(scores):
    patients = of(scores.patients, method="good", gene_set="expressed").set_index("patient")
    assert patients["slides"].to_dict() == {"A": 2, "B": 1}
    mean = of(scores.summary, method="good", gene_set="expressed", metric="pearson")["value"].item()
    assert mean == pytest.approx(patients["pearson"].mean())


def test_coverage_is_known_only_of_methods_with_a_spread(scores):
    assert set(scores.curves["method"]) == {"good"}
    slides = of(scores.slides, gene_set="expressed").set_index(["method", "sample"])
    assert slides.loc["good", "coverage_90"].between(0, 1).all()
    assert slides.loc["bad", "coverage_90"].isna().all()


def test_intervals_of_a_slide_are_over_its_blocks(scores):
    slides = of(scores.slides, method="good", gene_set="expressed")
    assert (slides["blocks"] == 16).all()
    assert (slides["pearson_low"] < slides["pearson"]).all()
    assert (slides["pearson"] < slides["pearson_high"]).all()


def test_what_flatters_is_said_in_every_table():
    sets = {"all": list(GENES)}
    seeds = [*fold(("A",), "trained on"), *fold(("A",), "trained on")]
    scores = score_fold(seeds, sets, main="good", picked="test", replicates=20)
    for name, table in scores.tables().items():
        assert table["optimistic"].str.contains("OPTIMISTIC: trained on").all(), name
        assert table["optimistic"].str.contains("test-picked").all(), name
    flat = of(scores.slides, method="flat")
    assert flat["optimistic"].str.contains("says nothing").all()


def test_best_genes_of_the_test_are_labelled_even_if_held_out_by_patient(scores):
    best = scores.summary[scores.summary["gene_set"].str.startswith("best ")]
    assert best["optimistic"].str.contains("test-picked").all()
    honest = of(scores.summary, gene_set="expressed", method="good")
    assert (honest["optimistic"] == "").all()


def test_samples_held_out_differently_are_never_averaged():
    def mixed():
        yield from fold(("A",))
        slide, rate = made_slide("t", "C", 9, "trained on")
        yield slide, predictions(slide, rate)

    scores = score_fold(mixed(), {"all": list(GENES)}, main="good", replicates=20)
    found = of(scores.summary, method="good", metric="pearson", gene_set="all")
    assert found["held_out"].tolist() == ["patient", "trained on"]
    assert found["units"].tolist() == [16, 16]
    assert (found["level"] == "spot-block").all()


def test_other_units_are_only_correlated():
    def other():
        for slide, methods in fold(("A", "B")):
            mean = 100 * np.asarray(methods["good"].mean)
            yield slide, {"good": Prediction(mean, np.ones(mean.shape), scaled=False)}

    scores = score_fold(other(), {"all": list(GENES)}, main="good", replicates=20)
    found = of(scores.summary, gene_set="all").set_index("metric")["value"]
    assert found["pearson"] > 0.5
    assert found[[*SCALED, "ece", "coverage_80"]].isna().all()


def test_a_method_may_predict_some_of_the_genes():
    def some():
        for slide, methods in fold(("A", "B")):
            columns = np.array([4, 1])
            mean = np.asarray(methods["good"].mean)[:, columns]
            yield slide, methods | {"few": Prediction(mean, columns=columns)}

    scores = score_fold(some(), {"all": list(GENES)}, main="good", replicates=20)
    few = of(scores.genes, method="few").set_index("gene")
    good = of(scores.genes, method="good").set_index("gene")
    assert list(few.index) == ["g4", "g1"]
    assert few["pearson"].to_dict() == pytest.approx(good.loc[few.index, "pearson"].to_dict())
    assert of(scores.slides, method="few")["genes_missing"].tolist() == [10, 10]


def test_the_same_seed_gives_the_same_tables():
    one, other = (
        score_fold(fold(("A",)), {"all": list(GENES)}, main="good", replicates=30, seed=4)
        for _ in range(2)
    )
    for name, table in one.tables().items():
        assert table.equals(other.tables()[name]), name


def test_a_fold_without_slides_or_its_method_is_refused():
    with pytest.raises(ValueError, match="no slides"):
        score_fold([], {}, main="good")
    with pytest.raises(ValueError, match="no prediction of mine"):
        score_fold(fold(("A",)), {"all": list(GENES)}, main="mine")


# Scales


def scaled(prediction, slide, sets, replicates=100):
    units = [Units.of_genes(GENES, GENES), Units.of_sets(GENES, sets)]
    return scale_table(score_scales(slide, prediction, units, 200.0, replicates=replicates))


def test_a_noisy_gene_becomes_readable_over_its_neighbours_and_its_set():
    slide, rate = made_slide("s", "A", 3)
    # Counts so few that single spots say little.
    thin = sparse.csr_matrix(np.random.default_rng(0).poisson(0.03 * slide.counts.toarray()))
    thin = sparse.csr_matrix(thin + sparse.csr_matrix(np.eye(1, 15, 14).repeat(256, 0) * 9))
    log = log1p_cp10k(thin)[:, :12].toarray()
    slide = MeasuredSlide("s", "A", slide.xy_um, GENES, log, thin, slide.columns, "patient")
    table = scaled(Prediction(rate), slide, {"all of them": GENES, "none": ["absent"]})
    by_scale = table[table["kind"] == "gene"].groupby("scale")["pearson"].mean()
    assert by_scale["spot"] < by_scale["1 ring"] < by_scale["2 rings"]
    ceilings = table[table["kind"] == "gene"].groupby("scale")["ceiling"].mean()
    assert ceilings["spot"] < ceilings["1 ring"] < ceilings["2 rings"]
    assert set(table.loc[table["kind"] == "gene set", "unit"]) == {"all of them"}
    coarse = table[table["scale"] != "spot"]
    assert coarse["optimistic"].str.contains("not comparable").all()
    assert (table.loc[table["scale"] == "spot", "optimistic"] == "").all()


def test_noise_is_readable_at_no_scale_and_the_truth_at_the_finest():
    slide, rate = made_slide("s", "A", 3)
    noise = np.random.default_rng(1).normal(size=rate.shape)
    found = scaled(Prediction(noise), slide, {})
    assert (found["readable_at"] == "none").mean() > 0.8
    assert (scaled(Prediction(rate), slide, {})["readable_at"] == "spot").mean() > 0.8


def test_a_control_that_was_trained_elsewhere_keeps_its_own_label() -> None:
    def trained_on():
        for slide, methods in fold(("A", "B"), "trained on"):
            control = Prediction(methods["bad"].mean, held_out="patient")
            yield slide, {"good": methods["good"], "control": control}

    scores = score_fold(trained_on(), {"all": list(GENES)}, main="good", replicates=20)
    assert (of(scores.slides, method="control")["optimistic"] == "").all()
    assert of(scores.slides, method="good")["optimistic"].str.contains("trained on").all()
    assert scores.differences["optimistic"].str.contains("trained on").all()
