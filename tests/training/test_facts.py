"""What is known of training spots is theirs, and keeps depth and slide out where it says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import pdist

from hypergene.training import facts as facts_module
from hypergene.training.expression import Expression
from hypergene.training.facts import SpotFacts, gather_facts, leading, median_distance, richness
from hypergene.training.modules import ModuleFit, fit_modules
from hypergene.training.section import Section
from hypergene.training.targets import Targets
from hypergene.training.terms import Losses

ALL_ON = Losses.model_validate(
    {"relative": {"weight": 1.0}, "clusters": {"weight": 1.0, "number": 3}}
)


@pytest.fixture
def sections(make_section: Callable[..., Section]) -> list[Section]:
    return [make_section(name, name, seed, offset=seed) for seed, name in enumerate("AB")]


def targets_of(sections: list[Section]) -> Targets:
    fit = fit_modules([section.expression for section in sections], 4)
    return Targets(fit, [fit.scores(s.expression.log(), s.expression.measured) for s in sections])


def gathered(sections: list[Section], losses: Losses = ALL_ON, seed: int = 0) -> list[SpotFacts]:
    return gather_facts(sections, targets_of(sections), losses, seed)


def test_every_field_has_the_rows_of_its_section_in_float32(sections: list[Section]) -> None:
    targets = targets_of(sections)
    for section, fact, scores in zip(sections, gathered(sections), targets.scores, strict=True):
        n = len(section)
        assert fact.scores.shape == fact.niche_scores.shape == (n, 4)
        assert fact.log_depth.shape == fact.richness.shape == (n,)
        assert fact.likeness.shape == (n, 4)
        assert fact.clusters is not None and fact.clusters.shape == (n, 3)
        assert fact.measured is not None and fact.measured.all()
        for field in (fact.niche_scores, fact.log_depth, fact.richness, fact.likeness):
            assert field.dtype == np.float32
            assert np.isfinite(field).all()
        np.testing.assert_allclose(fact.niche_scores, section.neighbours @ scores, atol=1e-6)
        np.testing.assert_allclose(fact.log_depth, section.log_depth, rtol=1e-6)


def test_counts_are_those_of_the_model_s_genes_and_0_where_not_measured(
    sections: list[Section],
) -> None:
    columns = np.array([3, -1, 0, 7])
    expression = replace(sections[0].expression, columns=columns)
    section = replace(sections[0], expression=expression)
    fit = ModuleFit(*(np.ones(shape, np.float32) for shape in (4, (2, 4), 4)))
    targets = Targets(fit, [np.random.default_rng(0).normal(size=(36, 2)).astype(np.float32)])
    (fact,) = gather_facts([section], targets, ALL_ON, 0)
    rows = np.array([5, 0, 30])
    expected = expression.counts().toarray()[rows][:, [3, 0, 0, 7]]
    expected[:, 1] = 0
    counts = fact.counts(rows)
    assert counts is not None and counts.dtype == np.float32
    np.testing.assert_array_equal(counts, expected)
    assert fact.measured is not None
    assert fact.measured.tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("losses", "read"),
    [
        ({}, False),
        ({"regression": {"kind": "huber"}, "clusters": {"weight": 0.0}}, False),
        ({"regression": {"kind": "negative-binomial"}}, True),
        ({"regression": {"kind": "negative-binomial", "weight": 0.0}}, False),
        ({"relative": {"weight": 0.1}}, True),
    ],
)
def test_what_no_term_reads_is_not_kept(
    sections: list[Section], losses: dict[str, Any], read: bool
) -> None:
    for fact in gathered(sections, Losses.model_validate(losses)):
        assert fact.clusters is None
        assert (fact.counts(np.arange(2)) is not None) == read
        assert (fact.measured is not None) == read


def naive_richness(counts: np.ndarray) -> np.ndarray:
    genes = (counts > 0).sum(1)
    below = (genes[:, None] > genes).sum(1)
    equal = (genes[:, None] == genes).sum(1)
    return np.asarray((below + equal / 2) / len(genes))


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_richness_is_the_share_of_sparser_spots(seed: int, spots: int) -> None:
    counts = np.random.default_rng(seed).poisson(0.5, (spots, 6))
    ours = richness(sparse.csr_matrix(counts))
    np.testing.assert_allclose(ours, naive_richness(counts), rtol=1e-6)
    assert ((ours > 0) & (ours < 1)).all()


def test_richness_known_by_hand_and_without_stored_zeros() -> None:
    counts = sparse.csr_matrix(np.array([[1, 1, 1], [9, 0, 0], [2, 3, 0], [0, 0, 0]]))
    np.testing.assert_allclose(richness(counts), [0.875, 0.375, 0.625, 0.125])
    counts.data[0] = 0  # stored, and no count: the first spot now equals the third
    np.testing.assert_allclose(richness(counts), [0.75, 0.375, 0.75, 0.125])
    np.testing.assert_allclose(richness(counts), richness(1000 * counts))


def test_richness_counts_all_genes_measured_not_the_model_s(sections: list[Section]) -> None:
    narrow = replace(sections[0].expression, columns=np.arange(2))
    fit = ModuleFit(*(np.ones(shape, np.float32) for shape in (2, (1, 2), 2)))
    targets = Targets(fit, [np.random.default_rng(0).normal(size=(36, 1)).astype(np.float32)])
    section = replace(sections[0], expression=narrow)
    (fact,) = gather_facts([section], targets, Losses(), 0)
    np.testing.assert_allclose(fact.richness, gathered(sections)[0].richness)


def test_likeness_is_expression_in_units_of_its_median_distance(sections: list[Section]) -> None:
    targets = targets_of(sections)
    for fact, scores in zip(gathered(sections), targets.scores, strict=True):
        expression = scores @ targets.modules.loadings
        expected = pdist(expression) / np.median(pdist(expression))
        np.testing.assert_allclose(pdist(fact.likeness), expected, atol=1e-3)
        assert np.median(pdist(fact.likeness)) == pytest.approx(1, abs=1e-5)


def test_leading_modules_are_those_that_carry_most_wherever_they_stand() -> None:
    length = np.r_[np.arange(1, 21), np.arange(40, 20, -1)].astype(np.float32)
    loadings = np.diag(length)
    fit = ModuleFit(np.zeros(40, np.float32), loadings, np.ones(40, np.float32))
    scores = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    kept = np.arange(40)[length > 8]
    np.testing.assert_allclose(leading(scores, fit), (scores * length)[:, kept], rtol=1e-6)


def test_the_median_distance_of_many_is_that_of_a_sample_and_of_none_is_1() -> None:
    points = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    exact = float(np.median(pdist(points)))
    assert len(points) > facts_module._SAMPLED
    assert median_distance(points, 0) == pytest.approx(exact, rel=0.05)
    assert median_distance(points, 0) == median_distance(points, 0)
    assert median_distance(points[:1], 0) == 1
    assert median_distance(np.ones((5, 2), np.float32), 0) == 1


def test_an_offset_of_a_slide_changes_no_cluster(sections: list[Section]) -> None:
    targets = targets_of(sections)
    moved = [targets.scores[0], targets.scores[1] + np.float32(50)]
    plain = gather_facts(sections, targets, ALL_ON, 0)
    shifted = gather_facts(sections, Targets(targets.modules, moved), ALL_ON, 0)
    for a, b in zip(plain, shifted, strict=True):
        assert a.clusters is not None and b.clusters is not None
        np.testing.assert_allclose(a.clusters, b.clusters, atol=0.01)


def test_a_spot_without_counts_and_a_section_of_one_spot_are_finite(
    make_section: Callable[..., Section], as_expression: Callable[..., Expression]
) -> None:
    one = make_section("A", "A", 0, side=1)
    empty = as_expression(np.zeros((1, 12)))
    section = replace(one, expression=empty, log_depth=np.array([-np.inf]))
    fit = fit_modules([make_section("B", "B", 1).expression], 4)
    (fact,) = gather_facts([section], Targets(fit, [np.zeros((1, 4), np.float32)]), Losses(), 0)
    assert fact.log_depth.tolist() == [0]
    assert fact.richness.tolist() == [0.5]
    assert np.isfinite(fact.likeness).all()


def test_a_seed_repeats(sections: list[Section]) -> None:
    for a, b in zip(gathered(sections, seed=5), gathered(sections, seed=5), strict=True):
        np.testing.assert_array_equal(a.likeness, b.likeness)
        np.testing.assert_array_equal(a.clusters, b.clusters)


def test_a_louder_slide_has_the_clusters_of_a_quiet_one(sections: list[Section]) -> None:
    targets = targets_of(sections)
    scores = [targets.scores[0], targets.scores[0]]
    twins = [sections[0], sections[0]]
    louder = [scores[0], 3 * scores[1]]
    for given_scores in (scores, louder):
        facts = gather_facts(twins, Targets(targets.modules, given_scores), ALL_ON, 0)
        assert facts[0].clusters is not None and facts[1].clusters is not None
        np.testing.assert_allclose(facts[0].clusters, facts[1].clusters, atol=1e-4)
