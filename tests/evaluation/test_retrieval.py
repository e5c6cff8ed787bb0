from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypergene.evaluation.retrieval import cosine_distance, recall_at_k

seeds = st.integers(0, 2**32 - 1)


def euclid(left, right):
    return np.linalg.norm(left[:, None] - right[None], axis=2)


@given(seeds)
def test_the_same_points_find_themselves(seed):
    points = np.random.default_rng(seed).normal(size=(30, 4))
    table = recall_at_k(points, points, ["a"] * 30)
    assert (table["recall"] == 1).all()
    assert set(table["scope"]) == {"within slide"}


def test_chance_is_said_and_a_collapsed_embedding_scores_it():
    slides = ["a"] * 20 + ["b"] * 40
    points = np.ones((60, 3))
    table = recall_at_k(points, points, slides).set_index(["scope", "direction", "k"])
    np.testing.assert_allclose(table["recall"], table["chance"])
    assert table.loc[("over slides", "image to gene", 5), "chance"] == pytest.approx(5 / 60)
    within = table.loc[("within slide", "gene to image", 5)]
    assert within["chance"] == pytest.approx((5 / 20 + 5 / 40) / 2)
    assert within["searched"] == 30


def test_random_points_score_chance():
    rng = np.random.default_rng(0)
    table = recall_at_k(rng.normal(size=(2000, 8)), rng.normal(size=(2000, 8)), ["a"] * 2000)
    assert (abs(table["times_chance"] - 1) < 0.8).all()


def test_slide_identity_pays_over_slides_but_not_within():
    """The trap of pooled negatives: knowing the slide alone looks like retrieval."""
    slides = np.repeat(np.arange(10), 20)
    rng = np.random.default_rng(0)
    known = np.eye(10)[slides]
    image, gene = (known + 0.01 * rng.normal(size=known.shape) for _ in range(2))
    table = recall_at_k(image, gene, slides.tolist(), distance=euclid)
    table = table[table["k"] == 10].groupby("scope")["times_chance"].mean()
    assert table["over slides"] > 5
    assert table["within slide"] == pytest.approx(1, abs=0.3)


def test_recall_counts_how_many_lie_nearer():
    image = np.array([[0.0], [1.0], [2.0]])
    gene = np.array([[0.9], [0.1], [2.0]])
    table = recall_at_k(image, gene, ["a"] * 3, ks=(1, 2), distance=euclid)
    recall = table[table["direction"] == "image to gene"].set_index("k")["recall"]
    assert recall[1] == pytest.approx(1 / 3)
    assert recall[2] == pytest.approx(1)


def test_cosine_of_a_zero_vector_is_far_from_everything():
    np.testing.assert_allclose(cosine_distance(np.zeros((1, 2)), np.eye(2)), 1)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        recall_at_k(np.ones((3, 2)), np.ones((2, 2)), ["a"] * 3)
