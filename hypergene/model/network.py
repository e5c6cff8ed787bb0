"""The whole model: tiles to features, features with their niche to expression."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypergene import hyperbolic
from hypergene.model.archetypes import Archetypes
from hypergene.model.config import HeldOutConfig, ModelConfig
from hypergene.model.encoder import TileEncoder
from hypergene.model.genes import GeneEncoder
from hypergene.model.head import GeneModules, Head, ModuleScores
from hypergene.model.held_out import HeldOut
from hypergene.model.lift import SharedSpace
from hypergene.model.niche import Neighbours, make_reader, ring_centroid
from hypergene.model.readout import Blend, Gallery, KernelReadout, RidgeReadout
from hypergene.model.reference import Reference

SPECTRUM_BANDS = 5
"""Numbers that describe a slide's fine structure, see :mod:`hypergene.slide.spectrum`."""


class Surroundings(NamedTuple):
    """What a batch of spots sees around itself.

    Attributes
    ----------
    context
        (m, features) float32, slide-centred features of the spots of the context.
    rings
        One sparse COO (n, m) float32 tensor a ring: row i averages the context of spot i in that
        ring of distances (µm). A spot without neighbours there has an empty row.
    nearest
        Single neighbours, for a model that attends to them; None for one that does not.
    """

    context: Tensor
    rings: tuple[Tensor, ...]
    nearest: Neighbours | None = None


class ImageView(NamedTuple):
    """Image side of a batch of spots: points of the shared space.

    Attributes
    ----------
    spot
        (n, dim) float32.
    niche
        (n, dim) float32, the first ring or the second crop: no other spot's query enters it.
    attended
        (n, dim) float32, what the head reads of the surroundings: the niche, or what the spot
        attends to.
    """

    spot: Tensor
    niche: Tensor
    attended: Tensor


class Reading(NamedTuple):
    """What the network reads off a batch of spots.

    Attributes
    ----------
    image
        The spots and their niches in the shared space.
    head
        Module scores by the trained readout; with an anchor, added to the ridge already.
    ridge
        (n, modules) float32, module scores by the closed-form ridge.
    kernel
        (n, modules) float32, module scores by the kernel readout; None without one.
    scores
        The blend of all: the model's answer.
    inputs
        (n, features × (1 + rings)) float32, what the closed-form readouts read.
    """

    image: ImageView
    head: ModuleScores
    ridge: Tensor
    kernel: Tensor | None
    scores: ModuleScores
    inputs: Tensor


