"""What samples that were held out of training said of a model, kept beside its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypergene.model.config import HeldOutConfig


class AtScales(nn.Module):
    """Reliability of genes or modules at some scales; NaN where nothing was measured.

    Parameters
    ----------
    scales, units
        How many.

    Attributes
    ----------
    pearson, low, high, ceiling
        (scales, units) float32: held-out correlation, its 95 % interval, the noise ceiling.
    """

    def __init__(self, scales: int, units: int) -> None:
        super().__init__()
        for name in ("pearson", "low", "high", "ceiling"):
            self.register_buffer(name, torch.full((scales, units), float("nan")))
        self.pearson: Tensor
        self.low: Tensor
        self.high: Tensor
        self.ceiling: Tensor


class HeldOut(nn.Module):
    """Reliability beyond a mean correlation of genes; NaN where nothing was measured.

    Parameters
    ----------
    how
        What was measured.
    genes, modules
        How many.

    Attributes
    ----------
    low, high, coverage_80
        (genes,) float32, of single spots.
    coarse
        Of genes at ``how.scales``; None = there are none.
    modules_at
        Of gene modules at single spots and at ``how.scales``; None likewise.
    """

    def __init__(self, how: HeldOutConfig, genes: int, modules: int) -> None:
        super().__init__()
        for name in ("low", "high", "coverage_80"):
            self.register_buffer(name, torch.full((genes,), float("nan")))
        self.low: Tensor
        self.high: Tensor
        self.coverage_80: Tensor
        scales = len(how.scales)
        self.coarse: AtScales | None = AtScales(scales, genes) if scales else None
        self.modules_at: AtScales | None = AtScales(1 + scales, modules) if scales else None
