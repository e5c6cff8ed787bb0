"""Features to expression, spread and embedding: one block of spots after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypergene.model.network import HyperGene
from hypergene.output import Matrix
from hypergene.pipeline.prediction.encode import Encoded
from hypergene.pipeline.prediction.options import Dtype
from hypergene.pipeline.prediction.plan import Plan

SPOTS_PER_BLOCK = 1024
"""Spots read out at once: a row of chunks of the output (``hypergene.output.store.CHUNK_ROWS``)."""


class Block(NamedTuple):
    """What is predicted of a run of spots.

    Attributes
    ----------
    rows
        Which spots.
    matrices
        Place in the AnnData -> (spots, columns): X, layers/std, obsm/X_hypergene.
    scores
        Column of ``obs`` -> (spots,), and ``archetypes`` -> (spots, K) weights.
    """

    rows: slice
    matrices: Mapping[str, NDArray[Any]]
    scores: Mapping[str, NDArray[np.float32]]


def matrices(plan: Plan, dtype: Dtype) -> dict[str, Matrix]:
    """Return which matrices a prediction has, by place in the AnnData."""
    genes = Matrix(len(plan.genes), np.dtype(dtype))
    embedding = Matrix(plan.model.config.geometry.dim, np.dtype(np.float32))
    return {"X": genes, "layers/std": genes, "obsm/X_hypergene": embedding}


@torch.inference_mode()
def read_out(plan: Plan, encoded: Encoded, dtype: Dtype) -> Iterator[Block]:
    """Read all spots asked for, in their order.

    Memory holds the features of one block and of its halo. Genes that are not wanted are not
    computed.

    Parameters
    ----------
    plan
        Model, spots and genes.
    encoded
        The slide's features.
    dtype
        Of expression and spread.

    Yields
    ------
    Block
        Of ``SPOTS_PER_BLOCK`` spots, the last one of fewer.
    """
    model, device = plan.model, plan.device
    decode, kind = model.modules_to_genes, getattr(torch, dtype)
    columns = torch.from_numpy(plan.genes).to(device)
    mean = torch.from_numpy(encoded.context.mean).to(device)
    xy_um = plan.placed.spots.xy_um
    for start in range(0, len(xy_um), SPOTS_PER_BLOCK):
        rows = slice(start, min(start + SPOTS_PER_BLOCK, len(xy_um)))
        raw = torch.from_numpy(encoded.table[encoded.rows[rows]]).to(device)
        reading = model(raw - mean, encoded.context.around(xy_um[rows], device))
        spot = reading.image.spot
        expression = decode.expression(reading.scores.mean, columns)
        spread = decode.spread(reading.scores.log_variance, columns)
        yield Block(
            rows,
            {
                "X": expression.to(kind).cpu().numpy(),
                "layers/std": spread.to(kind).cpu().numpy(),
                "obsm/X_hypergene": spot.cpu().numpy(),
            },
            {
                "ood_score": model.reference(raw).cpu().numpy(),
                "radius": model.space.radius(spot).cpu().numpy(),
                **_likened(model, spot),
            },
        )


class SpotScores:
    """What is predicted of each spot beside matrices, gathered block by block.

    Parameters
    ----------
    spots
        How many there will be.
    """

    def __init__(self, spots: int) -> None:
        self._spots = spots
        self._gathered: dict[str, NDArray[np.float32]] = {}

    def add(self, block: Block) -> None:
        """Take over the scores of a block."""
        for name, values in block.scores.items():
            if name not in self._gathered:
                shape = (self._spots, *values.shape[1:])
                self._gathered[name] = np.empty(shape, np.float32)
            self._gathered[name][block.rows] = values

    def columns(self) -> dict[str, Any]:
        """Return the columns of ``obs``, in their order."""
        columns: dict[str, Any] = dict(self._gathered)
        weights = columns.pop("archetypes", None)
        if weights is None:
            return columns
        out_of = columns.pop("archetype_ood")
        names = [str(k) for k in range(weights.shape[1])]
        return {
            **columns,
            "archetype": pd.Categorical.from_codes(weights.argmax(1), categories=names),
            **{f"archetype_{name}": weights[:, k] for k, name in enumerate(names)},
            "archetype_ood": out_of,
        }


def _likened(model: HyperGene, points: Tensor) -> dict[str, NDArray[np.float32]]:
    """Liken image points (n, dim) to the archetypes, if the model has any."""
    if model.archetypes is None:
        return {}
    assigned = model.archetypes(points, model.space.curvature)
    return {
        "archetypes": assigned.weights.cpu().numpy(),
        "archetype_ood": model.archetypes.percentile(assigned.nearest).cpu().numpy(),
    }
