"""The context of a slide: the lattice that gives a spot its surroundings.

A model looks at a slide through its own lattice, the one it was trained on, laid over the tissue.
The slide's mean features and every spot's neighbours come from there, never from the spots that
happen to be asked for. So a prediction does not depend on which other spots were asked for, and a
model trained on legacy ST sees the same surroundings under Visium hexagons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from hypergene.errors import TissueError
from hypergene.model.config import ModelConfig
from hypergene.model.network import Surroundings
from hypergene.slide import Slide, TissueMask
from hypergene.spots import Layout, Spots, lay_spots, rings

STATISTICS_SEED = 20211


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


@dataclass(frozen=True, eq=False)
class Context:
    """Features of a slide's context: m spots of the model's own lattice.

    Attributes
    ----------
    xy_um
        (m, 2) float64, centres in µm.
    features
        (m, features) float32, slide-centred.
    mean
        (features,) float32, the slide's mean, which was taken off.
    ring_edges_um
        Edges of the rings of neighbours, µm.
    """

    xy_um: NDArray[np.float64]
    features: NDArray[np.float32]
    mean: NDArray[np.float32]
    ring_edges_um: tuple[float, ...]

    @classmethod
    def of(
        cls, xy_um: NDArray[np.float64], features: NDArray[np.float32], config: ModelConfig
    ) -> Context:
        """Center the features of the context's spots.

        The mean is that of at most ``niche.context_spots`` spots, drawn with a fixed seed.

        Parameters
        ----------
        xy_um
            (m, 2), centres in µm.
        features
            (m, features) float32, as the encoder gives them; m > 0.
        config
            The model's configuration.
        """
        rows = np.arange(len(features))
        if len(rows) > config.niche.context_spots:
            rng = np.random.default_rng(STATISTICS_SEED)
            rows = np.sort(rng.choice(rows, config.niche.context_spots, replace=False))
        mean = features[rows].mean(0, dtype=np.float64).astype(np.float32)
        return cls(xy_um, features - mean, mean, config.ring_edges_um)

    def around(self, xy_um: NDArray[np.float64], device: torch.device) -> Surroundings:
        """Gather what spots see around themselves, with only the context they touch.

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
        matrices = rings(xy_um, self.xy_um, self.ring_edges_um)
        touched = np.unique(np.concatenate([matrix.indices for matrix in matrices]))
        # One row at least, so that an isolated spot meets a matrix product of a valid shape.
        touched = touched if len(touched) else np.zeros(1, touched.dtype)
        context = torch.from_numpy(self.features[touched]).to(device)
        return Surroundings(
            context, tuple(as_sparse(matrix[:, touched]).to(device) for matrix in matrices)
        )


def as_sparse(matrix: sparse.spmatrix) -> torch.Tensor:
    """Return a scipy sparse matrix (n, m) as a coalesced torch COO tensor, float32, on the CPU."""
    coo = matrix.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, coo.shape, check_invariants=False).coalesce()
