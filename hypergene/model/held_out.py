"""What samples that were held out of training said of a model, kept beside its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HeldOut(nn.Module):
    """Per-gene reliability beyond a mean correlation; NaN where nothing was measured.

    Parameters
    ----------
    genes
        How many.
    """

    def __init__(self, genes: int) -> None:
        super().__init__()
        for name in ("low", "high", "coverage_80"):
            self.register_buffer(name, torch.full((genes,), float("nan")))
        self.low: Tensor
        self.high: Tensor
        self.coverage_80: Tensor
