"""Several seeds are averaged slide by slide, and their spread is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from hypergene.evaluation import FoldScores, MeasuredSlide, Prediction, score_fold
from hypergene.st import log1p_cp10k

GENES = tuple("abcdef")
SETS = {"all": GENES, "first": GENES[:2]}
FEW = 40


def measured(name: str, patient: str, seed: int) -> MeasuredSlide:
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(144), 12)
    field = np.sin(row / 3 + seed) + np.cos(column / 4)
    counts = sparse.csr_matrix(rng.poisson(np.exp(np.outer(field, np.linspace(0.2, 1, 6)) + 2)))
    log = log1p_cp10k(counts).toarray()
    xy_um = 200.0 * np.stack([column, row], 1)
    return MeasuredSlide(name, patient, xy_um, GENES, log, counts, np.arange(6), "patient")


def slides(seeds: int, noise: float = 1.0) -> Iterator[tuple[MeasuredSlide, dict[str, Prediction]]]:
    for seed in range(seeds):
        for number, (name, patient) in enumerate((("s0", "A"), ("s1", "A"), ("s2", "B"))):
            slide = measured(name, patient, number)
            rng = np.random.default_rng([seed, number])
            wobble = noise * rng.normal(size=slide.log.shape)
            yield (
                slide,
                {"model": Prediction(slide.log + wobble), "mean": Prediction(slide.log * 0)},
            )


@pytest.fixture(scope="module")
def three() -> FoldScores:
    return score_fold(slides(3), SETS, main="model", replicates=FEW)


def value(scores: FoldScores, gene_set: str = "all") -> float:
    table = scores.summary.query("method == 'model' and metric == 'pearson'")
    return float(table.set_index("gene_set").loc[gene_set, "value"])


def test_figures_are_the_mean_over_seeds(three: FoldScores) -> None:
    alone = [
        score_fold(list(slides(3))[3 * k : 3 * k + 3], SETS, main="model", replicates=FEW)
        for k in range(3)
    ]
    for gene_set in SETS:
        assert value(three, gene_set) == pytest.approx(np.mean([value(s, gene_set) for s in alone]))
    row = three.seeds.query("method == 'model' and gene_set == 'all' and metric == 'pearson'")
    values = [value(one) for one in alone]
    assert row["sd"].item() == pytest.approx(np.std(values, ddof=1))
    assert (row["low"].item(), row["high"].item()) == pytest.approx((min(values), max(values)))
    assert row["seeds"].item() == 3
    assert len(three.slides) == 2 * 3 * len(SETS)


def test_the_interval_of_a_mean_lies_around_it(three: FoldScores) -> None:
    table = three.differences.query("metric == 'pearson' and gene_set == 'all'").iloc[0]
    assert table["low"] < table["difference"] < table["high"]
    paired = three.seeds.query("method == 'mean' and metric == 'pearson' and gene_set == 'all'")
    assert paired["difference"].item() == pytest.approx(table["difference"])
    assert paired["difference_sd"].item() > 0


def test_equal_seeds_have_no_spread_and_one_seed_has_no_table() -> None:
    once = score_fold(slides(1), SETS, main="model", replicates=FEW)
    assert once.seeds.empty
    twice = score_fold([*slides(1), *slides(1)], SETS, main="model", replicates=FEW)
    assert twice.seeds["sd"].max() == pytest.approx(0)
    np.testing.assert_allclose(twice.summary["low"], once.summary["low"], rtol=1e-6)


def test_each_fold_is_scored_on_its_own_genes() -> None:
    chosen = {"s0": GENES[:3], "s1": GENES[3:], "s2": GENES[:1]}
    scores = score_fold(
        (
            (replace(slide, gene_sets={"HVG": chosen[slide.name]}), made)
            for slide, made in slides(1)
        ),
        {},
        main="model",
        replicates=FEW,
    )
    own = scores.slides.query("method == 'model'").set_index("sample")
    assert own["genes"].to_dict() == {"s0": 3, "s1": 3, "s2": 1}


def test_seeds_of_different_genes_are_not_averaged() -> None:
    slide, made = next(slides(1))
    fewer = Prediction(slide.log[:, :3], columns=np.arange(3))
    with pytest.raises(ValueError, match="different genes"):
        score_fold([(slide, made), (slide, {"model": fewer})], SETS, main="model", replicates=FEW)
