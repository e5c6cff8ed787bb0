"""The trained readout of a spot, and what readouts mean in genes.

Every readout answers in standardised *gene modules*; :class:`GeneModules` turns modules into genes.
Those beside the trained one are in :mod:`hypergene.model.readout`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypergene.hyperbolic import at_least_float32
from hypergene.model.config import HeadConfig

LOG_VARIANCE_RANGE = (-6.0, 3.0)
"""Bounds of a module's log variance, where 0 is the variance over all training spots."""


class ModuleScores(NamedTuple):
    """Standardised module scores with their spread; both (n, modules) float32."""

    mean: Tensor
    log_variance: Tensor


class Head(nn.Module):
    """Trained readout.

    It starts at zero, that is at the training mean of every gene with unit spread.

    Parameters
    ----------
    width
        Length of the vector it reads.
    config
        Number of modules, hidden width, dropout.
    from_zero
        Whether the mean starts at zero. Not where it is scaled by something that starts there: of
        two factors that are both zero, neither gets a gradient.
    """

    def __init__(self, width: int, config: HeadConfig, *, from_zero: bool = True) -> None:
        super().__init__()
        inner = config.hidden or width
        self.body = nn.Sequential(nn.Dropout(config.dropout))
        if config.hidden:
            self.body.extend([nn.Linear(width, inner), nn.GELU(), nn.Dropout(config.dropout)])
        self.mean = nn.Linear(inner, config.modules)
        self.log_variance = nn.Linear(inner, config.modules)
        for layer in (self.mean, self.log_variance) if from_zero else (self.log_variance,):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> ModuleScores:
        """Read (n, width) float32 vectors.

        The spread reads the body without steering it: a network that may widen its spread stops
        learning the mean where it is wrong (Seitzer et al. 2022, arXiv 2203.09168).
        """
        body = self.body(inputs)
        log_variance = self.log_variance(body.detach()).clamp(*LOG_VARIANCE_RANGE)
        return ModuleScores(self.mean(body), log_variance)


class GeneModules(nn.Module):
    """Low-rank map from standardised module scores to log1p CP10k of every gene.

    ``x_g = mean_g + sum_k s_k loading_kg``, with the variance of the part that no module explains
    beside it. Fitted on training counts (:mod:`hypergene.training.modules`), fixed afterwards.

    Parameters
    ----------
    modules, genes
        How many.
    """

    def __init__(self, modules: int, genes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(genes))
        self.register_buffer("loadings", torch.zeros(modules, genes))
        self.register_buffer("residual_variance", torch.ones(genes))
        self.register_buffer("spread_scale", torch.ones(()))
        self.mean: Tensor
        self.loadings: Tensor
        self.residual_variance: Tensor
        self.spread_scale: Tensor

    @at_least_float32
    def expression(self, scores: Tensor, genes: Tensor | None = None) -> Tensor:
        """Turn module scores into expression.

        Parameters
        ----------
        scores
            (n, modules) float32.
        genes
            (g,) int64, places of the wanted genes; None = all.

        Returns
        -------
        Tensor
            (n, g) float32, natural log1p of counts per 10,000, not below 0.
        """
        mean, loadings = self._narrow(genes, self.mean, self.loadings)
        return torch.addmm(mean, scores, loadings).clamp_min(0.0)

    @at_least_float32
    def spread(self, log_variance: Tensor, genes: Tensor | None = None) -> Tensor:
        """Turn log variances of modules into the standard deviation of a *measured* value.

        Parameters
        ----------
        log_variance
            (n, modules) float32.
        genes
            (g,) int64, places of the wanted genes; None = all.

        Returns
        -------
        Tensor
            (n, g) float32 > 0, in log1p of counts per 10,000.
        """
        residual, loadings = self._narrow(genes, self.residual_variance, self.loadings)
        variance = torch.addmm(residual, log_variance.exp(), loadings.square())
        return self.spread_scale * variance.clamp_min(1e-8).sqrt()

    @property
    def module_variance(self) -> Tensor:
        """Share of the variance over all genes that each module carries, (modules,), sum 1."""
        energy = self.loadings.square().sum(1)
        return energy / energy.sum().clamp_min(1e-12)

    @staticmethod
    def _narrow(genes: Tensor | None, row: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        return (row, table) if genes is None else (row[genes], table[:, genes])
