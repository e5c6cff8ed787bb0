"""The nearest few neighbours of every point, as tables of fixed width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hypergene.errors import SpotsError
from hypergene.spots.rings import MAX_PAIRS, finite_points

LEVEL_UM = 1e-3
"""Neighbours whose distances differ by no more than this (µm) are equally near."""

_RADIUS_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Nearest:
    """Neighbours of n points, nearest first, at most k each.

    Attributes
    ----------
    index
        (n, k) int64, rows of the context; -1 = no neighbour (those come last).
    distance_um
        (n, k) float32, µm; infinite where there is no neighbour.
    """

    index: npt.NDArray[np.int64]
    distance_um: npt.NDArray[np.float32]


def nearest(
    query_um: npt.ArrayLike, context_um: npt.ArrayLike, k: int, min_um: float, max_um: float
) -> Nearest:
    """Return the k nearest context points of every query point, within bounds.

    Only distances decide, so the answer does not change when everything is moved, turned or
    mirrored. On a lattice several neighbours are equally near; where only some of them would fit
    into k, none of them is taken, since nothing but their direction could tell them apart. So a
    spot inside a lattice of hexagons reads 6, 12 or 18 neighbours, of squares 4, 8, 12 or 20.

    Parameters
    ----------
    query_um
        (n, 2) points that ask, µm.
    context_um
        (m, 2) points that answer, µm.
    k
        Neighbours of a point, at most.
    min_um, max_um
        Neighbours lie at ``min_um < distance <= max_um``, µm.

    Returns
    -------
    Nearest
        Two tables (n, k).

    Raises
    ------
    SpotsError
        If the points are not finite (n, 2) arrays, k is below 1, or the bounds do not rise from 0
        or above.

    Notes
    -----
    Time grows as n k log m; the working memory is that of about ``MAX_PAIRS`` pairs.
    """
    query, context = finite_points(query_um, "query"), finite_points(context_um, "context")
    if k < 1:
        raise SpotsError(f"A spot's neighbours must be at least 1, not {k}.")
    if not 0 <= min_um < max_um < np.inf:
        raise SpotsError(
            f"Bounds of distances must rise from 0 µm or above, not {min_um} to {max_um}."
        )
    index = np.full((len(query), k), -1, dtype=np.int64)
    distance_um = np.full((len(query), k), np.inf, dtype=np.float32)
    if len(context):
        tree = cKDTree(context)
        step = max(1, MAX_PAIRS // (k + 1))
        for start in range(0, len(query), step):
            rows = slice(start, start + step)
            index[rows], distance_um[rows] = _nearest(tree, query[rows], k, min_um, max_um)
    return Nearest(index, distance_um)


def _nearest(
    tree: cKDTree, query: npt.NDArray[np.float64], k: int, min_um: float, max_um: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return rows of the context and distances, (n, k) each; -1 and infinity where there is none.

    One neighbour more than k is looked at, to see whether k would cut through equally near ones.
    """
    too_near = tree.query_ball_point(query, min_um * (1 + _RADIUS_SLACK), return_length=True)
    width = k + 1 + int(too_near.max())
    radius_um = max_um * (1 + _RADIUS_SLACK)
    _, found = tree.query(query, range(1, width + 1), distance_upper_bound=radius_um)
    there = found < tree.n
    away = query[:, None] - tree.data[np.where(there, found, 0)]
    distance_um = np.hypot(away[..., 0], away[..., 1])
    there &= (distance_um > min_um) & (distance_um <= max_um)
    distance_um = np.where(there, distance_um, np.inf)
    order = np.argsort(distance_um, axis=1, kind="stable")[:, : k + 1]
    distance_um = np.take_along_axis(distance_um, order, axis=1)
    kept = distance_um[:, :k] < distance_um[:, k:] - LEVEL_UM
    index = np.take_along_axis(found, order[:, :k], axis=1)
    return np.where(kept, index, -1), np.where(kept, distance_um[:, :k], np.inf)
