"""Fits of what stands beside the trained head: ridge, kernel ridge, gallery of residuals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene.model.readout import NEIGHBOURS, KernelKind, pairwise, similarity
from hypergene.training.leave_out import Floats, choose_penalties, decompose, leave_groups_out

PENALTIES = np.logspace(1, 6, 21)
KERNEL_PENALTIES = np.logspace(-3, 3, 19)
WIDTHS = 2.0 ** np.arange(-5, 2)
"""Of the kernels that are tried: gamma times the median distance (``rbf``: its square)."""
TRIED_ON = 2048
"""Spots on which they are compared, at most."""
_NEGLIGIBLE = 1e-7
"""Eigenvalues of a kernel, relative to the largest: float32 does not resolve smaller ones."""


class Ridge:
    """One ridge a module, its penalty chosen by leaving whole groups out.

    Parameters
    ----------
    inputs
        (n, p) slide-centred.
    targets
        (n, modules) standardised module scores.
    groups
        (n,) the slide (or block of a slide) of each spot; at least two different ones.
    """

    def __init__(
        self,
        inputs: NDArray[np.float32],
        targets: NDArray[np.float32],
        groups: NDArray[np.int64],
    ) -> None:
        self._scale = spread(inputs)
        self._x, self._y = inputs / self._scale, targets.astype(np.float64)
        self._whole = decompose(self._x, self._y)
        self._penalty, _ = choose_penalties(self._x, self._y, groups, PENALTIES, self._whole)

    @property
    def weight(self) -> NDArray[np.float32]:
        """(p, modules) float32, no intercept (inputs and targets are centred)."""
        weight = self._whole.weights(self._penalty) / self._scale[:, None]
        rounded: NDArray[np.float32] = weight.astype(np.float32)
        return rounded

    def residuals(self, apart: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the ridge misses on spots that it is not fitted on.

        Parameters
        ----------
        apart
            (n,) what is left out together: a spot's residual is that of the ridge fitted without
            its group, such as all slides of its patient. The penalties stay.

        Returns
        -------
        ndarray
            (n, modules) float32, target less prediction.
        """
        tried, place = np.unique(self._penalty, return_inverse=True)
        predictions = leave_groups_out(self._x, self._y, apart, tried, self._whole)
        own = np.take_along_axis(predictions, place[None, None], axis=0)[0]
        residuals: NDArray[np.float32] = (self._y - own).astype(np.float32)
        return residuals


