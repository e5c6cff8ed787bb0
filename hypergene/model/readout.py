"""What stands beside the trained head: closed-form readouts and a correction, and their blend.

None of them is trained by gradients: :mod:`hypergene.training.readout` fits them. Each has a share
in the model's answer, chosen on inner validation; at share 0 it changes nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.hyperbolic import at_least_float32

KernelKind = Literal["laplacian", "rbf", "hyperbolic"]

CAP = 0.3
"""Longest correction by the gallery at share 1, relative to the answer it corrects."""
NEIGHBOURS = 16
"""Residuals of the gallery that a spot reads, the nearest ones."""
_ROWS = 4096


class Blend(NamedTuple):
    """Shares of the readouts in the answer, 0..1 each; 0 leaves that one out.

    Attributes
    ----------
    ridge
        Of the ridge in its average with the head.
    kernel
        Of the kernel readout in its average with those two.
    gallery
        Of the correction by the gallery.
    """

    ridge: float = 0.5
    kernel: float = 0.0
    gallery: float = 0.0


class RidgeReadout(nn.Module):
    """Closed-form readout: a ridge on a spot's own features and its ring means.

    The weights are fitted by :func:`hypergene.training.readout.fit_ridge`, never by gradients.
    ``share`` (0..1) is its part in the average with the head, chosen on inner validation; 0 leaves
    the head alone.

    Parameters
    ----------
    width
        Length of the vector it reads.
    modules
        Number of gene modules.
    """

    def __init__(self, width: int, modules: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, modules))
        self.register_buffer("share", torch.zeros(()))
        self.weight: Tensor
        self.share: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        """Map slide-centred features with ring means (n, width) to module scores (n, modules)."""
        return inputs @ self.weight

    def blend(self, head: Tensor, ridge: Tensor, share: float | None = None) -> Tensor:
        """Return the mean of both readouts, (n, modules), with the ridge's own share or another."""
        return head + (self.share if share is None else share) * (ridge - head)


class KernelReadout(nn.Module):
    r"""Closed-form readout: kernel ridge over inducing points.

    .. math:: f(x) = \sum_j k(x, z_j)\, w_j

    with :math:`k = e^{-\gamma d}` of the Euclidean distance (``laplacian``) or of the Lorentz one
    (``hyperbolic``), or :math:`k = e^{-\gamma d^2}` of the Euclidean one (``rbf``). All three are
    positive definite: Euclidean and hyperbolic distances are conditionally negative definite
    (Schoenberg 1938; Faraut and Harzallah 1974), and so is the squared Euclidean one. The squared
    hyperbolic distance is not, hence no Gaussian of it.

    Fitted by :func:`hypergene.training.readout.fit_kernel`, never by gradients; empty until then.

    Parameters
    ----------
    width
        Length of what it reads: readout inputs, or points of the shared space (``hyperbolic``).
    modules
        Number of gene modules.
    inducing
        Number of inducing points.
    kind
        The kernel.
    """

    def __init__(self, width: int, modules: int, inducing: int, kind: KernelKind) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("points", torch.zeros(inducing, width))
        self.register_buffer("weight", torch.zeros(inducing, modules))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("gamma", torch.ones(()))
        self.register_buffer("share", torch.zeros(()))
        self.points: Tensor
        self.weight: Tensor
        self.scale: Tensor
        self.gamma: Tensor
        self.share: Tensor

    @torch.no_grad()
    def hold(self, points: Tensor, weight: Tensor, scale: Tensor, gamma: Tensor) -> None:
        """Take over a fit, in place; fewer points than the readout has places for are enough.

        Parameters
        ----------
        points
            (m, width) float32, inducing points.
        weight
            (m, modules) float32.
        scale
            (width,) float32, what inputs and points are divided by.
        gamma
            0-d, > 0.
        """
        _fill(self.points, points)
        _fill(self.weight, weight)
        self.scale.copy_(scale)
        self.gamma.copy_(gamma)

    @torch.no_grad()
    @at_least_float32
    def forward(self, inputs: Tensor, curvature: Tensor | None = None) -> Tensor:
        """Map inputs to module scores.

        Parameters
        ----------
        inputs
            (n, width) float32: slide-centred features with ring means; ``hyperbolic``: space parts
            of image points.
        curvature
            0-d, the c of the curvature -c; only ``hyperbolic`` needs it.

        Returns
        -------
        Tensor
            (n, modules) float32, module scores.
        """
        points = self.points / self.scale
        answers = []
        for rows in inputs.split(_ROWS):
            distance = pairwise(self.kind, rows / self.scale, points, curvature)
            answers.append(similarity(self.kind, distance, self.gamma) @ self.weight)
        return torch.cat(answers)

    def blend(self, answer: Tensor, kernel: Tensor, share: float | None = None) -> Tensor:
        """Return the mean of an answer and the kernel's, (n, modules), with its own share."""
        return answer + (self.share if share is None else share) * (kernel - answer)


