"""The context of a slide: the lattice that gives a spot its surroundings.

A model looks at a slide through its own lattice, the one it was trained on, laid over the tissue.
The slide's mean features and every spot's neighbours come from there, never from the spots that
happen to be asked for. So a prediction does not depend on which other spots were asked for, and a
model trained on legacy ST sees the same surroundings under Visium hexagons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from hypergene.errors import TissueError
from hypergene.features.table import FeatureTable
from hypergene.model.config import ModelConfig
from hypergene.model.network import Surroundings
from hypergene.model.niche import Neighbours
from hypergene.slide import Slide, TissueMask
from hypergene.spots import Layout, Nearest, Spots, lay_spots, nearest, rings
from hypergene.spots.rings import finite_points

STATISTICS_SEED = 20211
_HALO_SLACK = 1e-6
"""The halo of a block reaches this much further, relative: ties are for the rings to decide."""


def context_layout(config: ModelConfig) -> Layout:
    """Return the model's own lattice."""
    return Layout(**config.layout.model_dump())


def context_spots(slide: Slide, mask: TissueMask, config: ModelConfig) -> Spots:
    """Lay the model's own lattice over the tissue of a slide.

    Raises
    ------
    TissueError
        No spot of the lattice holds enough tissue.
    """
    layout = context_layout(config)
    spots = lay_spots(layout, slide.dimensions, (slide.mpp.x, slide.mpp.y))
    fraction = mask.fraction(spots.xy_px, layout.diameter_um, slide.mpp, layout.shape)
    kept = np.flatnonzero(fraction >= config.niche.min_tissue)
    if not len(kept):
        raise TissueError(
            f"{slide.path} has no tissue for the model's context: none of {len(spots):,} spots "
            f"of {layout.diameter_um:g} µm is {config.niche.min_tissue:.0%} tissue "
            f"(mask: {mask.source}).",
            hint="Give a mask image with --tissue FILE, or --tissue none.",
        )
    return spots.subset(kept)


class Vicinity(NamedTuple):
    """Who is around n spots, among m spots of context.

    Attributes
    ----------
    rings
        One (n, m) CSR float32 a ring of distances: averages the context around each spot.
    nearest
        (n, k) single neighbours of each spot; None where the model reads rings alone.
    """

    rings: tuple[sparse.csr_matrix, ...]
    nearest: Nearest | None


def vicinity(
    xy_um: NDArray[np.float64], context_xy_um: NDArray[np.float64], config: ModelConfig
) -> Vicinity:
    """Find whom a model reads around spots.

    Parameters
    ----------
    xy_um
        (n, 2), centres of the spots, µm; on the lattice of the context or not.
    context_xy_um
        (m, 2), centres of the context's spots, µm.
    config
        The model's configuration.

    Raises
    ------
    SpotsError
        The centres are not finite numbers of shape (n, 2).
    """
    edges_um, niche = config.ring_edges_um, config.niche
    near = None
    if niche.reader != "rings":
        near = nearest(xy_um, context_xy_um, niche.neighbours, edges_um[0], edges_um[-1])
    return Vicinity(tuple(rings(xy_um, context_xy_um, edges_um)), near)


def surroundings(
    context_features: NDArray[np.float32],
    rings: Sequence[sparse.csr_matrix],
    nearest: Nearest | None,
    rows: NDArray[np.int64] | slice,
    device: torch.device,
) -> Surroundings:
    """Gather what some of n spots see around themselves, with only the context they touch.

    Parameters
    ----------
    context_features
        (m, features) float32, slide-centred; m > 0.
    rings, nearest
        Of all n spots, as :func:`vicinity` gives them.
    rows
        The spots wanted: their places among the n, any order.
    device
        Where the tensors are to lie.
    """
    chosen = [ring[rows] for ring in rings]
    index = None if nearest is None else nearest.index[rows]
    touching = [ring.indices for ring in chosen]
    touched = np.zeros(len(context_features), dtype=bool)
    touched[np.concatenate(touching if index is None else [*touching, index[index >= 0]])] = True
    # One row at least, so that an isolated spot meets a matrix product of a valid shape.
    touched[0] |= not touched.any()
    place = np.cumsum(touched) - 1
    near = None
    if nearest is not None and index is not None:
        there = torch.from_numpy(index >= 0)
        distance_um = torch.from_numpy(nearest.distance_um[rows]).masked_fill(~there, 0.0)
        renumbered = torch.from_numpy(np.where(index >= 0, place[index], 0))
        near = Neighbours(*(part.to(device) for part in (renumbered, distance_um, there)))
    context = torch.from_numpy(context_features[touched]).to(device)
    narrowed = tuple(as_sparse(ring[:, touched]).to(device) for ring in chosen)
    return Surroundings(context, narrowed, near)