class HyperGene(nn.Module):
    """Image encoder, niche, hyperbolic lift and readouts (methods.md, section 3).

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
        # One projection for both levels: with a crop a level, it reads one crop at a time.
        self.two_crops = config.niche.source == "crop"
        width = features // 2 if self.two_crops else features
        self.project = nn.Sequential(nn.Linear(width, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.space = SharedSpace(config.geometry)
        self.gene_spot = GeneEncoder(modules, dim)
        self.gene_niche = GeneEncoder(modules, dim)
        widths = {"features": features, "spot": dim, "niche": dim, "distances": 2}
        read = sum(widths[name] for name in config.head.reads)
        self.head = Head(read, config.head, from_zero=not config.readout.anchor)
        anchor_scale = nn.Parameter(torch.zeros(())) if config.readout.anchor else None
        self.register_parameter("anchor_scale", anchor_scale)
        self.anchor_scale: nn.Parameter | None
        self._add_readouts(features * (1 + config.niche.rings))
        self.modules_to_genes = GeneModules(modules, genes)
        how = config.held_out
        self.reference = Reference(features, held_out=how is not None and how.distances is not None)
        self.reader = make_reader(config)
        archetypes = Archetypes(config.geometry, modules) if config.geometry.archetypes else None
        self.archetypes: Archetypes | None = archetypes
        self.register_buffer("heldout_pcc", torch.full((genes,), float("nan")))
        self.register_buffer("ceiling_pcc", torch.full((genes,), float("nan")))
        self.register_buffer("reliable", torch.zeros(genes, dtype=torch.bool))
        self.heldout_pcc: Tensor
        self.ceiling_pcc: Tensor
        self.reliable: Tensor
        self.held_out = None if how is None else HeldOut(how, genes, modules)
        stains = torch.zeros(config.stains, 2, 3) if config.stains else None
        self.register_buffer("stains", stains)
        self.stains: Tensor | None
        spectra = torch.zeros(config.spectra, SPECTRUM_BANDS) if config.spectra else None
        self.register_buffer("spectra", spectra)
        self.spectra: Tensor | None

    def add_held_out(self, how: HeldOutConfig) -> HeldOut:
        """Make room for what held-out samples say of each gene; return it, to be filled."""
        self.config = self.config.model_copy(update={"held_out": how})
        genes, modules = len(self.config.genes), self.config.head.modules
        self.held_out = HeldOut(how, genes, modules).to(self.heldout_pcc.device)
        if how.distances is not None:
            self.reference.add_held_out()
        return self.held_out

    def add_stains(self, stains: Tensor) -> None:
        """Remember the dyes of training slides, (slides, 2, 3) unit vectors of optical density."""
        self.config = self.config.model_copy(update={"stains": len(stains)})
        self.stains = stains.to(self.heldout_pcc)

    def add_spectra(self, spectra: Tensor) -> None:
        """Remember the fine structure of training slides, (slides, SPECTRUM_BANDS)."""
        self.config = self.config.model_copy(update={"spectra": len(spectra)})
        self.spectra = spectra.to(self.heldout_pcc)

    def _add_readouts(self, width: int) -> None:
        """Make the closed-form readouts of features with ring means of a length `width`."""
        chosen, modules = self.config.readout, self.config.head.modules
        self.ridge = RidgeReadout(width, modules)
        self.kernel: KernelReadout | None = None
        if chosen.kernel != "none":
            reads = self.config.geometry.dim if chosen.kernel == "hyperbolic" else width
            self.kernel = KernelReadout(reads, modules, chosen.inducing, chosen.kernel)
        self.gallery = Gallery(width, modules, chosen.gallery) if chosen.gallery else None

    def encode(self, tiles: Tensor) -> Tensor:
        """Encode tiles (n, crops, 3, px, px), RGB in 0..255, to features (n, features) float32."""
        features: Tensor = self.encoder(tiles)
        return features

    @hyperbolic.at_least_float32
    def view(self, features: Tensor, around: Surroundings) -> ImageView:
        """Lift spots and their niches.

        The niche of a spot is the Lorentz centroid of its neighbours in the first ring (Law et al.
        2019), all of equal weight, and a spot without neighbours is its own niche; or it is the
        spot's second crop (``niche.source = "crop"``).

        Parameters
        ----------
        features
            (n, features) float32, slide-centred.
        around
            Context of these spots.
        """
        spot = self._lift(features)
        if self.two_crops:
            niche = self._lift(features, crop=1)
            if self.reader is None:
                return ImageView(spot, niche, niche)
        context = self._lift(around.context)
        if not self.two_crops:
            niche = ring_centroid(self.space, spot, context, around.rings[0])
        if self.reader is None:
            return ImageView(spot, niche, niche)
        if around.nearest is None:
            raise ValueError("this model attends to neighbours, and was given rings alone")
        return ImageView(spot, niche, self.reader(self.space, spot, context, around.nearest))

    def _lift(self, features: Tensor, crop: int = 0) -> Tensor:
        """Lift what `project` reads of features (n, features): everything, or one crop."""
        if self.two_crops:
            features = features.chunk(2, dim=1)[crop]
        return self.space.lift_image(self.project(features))

    @hyperbolic.at_least_float32
    def forward(self, features: Tensor, around: Surroundings) -> Reading:
        """Read module scores off slide-centred features, in float32 also under autocast.

        Parameters
        ----------
        features
            (n, features) float32, slide-centred.
        around
            Context of these spots.
        """
        image = self.view(features, around)
        inputs = self.ridge_inputs(features, around)
        ridge = self.ridge(inputs)
        kernel = None
        if self.kernel is not None:
            points = image.spot if self.kernel.kind == "hyperbolic" else inputs
            kernel = self.kernel(points, self.space.curvature)
        head = self.read_head(self.head_inputs(features, image), ridge)
        scores = ModuleScores(self.answer(head.mean, ridge, kernel, inputs), head.log_variance)
        return Reading(image, head, ridge, kernel, scores, inputs)

    @staticmethod
    def ridge_inputs(features: Tensor, around: Surroundings) -> Tensor:
        """Lay features and ring means of spots side by side, (n, features × (1 + rings))."""
        means = [torch.sparse.mm(ring, around.context) for ring in around.rings]
        return torch.cat([features, *means], 1)

    def head_inputs(self, features: Tensor, image: ImageView) -> Tensor:
        """Lay what the trained head reads side by side, (n, width), as ``head.reads`` orders it."""
        space = self.space
        distances = [space.distance(image.spot, image.attended), space.radius(image.spot)]
        readable = {
            "features": features,
            "spot": space.unlift(image.spot),
            "niche": space.unlift(image.attended),
            "distances": torch.stack(distances, 1),
        }
        return torch.cat([readable[name] for name in self.config.head.reads], 1)

    def read_head(self, inputs: Tensor, ridge: Tensor) -> ModuleScores:
        """Read module scores off what :meth:`head_inputs` gives.

        Parameters
        ----------
        inputs
            (n, width) float32.
        ridge
            (n, modules) float32, the ridge's answer. With ``readout.anchor`` the head adds to it,
            ``anchor_scale`` times its own, so that at 0 the answer is the ridge, bit by bit.
        """
        head: ModuleScores = self.head(inputs)
        if self.anchor_scale is None:
            return head
        return ModuleScores(ridge + self.anchor_scale * head.mean, head.log_variance)

    def answer(
        self,
        head: Tensor,
        ridge: Tensor,
        kernel: Tensor | None,
        inputs: Tensor,
        blend: Blend | None = None,
    ) -> Tensor:
        """Blend all readouts into the answer, (n, modules) float32.

        Parameters
        ----------
        head, ridge, kernel
            (n, modules) float32 each, as in :class:`Reading`.
        inputs
            (n, features × (1 + rings)) float32, as :meth:`ridge_inputs` gives them.
        blend
            Shares to try; None = the model's own.
        """
        of_ridge, of_kernel, of_gallery = (None,) * 3 if blend is None else self._possible(blend)
        answer = self.ridge.blend(head, ridge, of_ridge)
        if self.kernel is not None and kernel is not None:
            answer = self.kernel.blend(answer, kernel, of_kernel)
        if self.gallery is not None:
            answer = self.gallery(answer, inputs, of_gallery)
        return answer

    @property
    def blend(self) -> Blend:
        """Shares of the readouts in the answer."""
        parts = (self.ridge, self.kernel, self.gallery)
        return Blend(*(0.0 if part is None else float(part.share) for part in parts))

    def set_blend(self, blend: Blend) -> None:
        """Set the shares of the readouts; that of one the model does not have stays 0."""
        possible = self._possible(blend)
        self.ridge.share.fill_(possible.ridge)
        if self.kernel is not None:
            self.kernel.share.fill_(possible.kernel)
        if self.gallery is not None:
            self.gallery.share.fill_(possible.gallery)

    def _possible(self, blend: Blend) -> Blend:
        """Take out what the model does not have: an anchored ridge is in the head already."""
        averaged = self.config.readout.ridge and not self.config.readout.anchor
        return Blend(
            blend.ridge if averaged else 0.0,
            blend.kernel if self.kernel is not None else 0.0,
            blend.gallery if self.gallery is not None else 0.0,
        )
