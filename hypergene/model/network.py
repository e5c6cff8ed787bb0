"""The whole model: tiles to features, features with their niche to expression."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.config import ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.model.genes import GeneEncoder
from hypergene.model.head import GeneModules, Head, ModuleScores, RidgeReadout
from hypergene.model.lift import SharedSpace
from hypergene.model.reference import Reference


class Surroundings(NamedTuple):
    """What a batch of spots sees around itself.

    Attributes
    ----------
    context
        (m, features) float32, slide-centred features of the spots of the context.
    rings
        One sparse COO (n, m) float32 tensor a ring: row i averages the context of spot i in that
        ring of distances (µm). A spot without neighbours there has an empty row.
    """

    context: Tensor
    rings: tuple[Tensor, ...]


class ImageView(NamedTuple):
    """Image side of a batch of spots: points of the shared space.

    Attributes
    ----------
    spot, niche
        (n, dim) float32 each.
    """

    spot: Tensor
    niche: Tensor


class Reading(NamedTuple):
    """What the network reads off a batch of spots.

    Attributes
    ----------
    image
        The spots and their niches in the shared space.
    head
        Module scores by the trained readout.
    ridge
        (n, modules) float32, module scores by the closed-form readout.
    scores
        The blend of both: the model's answer.
    """

    image: ImageView
    head: ModuleScores
    ridge: Tensor
    scores: ModuleScores


class HyperGene(nn.Module):
    """Image encoder, niche, hyperbolic lift and head (methods.md, section 3).

    Only :meth:`encode` and :meth:`forward` are needed to predict; the gene encoders serve training.
    Expression never enters the prediction path.

    Parameters
    ----------
    config
        The model's configuration.

    Raises
    ------
    ModelError
        The image encoder cannot be made.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TileEncoder(config.encoder)
        features, dim = self.encoder.features, config.geometry.dim
        modules, genes = config.head.modules, len(config.genes)
        self.project = nn.Sequential(
            nn.Linear(features, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )
        self.space = SharedSpace(config.geometry)
        self.gene_spot = GeneEncoder(modules, dim)
        self.gene_niche = GeneEncoder(modules, dim)
        self.head = Head(features + 2 * dim + 2, config.head)
        self.ridge = RidgeReadout(features * (1 + config.niche.rings), modules)
        self.modules_to_genes = GeneModules(modules, genes)
        self.reference = Reference(features)
        self.register_buffer("heldout_pcc", torch.full((genes,), float("nan")))
        self.register_buffer("ceiling_pcc", torch.full((genes,), float("nan")))
        self.register_buffer("reliable", torch.zeros(genes, dtype=torch.bool))
        self.heldout_pcc: Tensor
        self.ceiling_pcc: Tensor
        self.reliable: Tensor

    def encode(self, tiles: Tensor) -> Tensor:
        """Encode tiles (n, crops, 3, px, px), RGB in 0..255, to features (n, features) float32."""
        features: Tensor = self.encoder(tiles)
        return features

    @hyperbolic.at_least_float32
    def view(self, features: Tensor, around: Surroundings) -> ImageView:
        """Lift spots and their niches.

        The niche of a spot is the Lorentz centroid of its neighbours in the first ring (Law et al.
        2019), all of equal weight. A spot without neighbours is its own niche.

        Parameters
        ----------
        features
            (n, features) float32, slide-centred.
        around
            Context and rings of these spots.
        """
        spot = self.space.lift_image(self.project(features))
        context = self.space.lift_image(self.project(around.context))
        return ImageView(spot, self._niche(spot, context, around.rings[0]))

    def _niche(self, spot: Tensor, context: Tensor, ring: Tensor) -> Tensor:
        space = self.space
        if space.hyperbolic:
            niche = hyperbolic.centroid(context, ring, space.curvature)
        else:
            niche = torch.sparse.mm(ring, context)
        alone = torch.sparse.sum(ring, 1).to_dense() == 0
        return torch.where(alone[:, None], spot, niche)

    @hyperbolic.at_least_float32
    def forward(self, features: Tensor, around: Surroundings) -> Reading:
        """Read module scores off slide-centred features, in float32 also under autocast.

        Parameters
        ----------
        features
            (n, features) float32, slide-centred.
        around
            Context and rings of these spots.
        """
        image = self.view(features, around)
        space = self.space
        inputs = [
            features,
            space.unlift(image.spot),
            space.unlift(image.niche),
            space.distance(image.spot, image.niche)[:, None],
            space.radius(image.spot)[:, None],
        ]
        head = self.head(torch.cat(inputs, 1))
        ridge = self.ridge(self.ridge_inputs(features, around))
        scores = ModuleScores(self.ridge.blend(head.mean, ridge), head.log_variance)
        return Reading(image, head, ridge, scores)

    @staticmethod
    def ridge_inputs(features: Tensor, around: Surroundings) -> Tensor:
        """Lay features and ring means of spots side by side, (n, features × (1 + rings))."""
        means = [torch.sparse.mm(ring, around.context) for ring in around.rings]
        return torch.cat([features, *means], 1)
