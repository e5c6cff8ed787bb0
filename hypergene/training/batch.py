"""One batch as the objective sees it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from hypergene.model.network import Surroundings


class Batch(NamedTuple):
    """A few spots of a few slides, b in all, on one device.

    Attributes
    ----------
    features
        (b, features) float32, slide-centred.
    around
        Their surroundings: only the context that these spots touch.
    slide
        (b,) int64, number of the slide of each spot.
    xy_um
        (b, 2) float32, spot centres, µm.
    scores, niche_scores
        (b, modules) float32, standardised module scores of the spots and of their gene niches.
    log_depth
        (b,) float32, natural log of the total counts over all genes measured.
    richness
        (b,) float32 in 0..1, rank within the slide of the number of genes with a count.
    likeness
        (b, u) float32, leading modules in units of the slide's median distance between spots: what
        soft targets compare.
    clusters
        (b, clusters) float32, soft clusters of the niches' expression; None = not asked for.
    counts, measured
        (b, genes) float32 counts of the model's genes, and bool whether the slide measured each;
        None = no term reads counts.
    spots
        The spots by slide name and row, for messages.
    """

    features: Tensor
    around: Surroundings
    slide: Tensor
    xy_um: Tensor
    scores: Tensor
    niche_scores: Tensor
    log_depth: Tensor
    richness: Tensor
    likeness: Tensor
    clusters: Tensor | None
    counts: Tensor | None
    measured: Tensor | None
    spots: str
