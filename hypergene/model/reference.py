"""What the training tissue looked like, to tell how far a new spot is from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DIRECTIONS = 32
QUANTILES = 101
SPOTS_PER_DIRECTION = 10
"""With fewer training spots, all of them lie equally far out in the directions they span."""
NEGLIGIBLE = 1e-2
"""Least spread of the residual, as a share of the whole: what is below it may be rounding."""


class Reference(nn.Module):
    """Mahalanobis distance of a spot's features to the training spots, as a percentile.

    The features are *not* slide-centred: a slide that looks unlike all training slides is to be
    noticed. Directions of small variance count through the residual beside the leading
    directions (Lee et al. 2018, arXiv 1807.03888, for Mahalanobis scores in feature space).

    Parameters
    ----------
    features
        Length of a spot's feature vector.
    held_out
        Whether percentiles are of held-out spots' distances, see :meth:`hold`, and not of those of
        the very spots that the reference was fitted on, which lie nearer than any new slide's.
    """

    def __init__(self, features: int, *, held_out: bool = False) -> None:
        super().__init__()
        rank = min(DIRECTIONS, features)
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("directions", torch.zeros(features, rank))
        self.register_buffer("residual_scale", torch.ones(()))
        self.register_buffer("quantiles", torch.zeros(QUANTILES))
        self.center: Tensor
        self.directions: Tensor
        self.residual_scale: Tensor
        self.quantiles: Tensor
        self.register_buffer("held_out", None)
        self.held_out: Tensor | None
        if held_out:
            self.add_held_out()

    def add_held_out(self) -> None:
        """Make room for distances of held-out spots, see :meth:`hold`."""
        self.held_out = torch.zeros_like(self.quantiles)

    def ratios(self, features: Tensor) -> Tensor:
        """Distances of spots (n, features) in medians of the training spots', (n,) float32."""
        return self._distance(features.to(self.center)) / self._median

    @torch.no_grad()
    def hold(self, ratios: Tensor) -> None:
        """Take percentiles from held-out spots from now on.

        Parameters
        ----------
        ratios
            (QUANTILES,) quantiles of :meth:`ratios` of spots that neither their reference nor its
            encoder was fitted on; those may be of another training run of the same recipe.
        """
        self.add_held_out()
        assert self.held_out is not None
        self.held_out.copy_(ratios.to(self.held_out) * self._median)

    @property
    def _median(self) -> Tensor:
        return self.quantiles[QUANTILES // 2].clamp_min(1e-6)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Learn center, directions and the distribution of distances.

        Parameters
        ----------
        features
            (n, features) of the training spots, n > 0, not slide-centred.
        """
        features = features.to(self.center)
        self.center.copy_(features.mean(0))
        centered = features - self.center
        _, singular, basis = torch.linalg.svd(centered, full_matrices=False)
        filled = int((singular > NEGLIGIBLE**2 * singular[0]).sum())
        rank = min(self.directions.shape[1], len(features) // SPOTS_PER_DIRECTION, filled)
        deviation = singular[:rank] / max(len(features) - 1, 1) ** 0.5
        self.directions.zero_()
        self.directions[:, :rank] = basis[:rank].T / deviation
        outside = centered - (centered @ basis[:rank].T) @ basis[:rank]
        floor = (NEGLIGIBLE * _root_mean_square(centered)).clamp_min(1e-6)
        self.residual_scale.copy_(_root_mean_square(outside).maximum(floor))
        steps = torch.linspace(0, 1, QUANTILES, device=features.device)
        self.quantiles.copy_(torch.quantile(self._distance(features), steps))

    def forward(self, features: Tensor) -> Tensor:
        """Tell how unusual spots are.

        Parameters
        ----------
        features
            (n, features), not slide-centred.

        Returns
        -------
        Tensor
            (n,) float32 in 0..1. With held-out distances the share of held-out spots that lie
            nearer to the center, interpolated between percents; beyond the distance q of the last
            percent 1 - 0.01 q / distance, which tells far from farther and is no share any more.
            Without them the share of training spots, to the next percent.
        """
        if self.held_out is not None:
            return _share_below(self.held_out, self._distance(features.float()))
        percent = torch.searchsorted(self.quantiles, self._distance(features.float()))
        return percent.float().div(QUANTILES - 1).clamp_max(1.0)

    def _distance(self, features: Tensor) -> Tensor:
        centered = features - self.center
        inside = centered @ self.directions
        # The columns are orthogonal, of length 1/deviation (0 = no direction).
        length = self.directions.norm(dim=0).clamp_min(1e-12)
        explained = (inside / length).square().sum(1)
        outside = (centered.square().sum(1) - explained).clamp_min(0.0)
        return (inside.square().sum(1) + outside / self.residual_scale.square()).sqrt()


def _share_below(quantiles: Tensor, distances: Tensor) -> Tensor:
    """Place distances (n,) among quantiles (QUANTILES,) of others, (n,) float32 in 0..1."""
    last = QUANTILES - 2  # the greatest of all distances is one spot's
    above = torch.searchsorted(quantiles[: last + 1], distances, right=True)
    low, high = quantiles[(above - 1).clamp_min(0)], quantiles[above.clamp_max(last)]
    part = ((distances - low) / (high - low).clamp_min(1e-12)).clamp(0.0, 1.0)
    inside = ((above - 1).clamp_min(0) + part) / (QUANTILES - 1)
    beyond = 1.0 - quantiles[last] / distances.clamp_min(1e-12) / (QUANTILES - 1)
    return torch.where(distances >= quantiles[last], beyond, inside)


def _root_mean_square(vectors: Tensor) -> Tensor:
    """Root of the mean squared length of vectors (n, features), 0-d."""
    return vectors.square().sum(1).mean().sqrt()
