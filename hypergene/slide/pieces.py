"""Connected pieces of a mask, told apart in little more memory than their labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: NumPy turns whatever counts or indexes into int64; that much of a mask is done at a time.
_ROWS = 512


def large_pieces(mask: NDArray[np.bool_], smallest_px: float) -> NDArray[np.bool_]:
    """Keep the pieces of at least `smallest_px` px.

    Parameters
    ----------
    mask
        bool (height, width). Px that share a side are of one piece.
    smallest_px
        Area in px of the mask.

    Returns
    -------
    numpy.ndarray
        bool (height, width).
    """
    labels, count = ndimage.label(mask)
    sizes = np.zeros(count + 1, np.int64)
    for rows in _strips(labels):
        sizes += np.bincount(labels[rows].ravel(), minlength=count + 1)
    return _chosen(labels, sizes >= smallest_px)


def pieces_holding(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the pieces in which at least one px of `seeds` lies.

    Parameters
    ----------
    mask
        bool (height, width). Px that share a side are of one piece.
    seeds
        bool (height, width).

    Returns
    -------
    numpy.ndarray
        bool (height, width).
    """
    labels, count = ndimage.label(mask)
    held = np.zeros(count + 1, np.bool_)
    for rows in _strips(labels):
        held[labels[rows][seeds[rows]]] = True
    return _chosen(labels, held)


def _chosen(labels: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    keep[0] = False
    result = np.empty(labels.shape, np.bool_)
    for rows in _strips(labels):
        result[rows] = keep[labels[rows]]
    return result


def _strips(labels: NDArray[np.int32]) -> list[slice]:
    return [slice(top, top + _ROWS) for top in range(0, len(labels), _ROWS)]
