"""What the objective knows of every training spot: constants, worked out once before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from hypergene.training.clusters import soft_clusters
from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit
from hypergene.training.section import Section
from hypergene.training.targets import Targets
from hypergene.training.terms import Losses

Floats = NDArray[np.float32]

LEADING = 32
"""Modules that say how alike two spots are: those that carry the most variance."""
_SAMPLED = 512


@dataclass(frozen=True, eq=False)
class SpotFacts:
    """All that the objective needs of the n spots of one training section, but their image.

    The fields of :class:`~hypergene.training.batch.Batch` of the same name, by row of the section.

    Attributes
    ----------
    scores, niche_scores
        (n, modules) float32, standardised module scores of the spots, and their mean over a spot
        and the measured spots of its first ring.
    log_depth
        (n,) float32, natural log of the total counts over all genes measured, at least 0.
    richness
        (n,) float32 in (0, 1), rank within the section of the number of genes with a count.
    likeness
        (n, u) float32, leading modules in units of the section's median distance between spots.
    clusters
        (n, clusters) float32, soft clusters of the niches; None = the term is off.
    measured
        (genes,) bool, which of the model's genes the section measured; None = as `table`.
    table
        (n, genes) CSR, counts of the model's genes; None = no term reads counts.
    """

    scores: Floats
    niche_scores: Floats
    log_depth: Floats
    richness: Floats
    likeness: Floats
    clusters: Floats | None
    measured: NDArray[np.bool_] | None
    table: sparse.csr_matrix | None

    def counts(self, rows: NDArray[np.int64]) -> Floats | None:
        """Return the counts (b, genes) float32 of the model's genes in some spots.

        A gene that the section did not measure has none. None = no term reads counts.
        """
        return None if self.table is None else self.table[rows].toarray().astype(np.float32)


def gather_facts(
    sections: Sequence[Section], targets: Targets, losses: Losses, seed: int
) -> list[SpotFacts]:
    """Work out the constants of all spots, one section's tables in memory at a time.

    Counts are kept only if a term of the objective reads them, as sparse rows of the model's genes.

    Parameters
    ----------
    sections
        The training sections: nothing of any other section comes in here.
    targets
        Their gene modules and module scores, in the same order.
    losses
        Which terms are on.
    seed
        Of the clusters, and of the sample of spots that a median distance is taken over.

    Returns
    -------
    list of SpotFacts
        One a section.

    Raises
    ------
    UsageError
        There are fewer different niches than clusters are asked for.
    """
    niche_scores = [
        np.asarray(section.neighbours @ scores, np.float32)
        for section, scores in zip(sections, targets.scores, strict=True)
    ]
    clusters: list[Floats] | list[None] = [None] * len(sections)
    if losses.clusters.weight:
        # In units of the own slide: noise makes niches of a shallow slide louder, and loudness
        # alone would tell slides apart.
        niches = [
            likeness(scores - scores.mean(0), targets.modules, seed) for scores in niche_scores
        ]
        kind = losses.clusters
        clusters = soft_clusters(niches, kind.number, kind.temperature, seed=seed)
    reads_counts = bool(
        losses.relative.weight
        or (losses.regression.weight and losses.regression.kind == "negative-binomial")
    )
    facts = []
    for number, (section, scores) in enumerate(zip(sections, targets.scores, strict=True)):
        counts = section.expression.counts()
        facts.append(
            SpotFacts(
                scores=scores,
                niche_scores=niche_scores[number],
                log_depth=np.maximum(section.log_depth, 0.0).astype(np.float32),
                richness=richness(counts),
                likeness=likeness(scores, targets.modules, seed),
                clusters=clusters[number],
                measured=section.expression.measured if reads_counts else None,
                table=_of_the_model(counts, section.expression) if reads_counts else None,
            )
        )
    return facts


def likeness(scores: Floats, modules: ModuleFit, seed: int) -> Floats:
    """Return the (n, u) leading modules of (n, modules) scores in units of their median distance.

    Two rows of a section are then about 1 apart, whatever its depth.
    """
    spots = leading(scores, modules)
    return np.asarray(spots / median_distance(spots, seed), np.float32)


def leading(scores: Floats, modules: ModuleFit) -> Floats:
    """Return the (n, u) leading modules of (n, modules) scores in log1p CP10k, u <= 32.

    Standardised scores make a module of noise as loud as one of tissue; by the length of its
    loadings each gets back the variance over all genes that it carries, so that Euclidean distances
    are those of expression.
    """
    length = np.linalg.norm(modules.loadings, axis=1)
    first = np.sort(np.argsort(-length, kind="stable")[:LEADING])
    return np.asarray(scores[:, first] * length[first], np.float32)


def median_distance(points: Floats, seed: int) -> float:
    """Return the median distance between points (n, u), over at most 512 of them.

    1 where there is none: of a single spot, or when more than half of all pairs coincide.
    """
    if len(points) > _SAMPLED:
        chosen = np.random.default_rng(seed).choice(len(points), _SAMPLED, replace=False)
        points = points[np.sort(chosen)]
    median = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    return median if median > 0 else 1.0


def richness(counts: sparse.csr_matrix) -> Floats:
    """Return each spot's rank (n,) in (0, 1) by the number of genes with a count, ties shared.

    Ranks within a section do not carry its depth: DELST orders profiles by the plain number.
    """
    genes = np.asarray((counts > 0).sum(axis=1)).ravel()
    return np.asarray((rankdata(genes) - 0.5) / len(genes), np.float32)


def _of_the_model(counts: sparse.csr_matrix, expression: Expression) -> sparse.csr_matrix:
    """Take the counts (n, genes) of the model's genes; a gene that was not measured has none."""
    known = np.flatnonzero(expression.measured)
    place = sparse.csr_matrix(
        (np.ones(len(known), counts.dtype), (expression.columns[known], known)),
        shape=(counts.shape[1], len(expression.columns)),
    )
    return sparse.csr_matrix(counts @ place)
