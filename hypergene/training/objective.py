"""The training objective: every term by name, its weight now, and their sum in two families."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.errors import UsageError
from hypergene.hyperbolic.cones import MIN_RADIUS
from hypergene.model.losses import (
    branch_contrast,
    cluster_divergence,
    collapse,
    entailment_loss,
    gaussian_nll,
    hierarchical_contrastive_alignment,
    hierarchical_entailment_alignment,
    huber,
    listwise,
    mse,
    negative_binomial,
    radius_dependence,
    richness_entailment,
    richness_parents,
)
from hypergene.model.network import HyperGene, Reading
from hypergene.training.batch import Batch
from hypergene.training.seen import Seen
from hypergene.training.terms import Losses

REGRESSION = ("regression", "spread", "relative")
"""Terms that say what is wanted; all others are there to help them."""
AUXILIARY = ("hca", "pairs", "hea", "cross", "intra", "radius", "collapse", "clusters")
HYPERBOLIC_ONLY = ("hea", "cross", "intra")
"""Terms on cones, which a flat space does not have: skipped there."""
ON_GENE_POINTS = ("hca", "pairs", "hea", "cross", "intra", "radius", "collapse")


class Terms(NamedTuple):
    """The objective of one batch.

    Attributes
    ----------
    values
        Every term that is on, by name: an unweighted 0-d tensor.
    weights
        Its weight now, > 0.
    """

    values: dict[str, Tensor]
    weights: dict[str, float]

    @property
    def regression(self) -> Tensor | None:
        """Weighted sum of the terms that say what is wanted, 0-d; None if all are off."""
        return self._sum(REGRESSION)

    @property
    def auxiliary(self) -> Tensor | None:
        """Weighted sum of all other terms, 0-d; None if all are off."""
        return self._sum(AUXILIARY)

    @property
    def total(self) -> Tensor:
        """Weighted sum of all terms, 0-d: what is minimised."""
        parts = [part for part in (self.regression, self.auxiliary) if part is not None]
        return torch.stack(parts).sum()

    def _sum(self, family: Iterable[str]) -> Tensor | None:
        parts = [self.weights[name] * self.values[name] for name in family if name in self.values]
        return torch.stack(parts).sum() if parts else None


class Objective(nn.Module):
    """All terms of the loss, with the parameters that only training needs.

    Attributes
    ----------
    log_dispersion
        (genes,) parameter, log dispersion of the negative binomial; None = another regression.
    cluster_head
        Reads the cluster of a niche off the tangent vectors of spot and niche; None = off.

    Parameters
    ----------
    model
        Whose outputs are to be judged; only its sizes are read here.
    losses
        Kinds, weights and schedules of the terms.
    """

    def __init__(self, model: HyperGene, losses: Losses) -> None:
        super().__init__()
        self.losses = losses
        dim, genes = model.config.geometry.dim, len(model.config.genes)
        counts = losses.regression.kind == "negative-binomial"
        dispersion = nn.Parameter(torch.zeros(genes)) if counts else None
        self.register_parameter("log_dispersion", dispersion)
        self.log_dispersion: nn.Parameter | None
        clusters = losses.clusters
        self.cluster_head = nn.Linear(2 * dim, clusters.number) if clusters.weight else None
        self._terms: dict[str, Callable[[Seen], Tensor]] = {
            "regression": self._regression,
            "spread": self._spread,
            "relative": self._relative,
            "hca": self._hca,
            "pairs": self._pairs,
            "hea": self._hea,
            "cross": self._cross,
            "intra": self._intra,
            "radius": self._radius,
            "collapse": self._collapse,
            "clusters": self._clusters,
        }

    def forward(self, model: HyperGene, reading: Reading, batch: Batch, progress: float) -> Terms:
        """Compute every term that is on.

        Genes of the relative loss are drawn from torch's global generator.

        Parameters
        ----------
        model
            For its shared space, gene encoders, head and gene modules.
        reading
            What it read off the batch.
        batch
            The batch.
        progress
            Of training, 0..1: weights follow it.

        Raises
        ------
        UsageError
            No term has a weight at this progress.
        """
        weights = self.weights(progress, flat=not model.space.hyperbolic)
        if not weights:
            raise UsageError(
                f"No term of the objective is on at {progress:.0%} of training.",
                hint="Give a term of [loss] a weight there; check start and end.",
            )
        seen = Seen(model, reading, batch, self.losses)
        with torch.autocast(batch.features.device.type, enabled=False):
            values = {name: self._terms[name](seen) for name in weights}
        return Terms(values, weights)

    def weights(self, progress: float, *, flat: bool = False) -> dict[str, float]:
        """Return the weight of every term that is on at a progress of 0..1.

        In a flat space terms on cones are off. The spread follows the schedule of no other term;
        a Gaussian regression fits it already.
        """
        losses = self.losses
        weights = {
            name: getattr(losses, name).at(progress)
            for name in self._terms
            if name != "spread" and not (flat and name in HYPERBOLIC_ONLY)
        }
        if losses.regression.kind != "gaussian":
            weights["spread"] = losses.regression.spread
        return {name: weight for name, weight in weights.items() if weight > 0}

    @torch.no_grad()
    def diagnostics(self, model: HyperGene, reading: Reading, batch: Batch) -> dict[str, float]:
        """Say how the shared space is used, for the log.

        Parameters
        ----------
        model, reading, batch
            As in :meth:`forward`.

        Returns
        -------
        dict
            ``curvature`` (c of -c), ``temperature``, mean ``radius/<level>`` of image_spot,
            image_niche and, if a term reads them, gene_spot and gene_niche (all in units of the
            space); in a hyperbolic space also ``cone_violations``, the share of the pairs of the
            entailment alignment outside their cones, and ``dead_apertures``, the share of its
            parents nearer to the origin than 2K/sqrt(c), where a cone no longer widens and its
            aperture passes no gradient.
        """
        space = model.space
        row = {"curvature": space.curvature.item(), "temperature": space.temperature.item()}
        points = {"image_spot": reading.image.spot, "image_niche": reading.image.niche}
        if any(getattr(self.losses, name).weight for name in ON_GENE_POINTS):
            seen = Seen(model, reading, batch, self.losses)
            points |= {"gene_spot": seen.gene_spot, "gene_niche": seen.gene_niche}
        row |= {f"radius/{name}": space.radius(at).mean().item() for name, at in points.items()}
        if space.hyperbolic and "gene_spot" in points:
            row |= self._cones(points, space.curvature)
        return row

    def _cones(self, points: dict[str, Tensor], c: Tensor) -> dict[str, float]:
        eta, levels = self.losses.hea.eta, ("niche", "spot")
        over, under = levels if self.losses.hea.level_parent == "niche" else levels[::-1]
        pairs = (
            ("image_spot", "gene_spot", eta.spot),
            ("image_niche", "gene_niche", eta.niche),
            (f"image_{over}", f"image_{under}", eta.image),
            (f"gene_{over}", f"gene_{under}", eta.gene),
        )
        outside = [
            hyperbolic.cone_violation(points[parent], points[child], c, factor) > 0
            for parent, child, factor in pairs
        ]
        norms = [torch.linalg.vector_norm(points[parent], dim=-1) for parent, _, _ in pairs]
        dead = c.sqrt() * torch.stack(norms) <= 2 * MIN_RADIUS
        return {
            "cone_violations": torch.stack(outside).float().mean().item(),
            "dead_apertures": dead.float().mean().item(),
        }

    def _regression(self, seen: Seen) -> Tensor:
        kind, scores, weights = self.losses.regression, seen.batch.scores, seen.variance
        mean, log_variance = seen.head
        if kind.kind == "negative-binomial":
            assert self.log_dispersion is not None
            counts, measured = seen.counts
            return negative_binomial(
                seen.log_expression(), counts, seen.batch.log_depth, self.log_dispersion,
                measured=measured, slide=seen.batch.slide,
            )  # fmt: skip
        if kind.kind == "gaussian":
            return gaussian_nll(mean, (0.5 * log_variance).exp(), scores, weights=weights)
        if kind.kind == "huber":
            return huber(mean, scores, delta=kind.delta, weights=weights)
        return mse(mean, scores, weights=weights)

    def _spread(self, seen: Seen) -> Tensor:
        mean, log_variance = seen.head
        std = (0.5 * log_variance).exp()
        return gaussian_nll(mean, std, seen.batch.scores, weights=seen.variance, detach_mean=True)

    def _relative(self, seen: Seen) -> Tensor:
        counts, measured = seen.counts
        drawn = torch.randperm(counts.shape[1])[: self.losses.relative.genes].to(counts.device)
        return listwise(
            seen.log_expression(drawn), counts[:, drawn], seen.batch.log_depth, seen.batch.slide,
            measured=measured[:, drawn],
        )  # fmt: skip

    def _hca(self, seen: Seen) -> Tensor:
        return hierarchical_contrastive_alignment(
            *seen.points, curvature=seen.curvature, temperature=seen.model.space.temperature,
            geometry=seen.geometry, same_slide=seen.same_slide, ignore=seen.too_near,
            soft_targets=seen.soft_targets, spot_distances=seen.spot_distances,
        )  # fmt: skip

    def _pairs(self, seen: Seen) -> Tensor:
        pairs = self.losses.pairs
        return branch_contrast(
            *seen.points, query=pairs.query, neighbour=pairs.neighbour, curvature=seen.curvature,
            temperature=seen.model.space.temperature, geometry=seen.geometry,
            same_slide=seen.same_slide, ignore=seen.too_near, soft_targets=seen.soft_targets,
            spot_distances=seen.spot_distances,
        )  # fmt: skip

    def _hea(self, seen: Seen) -> Tensor:
        hea = self.losses.hea
        return hierarchical_entailment_alignment(
            *seen.points, curvature=seen.curvature, level_parent=hea.level_parent,
            eta_spot=hea.eta.spot, eta_niche=hea.eta.niche, eta_image=hea.eta.image,
            eta_gene=hea.eta.gene,
        )  # fmt: skip

    def _cross(self, seen: Seen) -> Tensor:
        cross = self.losses.cross
        pair = (seen.reading.image.spot, seen.gene_spot)
        parent, child = pair if cross.parent == "image" else pair[::-1]
        return entailment_loss(parent, child, curvature=seen.curvature, eta=cross.eta)

    def _intra(self, seen: Seen) -> Tensor:
        intra, batch = self.losses.intra, seen.batch
        parent = richness_parents(batch.richness, batch.likeness, batch.slide, intra.levels)
        image = seen.reading.image.spot
        return richness_entailment(
            image, seen.gene_spot, parent, curvature=seen.curvature, eta=intra.eta
        )

    def _radius(self, seen: Seen) -> Tensor:
        radii = map(seen.model.space.radius, (seen.reading.image.spot, seen.gene_spot))
        depth, slide = seen.batch.log_depth, seen.batch.slide
        return torch.stack([radius_dependence(radius, depth, slide) for radius in radii]).mean()

    def _collapse(self, seen: Seen) -> Tensor:
        floor, slide = self.losses.collapse.floor, seen.batch.slide
        tangents = map(seen.model.space.unlift, (seen.reading.image.spot, seen.gene_spot))
        return torch.stack([collapse(tangent, slide, floor) for tangent in tangents]).mean()

    def _clusters(self, seen: Seen) -> Tensor:
        assert self.cluster_head is not None
        assert seen.batch.clusters is not None
        image, unlift = seen.reading.image, seen.model.space.unlift
        logits = self.cluster_head(torch.cat([unlift(image.spot), unlift(image.niche)], 1))
        return cluster_divergence(logits, seen.batch.clusters)
