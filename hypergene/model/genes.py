"""The gene side: expression modules, and the encoder that exists during training only."""

from __future__ import annotations

from torch import Tensor, nn


class GeneEncoder(nn.Module):
    """Expression of a spot, or of a niche, to a tangent vector at the origin.

    It reads module scores (a low-rank view of all genes), so the size of the network does not
    depend on the gene panel and single noisy genes do not matter.

    Parameters
    ----------
    modules
        Number of gene modules read.
    dim
        Dimension of the shared space.
    """

    def __init__(self, modules: int, dim: int) -> None:
        super().__init__()
        self.enter = nn.Linear(modules, 2 * dim)
        self.block = nn.Sequential(nn.GELU(), nn.Linear(2 * dim, 2 * dim), nn.GELU())
        self.leave = nn.Linear(2 * dim, dim)

    def forward(self, scores: Tensor) -> Tensor:
        """Map standardised module scores (n, modules) to tangent vectors (n, dim)."""
        hidden = self.enter(scores)
        tangent: Tensor = self.leave(hidden + self.block(hidden))
        return tangent
