"""The hyperbolic embedding of spots, seen in a plane through the origin."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy.optimize import brentq

from hypergene.report.palette import INK
from hypergene.report.panels import Panel, colour_bar, colours_of, limits

_CIRCLES = 3
_NEARLY_FLAT = 1e-6
_ROUND = (1, 2, 5)
_VECTORS_AT_MOST = 5_000


class DiskView(NamedTuple):
    """Spots in the Poincaré disk.

    Attributes
    ----------
    xy
        float64 (n, 2), inside the unit circle.
    curvature
        c > 0: the space has the curvature −c; 0 = it is flat, and `xy` are plain coordinates.
    kept
        Share of the squared distances to the origin that the plane keeps, 0..1.
    """

    xy: NDArray[np.float64]
    curvature: float
    kept: float

    def radius(self, distance: float) -> float:
        """Return how far from the centre a point at this distance from the origin is drawn."""
        if self.curvature == 0:
            return distance
        return float(np.tanh(np.sqrt(self.curvature) * distance / 2))


def view_in_disk(space: NDArray[np.floating], radius: NDArray[np.floating]) -> DiskView:
    r"""Project points of the Lorentz model to the Poincaré disk.

    Each point is taken to the tangent space at the origin by the logarithmic map,
    :math:`v = r\,x/\lVert x\rVert`, where x are its space coordinates and r its distance to the
    origin. There the plane through the origin that keeps most of the squared lengths is found
    (principal directions of second moments, not centred, so that the origin stays the origin), and
    the vectors are projected onto it. A vector of length ρ is then drawn in its direction at
    :math:`\tanh(\sqrt c\,ρ/2)` from the centre, which is where the exponential map of the Poincaré
    ball puts it. So what lies in the plane is shown at its true distance from the origin, and the
    rest nearer. With two dimensions this is the stereographic projection of the Lorentz model.

    The curvature follows from the points: :math:`\sqrt c\,r = \operatorname{asinh}(\sqrt
    c\,\lVert x\rVert)`.

    Parameters
    ----------
    space
        (n, d) space coordinates, ``obsm["X_hypergene"]``.
    radius
        (n,) distances to the origin, ``obs["radius"]``.

    References
    ----------
    P. T. Fletcher, C. Lu, S. M. Pizer, S. Joshi, "Principal geodesic analysis for the study of
    nonlinear statistics of shape", IEEE Transactions on Medical Imaging 23(8), 995-1005, 2004;
    here with the origin in the place of the mean.
    """
    x, r = np.asarray(space, np.float64), np.asarray(radius, np.float64)
    length = np.linalg.norm(x, axis=1)
    curvature = _curvature(length, r)
    tangent = x * (r / np.where(length > 0, length, 1.0))[:, None]
    if tangent.shape[1] == 1:
        tangent = np.column_stack([tangent, np.zeros(len(tangent))])
    moments, directions = np.linalg.eigh(tangent.T @ tangent)
    plane = directions[:, ::-1][:, :2]
    # The sign of a principal direction is arbitrary; the bulk of the spots lies on its positive
    # side, so that the same points always give the same picture.
    plane = plane * np.where((tangent @ plane).sum(axis=0) < 0, -1.0, 1.0)
    flat = tangent @ plane
    whole = float(moments.sum())
    kept = float(moments[::-1][:2].sum()) / whole if whole > 0 else 1.0
    if curvature > 0:
        distance = np.linalg.norm(flat, axis=1)
        drawn = np.tanh(np.sqrt(curvature) * distance / 2)
        flat = flat * (drawn / np.where(distance > 0, distance, 1.0))[:, None]
    return DiskView(flat, curvature, kept)


def _curvature(length: NDArray[np.float64], radius: NDArray[np.float64]) -> float:
    """Solve asinh(s·|x|) = s·r for s = √c at the spot furthest out, where it is best known."""
    if not len(length):
        return 0.0
    far = int(np.argmax(radius))
    n, r = float(length[far]), float(radius[far])
    if not (r > 0 and n > r * (1 + _NEARLY_FLAT)):
        return 0.0
    # s·r = asinh(s·n) grows more slowly than any line: between these ends lies the one root.
    high = 1.0 / r
    while np.arcsinh(high * n) > high * r:
        high *= 2
    return float(brentq(lambda s: np.arcsinh(s * n) - s * r, 1e-9 / n, high)) ** 2


def embedding_panel(adata: AnnData, colour: str) -> Panel:
    """Draw spots in the Poincaré disk, coloured by a gene or a column of ``obs``.

    The view is as wide as the spots need; circles are at equal distances from the origin.
    """

    def draw(axes: Axes) -> None:
        view = view_in_disk(adata.obsm["X_hypergene"], adata.obs["radius"].to_numpy())
        values, label, handles = colours_of(adata, colour)
        size = float(np.clip(4000 / max(1, len(values)), 1.5, 14))
        settings: dict[str, Any] = {
            "s": size,
            "linewidths": 0,
            "rasterized": len(values) > _VECTORS_AT_MOST,
        }
        _circles(axes, view, float(adata.obs["radius"].max()))
        x, y = view.xy.T
        if handles:
            axes.scatter(x, y, c=values, **settings)
            axes.legend(
                handles=handles, title=label, loc="upper left", bbox_to_anchor=(1.0, 1.0),
                frameon=False, fontsize=8, title_fontsize=8, handletextpad=0.2,
            )  # fmt: skip
        else:
            shown = axes.scatter(x, y, c=values, cmap="viridis", **settings)
            shown.set_clim(*limits(values))
            colour_bar(axes, shown, label)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"embedding ({'Poincaré disk' if view.curvature else 'flat'})", fontsize=10)
        axes.set_xlabel(
            f"circles: distance to the origin, of whose\nsquares this plane keeps {view.kept:.0%}",
            fontsize=7,
        )

    return draw


def _circles(axes: Axes, view: DiskView, farthest: float) -> None:
    """Draw circles around the origin at round distances, and the rim of the disk if it is near."""
    reach = 1.06 * max(float(np.abs(view.xy).max(initial=0)), 1e-9)
    step = _round_step(farthest / _CIRCLES)
    for number in range(1, _CIRCLES + 2):
        distance = number * step
        drawn = view.radius(distance)
        axes.add_patch(Circle((0, 0), drawn, fill=False, color=INK, linewidth=0.5, alpha=0.5))
        if drawn < reach:
            axes.annotate(
                f"{distance:g}", (0, -drawn), ha="center", va="center", fontsize=6, color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=3,
            )  # fmt: skip
    if view.curvature and reach > 0.7:
        axes.add_patch(Circle((0, 0), 1, fill=False, color="black", linewidth=1))
    axes.plot(0, 0, "+", color="black", markersize=7)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)


def _round_step(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(factor * power for factor in _ROUND if factor * power <= value * (1 + 1e-9)))
