"""Mixed slides score as mixed, separate ones as separate; probes find what is there and no more."""

from __future__ import annotations

import numpy as np
import pytest

from hypergene.evaluation.mixing import ilisi, silhouette, slide_identity
from hypergene.evaluation.probe import probe_slides


def points(shift: float, slides: int = 3, spots: int = 120, seed: int = 0):
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(slides), spots)
    blocks = np.tile(np.arange(spots) // 20, slides)
    return rng.normal(size=(slides * spots, 5)) + shift * names[:, None], names.tolist(), blocks


def test_slides_that_are_mixed_score_as_mixed():
    embedding, names, blocks = points(0.0)
    assert silhouette(embedding, names) == pytest.approx(0, abs=0.02)
    assert ilisi(embedding, names) > 0.8
    accuracy, chance = slide_identity(embedding, names, blocks)
    assert chance == pytest.approx(1 / 3)
    assert accuracy == pytest.approx(chance, abs=0.12)


def test_slides_that_lie_apart_score_as_apart():
    embedding, names, blocks = points(20.0)
    assert silhouette(embedding, names) > 0.8
    assert ilisi(embedding, names) == pytest.approx(0, abs=1e-6)
    assert slide_identity(embedding, names, blocks)[0] == 1


def test_one_slide_has_nothing_to_mix_with():
    embedding, names, blocks = points(0.0, slides=1)
    assert np.isnan(silhouette(embedding, names))
    assert np.isnan(ilisi(embedding, names))
    assert np.isnan(slide_identity(embedding, names, blocks)[0])


def test_points_that_coincide_are_mixed_and_no_error():
    names = ["a", "b"] * 50
    assert 0.5 < ilisi(np.zeros((100, 2)), names) <= 1.1


def test_a_label_is_read_across_patients():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 2)
    labels = patients % 2
    slides = rng.normal(size=(24, 4))
    slides[:, 0] += 6 * labels
    score = probe_slides(slides, labels.tolist(), patients.tolist())
    assert score.auroc > 0.95
    assert score.low <= score.auroc <= score.high
    assert (score.patients, score.slides) == (12, 24)


def test_a_patient_cannot_be_recognised_instead_of_its_label():
    """Sibling slides are near copies: split by slides they would give the label away."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(20), 4)
    labels = rng.permutation(np.arange(20) % 2)[patients]
    slides = rng.normal(size=(20, 30))[patients] + 0.01 * rng.normal(size=(80, 30))
    assert probe_slides(slides, labels.tolist(), patients.tolist()).auroc < 0.75


def test_a_label_of_one_patient_cannot_be_probed():
    score = probe_slides(np.eye(4), ["x", "x", "y", "y"], ["a", "a", "b", "c"])
    assert np.isnan(score.auroc)
    assert score.folds == 0