def fit_ridge(
    inputs: NDArray[np.float32], targets: NDArray[np.float32], groups: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the weights (p, modules) float32 of a :class:`Ridge`, which explains the arguments."""
    return Ridge(inputs, targets, groups).weight


class KernelFit(NamedTuple):
    """What :class:`hypergene.model.readout.KernelReadout` holds.

    Attributes
    ----------
    points
        (m, width) float32, inducing points: inputs of training spots.
    weight
        (m, modules) float32.
    scale
        (width,) float32, what inputs and points are divided by.
    gamma
        Of the kernel, > 0.
    """

    points: NDArray[np.float32]
    weight: NDArray[np.float32]
    scale: NDArray[np.float32]
    gamma: float


def fit_kernel(
    kind: KernelKind,
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    inducing: int,
    curvature: float = 1.0,
    seed: int = 0,
) -> KernelFit:
    """Fit one kernel ridge a module, its penalty chosen by leaving whole groups out.

    With more spots than `inducing`, the function is spanned by so many of them, drawn at random
    (Nyström; Rudi et al. 2015, arXiv 1507.04717); else this is the kernel ridge itself. The width
    of the kernel, one for all modules, is chosen as the penalties are, on at most 2,048 spots.

    Parameters
    ----------
    kind
        The kernel.
    inputs
        (n, width) slide-centred inputs, or space parts of points of the shared space
        (``hyperbolic``).
    targets
        (n, modules) standardised module scores.
    groups
        (n,) the slide (or block of a slide) of each spot; at least two different ones.
    inducing
        Inducing points, at most.
    curvature
        The c of the curvature -c of those points.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    # Rounded here, so that the weights are those of what the model will compute.
    scale = spread(inputs).astype(np.float32)
    if kind == "hyperbolic":
        scale = np.ones_like(scale)
    chosen = _draw(rng, len(inputs), inducing)
    kernels = Kernels(kind, inputs / scale.astype(np.float64), chosen, curvature)
    y = targets.astype(np.float64)
    some = _draw(rng, len(inputs), TRIED_ON)
    gammas = kernels.gammas()
    errors = []
    for gamma in gammas:
        x, _ = kernels.table(gamma, some)
        errors.append(choose_penalties(x, y[some], groups[some], KERNEL_PENALTIES)[1].sum())
    gamma = gammas[int(np.argmin(errors))]
    x, root = kernels.table(gamma, np.arange(len(inputs)))
    whole = decompose(x, y)
    penalty, _ = choose_penalties(x, y, groups, KERNEL_PENALTIES, whole)
    weight = root @ whole.weights(penalty)
    return KernelFit(inputs[chosen], weight.astype(np.float32), scale, gamma)


class Kernels:
    """Kernels of one kind between spots and inducing spots; distances are computed once."""

    def __init__(self, kind: KernelKind, x: Floats, chosen: NDArray[np.int64], c: float) -> None:
        spots, curvature = torch.from_numpy(x), torch.tensor(c, dtype=torch.float64)
        self.kind = kind
        self.distance: Tensor = pairwise(kind, spots, spots[chosen], curvature)
        self.chosen = chosen

    def gammas(self) -> list[float]:
        """Candidates around one over the median distance."""
        median = max(float(self.distance.median()), 1e-6)
        unit = median**2 if self.kind == "rbf" else median
        return [float(width) / unit for width in WIDTHS]

    def table(self, gamma: float, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return inputs (rows, r) on which kernel ridge is ridge, and (m, r) that makes them."""
        values, vectors = np.linalg.eigh(self._at(gamma, self.chosen))
        kept = values > _NEGLIGIBLE * values[-1]
        root: Floats = vectors[:, kept] / np.sqrt(values[kept])
        return self._at(gamma, rows) @ root, root

    def _at(self, gamma: float, rows: NDArray[np.int64]) -> Floats:
        kernel: Floats = similarity(self.kind, self.distance[rows], gamma).numpy()
        return kernel


class GalleryFit(NamedTuple):
    """What :class:`hypergene.model.readout.Gallery` holds.

    Attributes
    ----------
    keys
        (m, width) float32, inputs of training spots.
    residuals
        (m, modules) float32, of readouts that were not fitted on them.
    scale
        (width,) float32, what inputs and keys are divided by.
    temperature
        Of the weights, > 0, in the unit of the scaled inputs.
    """

    keys: NDArray[np.float32]
    residuals: NDArray[np.float32]
    scale: NDArray[np.float32]
    temperature: float


def fit_gallery(
    inputs: NDArray[np.float32], residuals: NDArray[np.float32], size: int, *, seed: int = 0
) -> GalleryFit:
    """Keep residuals of training spots, drawn at random.

    The temperature is the median, over spots of the gallery, of how much farther the last of the
    neighbours it would read is than the first.

    Parameters
    ----------
    inputs
        (n, width) slide-centred.
    residuals
        (n, modules) of readouts that were not fitted on the spot: :meth:`Ridge.residuals`.
    size
        Residuals kept, at most.
    seed
        Of the draw.
    """
    kept = _draw(np.random.default_rng(seed), len(inputs), size)
    scale = spread(inputs).astype(np.float32)
    keys = inputs[kept]
    scaled = torch.from_numpy(keys / scale)
    near = torch.cdist(scaled, scaled).topk(min(NEIGHBOURS + 1, len(kept)), largest=False).values
    # The first is the spot itself.
    further = near[:, -1] - near[:, min(1, near.shape[1] - 1)]
    return GalleryFit(keys, residuals[kept], scale, max(float(further.median()), 1e-6))


def spread(inputs: NDArray[np.float32]) -> Floats:
    """Return the standard deviation of every input, (p,) > 0."""
    found: Floats = inputs.std(0, dtype=np.float64) + 1e-6
    return found


def spatial_blocks(xy_um: NDArray[np.float64]) -> NDArray[np.int64]:
    """Quarter one slide by its medians, for a fold when there is no second slide, (n,) int64."""
    halves = xy_um > np.median(xy_um, axis=0)
    return halves[:, 0] * 2 + halves[:, 1].astype(np.int64)


def _draw(rng: np.random.Generator, n: int, most: int) -> NDArray[np.int64]:
    """Sorted places of `most` out of n spots, or of all."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