class Gallery(nn.Module):
    r"""Correction of an answer by residuals of similar training spots, of bounded length.

    The gallery holds what closed-form readouts missed on training spots that they were *not* fitted
    on, those of other patients (after CHRep, arXiv 2604.21573). A spot reads the nearest of them,
    :math:`r = \sum_k w_k r_k` with weights :math:`w_k \propto e^{-d_k / \tau}`; then

    .. math:: a + s\,r \min(1, \kappa |a| / |r|)

    so that no correction at share s is longer than :math:`s \kappa` times the answer a.

    Fitted by :func:`hypergene.training.readout.fit_gallery`, never by gradients; empty until then.

    Parameters
    ----------
    width
        Length of the readout inputs, which are its keys.
    modules
        Number of gene modules.
    size
        Residuals it holds at most.
    """

    def __init__(self, width: int, modules: int, size: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("residuals", torch.zeros(size, modules))
        self.register_buffer("held", torch.zeros(size))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("share", torch.zeros(()))
        self.keys: Tensor
        self.residuals: Tensor
        self.held: Tensor
        self.scale: Tensor
        self.temperature: Tensor
        self.share: Tensor

    @torch.no_grad()
    def hold(self, keys: Tensor, residuals: Tensor, scale: Tensor, temperature: Tensor) -> None:
        """Take over a fit, in place; fewer residuals than the gallery has places for are enough.

        Parameters
        ----------
        keys
            (m, width) float32, readout inputs of training spots.
        residuals
            (m, modules) float32.
        scale
            (width,) float32, what inputs and keys are divided by.
        temperature
            0-d, > 0, in the unit of the scaled inputs.
        """
        _fill(self.keys, keys)
        _fill(self.residuals, residuals)
        _fill(self.held, self.held.new_ones(len(keys)))
        self.scale.copy_(scale)
        self.temperature.copy_(temperature)

    @at_least_float32
    def forward(self, answer: Tensor, inputs: Tensor, share: float | None = None) -> Tensor:
        """Correct an answer.

        Parameters
        ----------
        answer
            (n, modules) float32, module scores.
        inputs
            (n, width) float32, slide-centred features with ring means of these spots.
        share
            0..1; None = the gallery's own.

        Returns
        -------
        Tensor
            (n, modules) float32; `answer` itself at share 0.
        """
        share = float(self.share) if share is None else share
        if share == 0:
            return answer
        correction = torch.cat([self._read(rows) for rows in inputs.split(_ROWS)])
        longest = CAP * torch.linalg.vector_norm(answer, dim=1, keepdim=True)
        length = torch.linalg.vector_norm(correction, dim=1, keepdim=True).clamp_min(1e-12)
        return answer + share * (longest / length).clamp(max=1.0) * correction

    @torch.no_grad()
    def _read(self, inputs: Tensor) -> Tensor:
        """Weighted mean (n, modules) of the nearest residuals."""
        distance = _euclidean(inputs / self.scale, self.keys / self.scale)
        # An empty place is farther than any other, so its weight is 0; and its residual is 0.
        distance = distance.masked_fill(self.held == 0, torch.finfo(distance.dtype).max)
        near, index = distance.topk(min(NEIGHBOURS, len(self.keys)), dim=1, largest=False)
        weight = torch.softmax((near[:, :1] - near) / self.temperature, dim=1)
        return (weight[:, :, None] * self.residuals[index]).sum(1)


def pairwise(kind: KernelKind, left: Tensor, right: Tensor, curvature: Tensor | None) -> Tensor:
    """Distance of every pair that a kernel of this kind goes by.

    Parameters
    ----------
    kind
        The kernel.
    left, right
        (n, width) and (m, width), scaled inputs, or space parts of points (``hyperbolic``).
    curvature
        0-d, the c of the curvature -c; only ``hyperbolic`` needs it.

    Returns
    -------
    Tensor
        (n, m), in the unit of the scaled inputs or of the hyperbolic space.

    Raises
    ------
    ValueError
        ``hyperbolic`` without a curvature.
    """
    if kind != "hyperbolic":
        return _euclidean(left, right)
    if curvature is None:
        raise ValueError("the hyperbolic kernel needs the curvature of its points")
    return hyperbolic.pairwise_distance(left, right, curvature)


def _euclidean(left: Tensor, right: Tensor) -> Tensor:
    """Distance of every pair (n, m).

    One matrix product in float64, so that nothing is lost where it cancels; taking differences of
    2,048 inputs took five times as long.
    """
    return torch.cdist(left.double(), right.double()).to(left.dtype)


def similarity(kind: KernelKind, distance: Tensor, gamma: Tensor | float) -> Tensor:
    """Kernel at distances, of their shape; :class:`KernelReadout` has the formulas.

    Parameters
    ----------
    kind
        The kernel.
    distance
        As :func:`pairwise` gives it.
    gamma
        > 0, one over the unit of the distance, or over its square (``rbf``).
    """
    return torch.exp(-gamma * (distance.square() if kind == "rbf" else distance))


def _fill(table: Tensor, rows: Tensor) -> None:
    """Put rows into a table, zeros below them."""
    table.zero_()[: len(rows)] = rows
