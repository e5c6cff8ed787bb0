"""What the terms of the objective look at, worked out once for all of them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from hypergene.model.config import LayoutConfig
from hypergene.model.head import ModuleScores
from hypergene.model.losses import Geometry, expression_targets, pair_distances
from hypergene.model.network import HyperGene, Reading
from hypergene.training.batch import Batch
from hypergene.training.terms import Losses


class Seen:
    """One batch, and what several terms want to know of it: each worked out when first asked."""

    def __init__(self, model: HyperGene, reading: Reading, batch: Batch, losses: Losses) -> None:
        self.model, self.reading, self.batch, self.losses = model, reading, batch, losses
        self.variance = model.modules_to_genes.module_variance

    @cached_property
    def head(self) -> ModuleScores:
        """The trained readout; as a probe, of inputs that no gradient leaves."""
        if not self.losses.regression.probe:
            return self.reading.head
        inputs = self.model.head_inputs(self.batch.features, self.reading.image)
        return self.model.read_head(inputs.detach(), self.reading.ridge.detach())

    def log_expression(self, genes: Tensor | None = None) -> Tensor:
        """Predicted log1p CP10k (b, g) of some genes; not clamped at 0, as predictions are."""
        table = self.model.modules_to_genes
        mean, loadings = table.mean, table.loadings
        if genes is not None:
            mean, loadings = mean[genes], loadings[:, genes]
        return torch.addmm(mean, self.head.mean, loadings)

    @property
    def counts(self) -> tuple[Tensor, Tensor]:
        """Counts (b, genes), and which of them were measured, bool (b, genes)."""
        assert self.batch.counts is not None
        assert self.batch.measured is not None
        return self.batch.counts, self.batch.measured

    @cached_property
    def gene_spot(self) -> Tensor:
        """Points (b, dim) of the spots' expression."""
        return self.model.space.lift_gene(self.model.gene_spot(self.batch.scores))

    @cached_property
    def gene_niche(self) -> Tensor:
        """Points (b, dim) of the niches' expression."""
        return self.model.space.lift_gene(self.model.gene_niche(self.batch.niche_scores))

    @property
    def points(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image spot, image niche, gene spot and gene niche, (b, dim) each."""
        image = self.reading.image
        return image.spot, image.niche, self.gene_spot, self.gene_niche

    @cached_property
    def curvature(self) -> Tensor:
        """The c of the curvature -c, 0-d."""
        return self.model.space.curvature

    @property
    def geometry(self) -> Geometry:
        """What the contrast compares."""
        cosine = self.losses.contrast.similarity == "cosine"
        return "cosine" if cosine else self.model.space.kind

    @property
    def same_slide(self) -> Tensor | None:
        """Slides (b,), if negatives come from the same one only."""
        return self.batch.slide if self.losses.contrast.same_slide else None

    @cached_property
    def too_near(self) -> Tensor:
        """Pairs (b, b) bool that share tissue."""
        layout, apart = self.model.config.layout, self.losses.contrast.apart_pitch
        return too_near(self.batch.slide, self.batch.xy_um, apart, layout)

    @cached_property
    def soft_targets(self) -> Tensor | None:
        """What the contrast should find, (b, b); None = the own pair alone."""
        share = self.losses.contrast.soft
        if not share:
            return None
        return expression_targets(
            self.batch.likeness, share, same_slide=self.same_slide, ignore=self.too_near
        )

    @cached_property
    def spot_distances(self) -> Tensor:
        """Distances (b, b) of image spots to gene spots, which two contrasts read."""
        image, gene = self.reading.image.spot, self.gene_spot
        return pair_distances(image, gene, self.curvature, self.geometry)


def too_near(slide: Tensor, xy_um: Tensor, apart_pitch: float, layout: LayoutConfig) -> Tensor:
    """Pairs (b, b) bool of one slide that share tissue, and so are no fair negatives."""
    # From differences: of coordinates of 1e4 µm, a matrix product in float32 leaves errors of 1 µm.
    um = torch.cdist(xy_um, xy_um, compute_mode="donot_use_mm_for_euclid_dist")
    near = um < apart_pitch * layout.pitch_um
    return near & (slide[:, None] == slide[None, :])
