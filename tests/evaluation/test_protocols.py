"""Published protocols score as published, flatter as is known, and say so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from hypergene.evaluation import MeasuredSlide, Prediction, score_fold
from hypergene.evaluation.protocols import (
    NEIGHBOURS_MEAN,
    PROTOCOLS,
    HestProbe,
    log1p_counts,
)
from hypergene.evaluation.slide_scores import ceilings
from hypergene.st import log1p_cp10k

SIDE, PITCH = 12, 200.0
GENES = tuple(f"G{number}" for number in range(8))


@pytest.fixture(scope="module")
def slide() -> MeasuredSlide:
    """Counts whose rate is the same everywhere but for depth, which is smooth nowhere."""
    rng = np.random.default_rng(0)
    xy = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2) * PITCH
    depth = rng.lognormal(0, 0.7, (len(xy), 1))
    counts = sparse.csr_matrix(rng.poisson(20 * depth * np.ones(8)))
    log = log1p_cp10k(counts).toarray()
    return MeasuredSlide("S", "P", xy, GENES, log, counts, np.arange(8), held_out="patient")


def scores(slide: MeasuredSlide, **predictions: np.ndarray) -> dict[str, float]:
    methods = {name: Prediction(mean) for name, mean in predictions.items()}
    main = next(iter(methods))
    found = score_fold([(slide, methods)], {"all": GENES}, main=main, replicates=2)
    rows = found.summary.query("metric == 'pearson' and gene_set == 'all'")
    return dict(zip(rows["method"], rows["value"], strict=True))


def test_without_library_normalisation_depth_alone_scores(slide: MeasuredSlide) -> None:
    depth = np.repeat(slide.log_depth[:, None], len(GENES), axis=1)
    raw = PROTOCOLS["hest-bench"].slide(slide, PITCH)
    np.testing.assert_allclose(raw.log, np.log1p(slide.counts.toarray()), rtol=1e-6)
    assert abs(scores(slide, depth=depth)["depth"]) < 0.3
    assert scores(raw, depth=depth)["depth"] > 0.6


def test_smoothed_targets_are_known_from_their_neighbours(slide: MeasuredSlide) -> None:
    protocol = PROTOCOLS["triplex"]
    oracle = np.asarray(protocol.oracles(slide, PITCH)[NEIGHBOURS_MEAN].mean)
    smooth = protocol.slide(slide, PITCH)
    assert abs(scores(slide, oracle=oracle)["oracle"]) < 0.2
    assert scores(smooth, oracle=oracle)["oracle"] > 0.85
    assert PROTOCOLS["hest-bench"].oracles(slide, PITCH) == {}


def test_the_window_is_the_spot_and_the_eight_around_it(slide: MeasuredSlide) -> None:
    rng = np.random.default_rng(1)
    jitter = slide.xy_um + rng.uniform(-0.05, 0.05, slide.xy_um.shape) * PITCH
    kernel = PROTOCOLS["triplex"].kernel(jitter, PITCH)
    assert kernel is not None
    members = np.diff(kernel.indptr).reshape(SIDE, SIDE)
    assert (members[1:-1, 1:-1] == 9).all()
    assert members[0, 0] == 4 and (members[0, 1:-1] == 6).all()
    grid = slide.log[:, 0].reshape(SIDE, SIDE)
    smooth = PROTOCOLS["triplex"].slide(slide, PITCH).log[:, 0].reshape(SIDE, SIDE)
    assert smooth[5, 5] == pytest.approx(grid[4:7, 4:7].mean(), rel=1e-5)
    assert smooth[0, 0] == pytest.approx(grid[:2, :2].mean(), rel=1e-5)


def test_on_a_hexagonal_lattice_the_window_has_the_six_next_spots() -> None:
    rows, columns = np.divmod(np.arange(100), 10)
    xy = np.stack([columns + (rows % 2) / 2, rows * np.sqrt(3) / 2], axis=1) * 100.0
    kernel = PROTOCOLS["triplex"].kernel(xy, 100.0)
    assert kernel is not None
    assert np.diff(kernel.indptr).max() == 7


@pytest.mark.parametrize("name", ["hest-bench", "triplex"])
def test_every_table_of_a_fold_is_labelled(slide: MeasuredSlide, name: str) -> None:
    protocol = PROTOCOLS[name]  # type: ignore[index]
    rng = np.random.default_rng(2)
    methods = protocol.predictions(
        {"m": Prediction(slide.log + rng.normal(size=slide.log.shape), np.ones(slide.log.shape))}
    )
    other = {"c": Prediction(rng.normal(size=slide.log.shape))}
    shown = protocol.slide(slide, PITCH)
    found = score_fold([(shown, methods | other)], {"all": GENES}, main="m", replicates=2)
    tables = {key: table for key, table in found.tables().items() if not table.empty}
    assert {"summary", "genes", "gene_slides", "slides", "patients", "differences"} <= set(tables)
    assert "curves" not in tables, "a spread of single spots says nothing of other truth"
    for table in tables.values():
        assert table["optimistic"].str.contains("not comparable with hypergene's").all()
        assert table["optimistic"].str.contains("OPTIMISTIC").all()


def test_errors_between_different_units_are_not_reported(slide: MeasuredSlide) -> None:
    ours = {"m": Prediction(slide.log)}
    assert not PROTOCOLS["hest-bench"].predictions(ours)["m"].scaled
    assert PROTOCOLS["triplex"].predictions(ours)["m"].scaled


def test_the_ceiling_is_that_of_the_protocols_truth(slide: MeasuredSlide) -> None:
    plain = ceilings(slide).mean()
    raw = ceilings(PROTOCOLS["hest-bench"].slide(slide, PITCH)).mean()
    assert raw > plain + 0.2, "depth is measured well, and is all there is in raw counts"


def test_the_probe_is_ridge_without_intercept_on_components() -> None:
    rng = np.random.default_rng(3)
    features = [rng.normal(size=(n, 300)) for n in (150, 180)]
    targets = [5 + x[:, :4] @ rng.normal(size=(4, 6)) for x in features]
    probe = HestProbe.fit(features, targets)
    assert probe.components == 256 and probe.name == "HEST-Bench probe (PCA-256, ridge)"
    z = probe.fitted[:-1].transform(np.concatenate(features))
    y = np.concatenate(targets)
    coef = np.linalg.solve(z.T @ z + 100 / (256 * 6) * np.eye(256), z.T @ y)
    np.testing.assert_allclose(probe.predict(features[0]), z[:150] @ coef, atol=1e-6)
    assert abs(probe.predict(features[0]).mean()) < 1, "the level of 5 is not learnt"
    assert HestProbe.fit([x[:, :50] for x in features], targets).components == 50


def test_raw_counts_stay_sparse() -> None:
    counts = sparse.csr_matrix(np.array([[0, 3], [1, 0]]))
    found = log1p_counts(counts)
    assert found.dtype == np.float32 and found.nnz == 2
    assert counts.data.tolist() == [3, 1]