def joined(parts: Sequence[Surroundings]) -> Surroundings:
    """Put the surroundings of several slides' spots under one another; none sees another's.

    Parameters
    ----------
    parts
        At least one, all with as many rings, on one device.
    """
    spots = [part.rings[0].shape[0] for part in parts]
    contexts = [len(part.context) for part in parts]
    rings = tuple(
        _block_diagonal(ring, spots, contexts)
        for ring in zip(*(p.rings for p in parts), strict=True)
    )
    near = [part.nearest for part in parts if part.nearest is not None]
    return Surroundings(
        torch.cat([part.context for part in parts]),
        rings,
        _stacked(near, np.cumsum([0, *contexts[:-1]])) if near else None,
    )


def _stacked(near: Sequence[Neighbours], starts: NDArray[np.int64]) -> Neighbours:
    """Put tables of neighbours under one another, whose contexts now start further down."""
    return Neighbours(
        torch.cat([one.index + int(start) for one, start in zip(near, starts, strict=True)]),
        torch.cat([one.distance_um for one in near]),
        torch.cat([one.mask for one in near]),
    )


def _block_diagonal(
    blocks: Sequence[torch.Tensor], rows: Sequence[int], columns: Sequence[int]
) -> torch.Tensor:
    """Lay coalesced COO blocks of so many rows and columns along a diagonal."""
    starts = np.cumsum([[0, 0], *zip(rows[:-1], columns[:-1], strict=True)], axis=0)
    index = [
        block.indices() + torch.tensor(start, device=block.device)[:, None]
        for block, start in zip(blocks, starts, strict=True)
    ]
    return torch.sparse_coo_tensor(
        torch.cat(index, 1),
        torch.cat([block.values() for block in blocks]),
        (sum(rows), sum(columns)),
        check_invariants=False,
        is_coalesced=True,
    )


@dataclass(frozen=True, eq=False)
class Context:
    """The context of a slide: m spots of the model's own lattice, and where their features are.

    Attributes
    ----------
    xy_um
        (m, 2) float64, centres in µm.
    table
        float32, features as the encoder gives them, of these spots and maybe of others.
    rows
        (m,) int64, which rows of the table are theirs.
    mean
        (features,) float32, the slide's mean.
    config
        That of the model, which says how far a spot looks.
    """

    xy_um: NDArray[np.float64]
    table: FeatureTable
    rows: NDArray[np.int64]
    mean: NDArray[np.float32]
    config: ModelConfig

    @classmethod
    def of(
        cls,
        xy_um: NDArray[np.float64],
        table: FeatureTable,
        config: ModelConfig,
        rows: NDArray[np.int64] | None = None,
    ) -> Context:
        """Take the mean of the features of the context's spots.

        It is that of at most ``niche.context_spots`` spots, drawn with a fixed seed.

        Parameters
        ----------
        xy_um
            (m, 2), centres in µm; m > 0.
        table
            (n, features) float32, as the encoder gives them.
        config
            The model's configuration.
        rows
            (m,), the rows of the table that are the context's; None = all, in their order.
        """
        rows = np.arange(len(xy_um)) if rows is None else rows
        drawn = rows
        if len(rows) > config.niche.context_spots:
            rng = np.random.default_rng(STATISTICS_SEED)
            drawn = rows[np.sort(rng.choice(len(rows), config.niche.context_spots, replace=False))]
        mean = table[drawn].mean(0, dtype=np.float64).astype(np.float32)
        return cls(xy_um, table, rows, mean, config)

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(m, features) float32, slide-centred, all of them in memory."""
        return self._centred(slice(None))

    def around(self, xy_um: NDArray[np.float64], device: torch.device) -> Surroundings:
        """Gather what spots see around themselves, with only the context they touch.

        Features are read of the halo alone: the spots of the context that lie within the outer
        ring of any of the spots.

        Parameters
        ----------
        xy_um
            (n, 2), centres of any spots in µm, on the lattice or not.
        device
            Where the tensors are to lie.

        Raises
        ------
        SpotsError
            The centres are not finite numbers of shape (n, 2).
        """
        halo = self._halo(finite_points(xy_um, "query"))
        seen = vicinity(xy_um, self.xy_um[halo], self.config)
        return surroundings(self._centred(halo), seen.rings, seen.nearest, slice(None), device)

    def _centred(self, spots: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        centred: NDArray[np.float32] = self.table[self.rows[spots]] - self.mean
        return centred

    def _halo(self, xy_um: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which spots of the context lie within the outer ring of any place, ascending; >= 1."""
        radius_um = self.config.ring_edges_um[-1] * (1 + _HALO_SLACK)
        found = self._tree.query_ball_point(xy_um, radius_um)
        halo = np.unique(np.concatenate([np.zeros(0, np.int64), *map(np.int64, found)]))
        return halo if len(halo) else np.zeros(1, np.int64)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.xy_um)


def as_sparse(matrix: sparse.spmatrix) -> torch.Tensor:
    """Return a scipy sparse matrix (n, m) as a coalesced torch COO tensor, float32, on the CPU."""
    coo = matrix.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, coo.shape, check_invariants=False).coalesce()
