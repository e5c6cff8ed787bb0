"""Who lies how far from whom: neighbours within annuli of µm, as sparse averaging matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from hypergene.errors import SpotsError

MAX_PAIRS = 1_000_000
"""Pairs looked at in one step; bounds the working memory to some tens of MB."""

_RADIUS_SLACK = 1e-9
"""The tree searches this much further, relative: ties are for `_distance` to decide."""


def rings(
    query_um: npt.ArrayLike, context_um: npt.ArrayLike, edges_um: Sequence[float]
) -> list[sparse.csr_matrix]:
    """Return one averaging matrix for each annulus around the query points.

    ``matrix @ values`` is the mean of the values of the context points in that annulus, and zero
    where there are none, so spots at the edge of the tissue need no special case. Only distances
    enter: the result does not change when everything is moved, turned or mirrored.

    Parameters
    ----------
    query_um
        (n, 2) points that ask, µm.
    context_um
        (m, 2) points that answer, µm. A point at distance 0 (the query itself) is in no ring.
    edges_um
        Rising bounds of the annuli, µm, the first at least 0.

    Returns
    -------
    list of scipy.sparse.csr_matrix
        ``len(edges_um) - 1`` matrices (n, m), float32. Row i of matrix k holds 1/count at the
        context points with ``edges_um[k] < distance <= edges_um[k + 1]``, columns in order; a row
        with no such point is empty.

    Raises
    ------
    SpotsError
        If the points are not finite (n, 2) arrays, or the edges do not rise from 0 or above.

    Notes
    -----
    Time grows as n log m plus the number of pairs, memory with n plus the number of pairs found:
    candidates come from a KD-tree, at most about ``MAX_PAIRS`` at a time.
    """
    query, context = finite_points(query_um, "query"), finite_points(context_um, "context")
    edges = np.asarray(edges_um, dtype=np.float64)
    rise = edges.ndim == 1 and len(edges) > 1 and edges[0] >= 0 and bool(np.all(np.diff(edges) > 0))
    if not (rise and np.isfinite(edges).all()):
        raise SpotsError(f"Ring edges must rise from 0 µm or above, not {list(edges_um)}.")

    n_rings = len(edges) - 1
    parts: list[list[sparse.csr_matrix]] = [[] for _ in range(n_rings)]
    tree = cKDTree(context)
    radius_um = float(edges[-1]) * (1 + _RADIUS_SLACK)
    for rows in _blocks(tree, query, radius_um):
        i, j = _pairs(cKDTree(query[rows]), tree, radius_um)
        # side="left" puts a distance equal to an edge into the ring that ends there.
        ring = np.searchsorted(edges, _distance(query[rows][i], context[j]), side="left") - 1
        shape = (rows.stop - rows.start, len(context))
        for k in range(n_rings):
            inside = ring == k
            parts[k].append(_averaging(i[inside], j[inside], shape))
    empty = sparse.csr_matrix((0, len(context)), dtype=np.float32)
    return [sparse.vstack([empty, *part], format="csr", dtype=np.float32) for part in parts]


def finite_points(points_um: npt.ArrayLike, role: str) -> npt.NDArray[np.float64]:
    """Return points as float64 (n, 2), µm.

    Parameters
    ----------
    points_um
        (n, 2), µm.
    role
        What they are, for the message.

    Raises
    ------
    SpotsError
        If they are of another shape, or not finite.
    """
    points = np.asarray(points_um, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise SpotsError(
            f"Neighbours need finite {role} points of shape (n, 2), these are {points.shape}."
        )
    return points


def _blocks(tree: cKDTree, query: npt.NDArray[np.float64], radius_um: float) -> Iterator[slice]:
    """Cut the query into runs of rows with at most MAX_PAIRS candidates (or one row)."""
    if not len(query):
        return
    candidates = tree.query_ball_point(query, radius_um, return_length=True)
    ends = np.cumsum(candidates, dtype=np.int64)
    start = 0
    while start < len(query):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + MAX_PAIRS, side="right")))
        # Empty rows cost no pairs but still an index; keep such runs bounded too.
        stop = min(stop, start + MAX_PAIRS, len(query))
        yield slice(start, stop)
        start = stop


def _pairs(
    query_tree: cKDTree, tree: cKDTree, radius_um: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the indices (i into the query, j into the context) of all pairs within the radius."""
    found = query_tree.sparse_distance_matrix(tree, radius_um, output_type="ndarray")
    return found["i"], found["j"]


def _distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distance row by row, µm."""
    return np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1])


def _averaging(
    i: npt.NDArray[np.intp], j: npt.NDArray[np.intp], shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Return the matrix (shape) with 1/count at the pairs (i, j), columns sorted in each row."""
    counts = np.bincount(i, minlength=shape[0])
    weights = (1.0 / counts[i]).astype(np.float32)
    matrix = sparse.csr_matrix((weights, (i, j)), shape=shape)
    matrix.sort_indices()
    return matrix
