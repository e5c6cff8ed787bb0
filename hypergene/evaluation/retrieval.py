"""Whether the image of a spot finds its own expression among others, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Distance = Callable[[npt.NDArray[np.floating], npt.NDArray[np.floating]], npt.NDArray[np.floating]]
"""Distances (b, n) from points (b, dim) to points (n, dim)."""

KS = (1, 5, 10)
_ROWS = 512


def cosine_distance(
    left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Return 1 - cosine, (b, n), of points (b, dim) and (n, dim); 1 for a vector of length 0."""

    def unit(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return points / np.where(length > 0, length, 1.0)

    return np.asarray(1 - unit(left) @ unit(right).T)


def recall_at_k(
    image: npt.NDArray[np.floating],
    gene: npt.NDArray[np.floating],
    slides: Sequence[Hashable],
    *,
    ks: Sequence[int] = KS,
    distance: Distance = cosine_distance,
) -> pd.DataFrame:
    """Return Recall@k within each slide and over all of them, both ways, beside chance.

    A spot is found if its own partner is among the k nearest. Partners at the same distance share
    the places that are left, so that a collapsed embedding scores exactly chance.

    Parameters
    ----------
    image, gene
        (n, dim): row i of both is one spot.
    slides
        The slide of each spot.
    ks
        Numbers of nearest that count.
    distance
        Between points of both kinds.

    Returns
    -------
    pandas.DataFrame
        A row a scope ("within slide": mean over slides; "over slides", where there are several),
        direction and k: recall, chance (k of the spots searched), times_chance, searched (mean
        number of spots).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if image.ndim != 2 or len(image) != len(gene) or len(image) != len(slides) or not len(image):
        raise ValueError(f"{image.shape}, {gene.shape} and {len(slides)} slides do not fit")
    codes = pd.factorize(pd.Series(list(slides), dtype=object))[0]
    groups = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    scopes = {"within slide": groups}
    if len(groups) > 1:
        scopes["over slides"] = [np.arange(len(image))]
    rows = []
    for scope, parts in scopes.items():
        for direction, query, gallery in (
            ("image to gene", image, gene),
            ("gene to image", gene, image),
        ):
            found = np.mean([_recall(query[at], gallery[at], ks, distance) for at in parts], axis=0)
            chance = np.mean([[min(k / len(at), 1.0) for k in ks] for at in parts], axis=0)
            for k, recall, by_chance in zip(ks, found, chance, strict=True):
                rows.append(
                    {
                        "scope": scope,
                        "direction": direction,
                        "k": k,
                        "recall": float(recall),
                        "chance": float(by_chance),
                        "times_chance": float(recall / by_chance),
                        "searched": float(np.mean([len(at) for at in parts])),
                    }
                )
    return pd.DataFrame(rows)


def _recall(
    query: npt.NDArray[np.floating],
    gallery: npt.NDArray[np.floating],
    ks: Sequence[int],
    distance: Distance,
) -> Floats:
    """Return the recall (ks,): how likely the partner is in the first k, ties broken at will."""
    total = np.zeros(len(ks))
    for start in range(0, len(query), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(query)))
        distances = np.asarray(distance(query[rows], gallery))
        own = distances[np.arange(len(rows)), rows][:, None]
        nearer = (distances < own).sum(axis=1)
        tied = (distances == own).sum(axis=1)
        for number, k in enumerate(ks):
            total[number] += np.clip((k - nearer) / tied, 0, 1).sum()
    return total / len(query)
