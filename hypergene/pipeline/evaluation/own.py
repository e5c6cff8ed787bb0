"""A model of ours, asked for its prediction of measured spots, and for what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hypergene import hyperbolic
from hypergene.evaluation import MeasuredSlide, Prediction
from hypergene.evaluation.optimism import HeldOut
from hypergene.evaluation.retrieval import Distance
from hypergene.evaluation.scales import Units
from hypergene.evaluation.spatial_controls import permuted, with_rings
from hypergene.features.cache import ArrayCache
from hypergene.model.network import HyperGene
from hypergene.pipeline.gene_choice import find_genes
from hypergene.training.assess import EncodedSection, encode_sections
from hypergene.training.expression import Measured
from hypergene.training.modules import ModuleFit
from hypergene.training.scales import module_units
from hypergene.training.section import FrozenEncoder, Section, prepare_section

Floats = NDArray[np.float32]


class Seen(NamedTuple):
    """A section as a model sees it.

    Attributes
    ----------
    encoded
        Its section, features and context.
    features
        (n, features) float32 of the spots, as the encoder gives them.
    with_rings
        (n, features × (1 + rings)) float64, slide-centred, ring means beside them.
    """

    encoded: EncodedSection
    features: Floats
    with_rings: NDArray[np.float64]


class Embedded(NamedTuple):
    """What a model makes of the spots of a section beside expression.

    Attributes
    ----------
    image, gene
        (n, dim) float32, points of the shared space.
    tangent
        (n, dim) float32, the image points as tangent vectors at the origin.
    unusual
        (n,) float32, the out-of-distribution score.
    """

    image: Floats
    gene: Floats
    tangent: Floats
    unusual: Floats


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A loaded model.

    Attributes
    ----------
    model
        In evaluation mode, on `device`.
    device
        Where it runs.
    cache
        Where features are kept.
    mpp
        Microns per pixel of slides that do not say it.
    workers
        Threads that read tiles.
    """

    model: HyperGene
    device: torch.device
    cache: ArrayCache
    mpp: float | None
    workers: int

    @property
    def name(self) -> str:
        """What the model is called."""
        return str(self.model.config.provenance.name)

    @cached_property
    def genes(self) -> pd.DataFrame:
        """Canonical ``var`` of what it predicts."""
        config = self.model.config
        table = pd.DataFrame(index=list(config.genes))
        if config.gene_ids is not None:
            table["gene_ids"] = list(config.gene_ids)
        return table

    @cached_property
    def _frozen(self) -> FrozenEncoder:
        return FrozenEncoder(self.model.encoder, self.device)

    def section(self, measured: Measured) -> Section:
        """Prepare a section as training does, with the model's own encoder, features cached."""
        columns = find_genes(self.genes, measured.var, measured.sample.sample)
        return prepare_section(
            measured,
            columns,
            self.model.config,
            self.cache,
            frozen=self._frozen,
            mpp=self.mpp,
            workers=self.workers,
        )

    def see(self, section: Section) -> Seen:
        """Look at a section."""
        (encoded,) = encode_sections(self.model, [section], self.device)
        context = encoded.context
        return Seen(
            encoded,
            encoded.features + context.mean,
            with_rings(encoded.features, section.rings, context.features),
        )

    @staticmethod
    def measured(section: Section, held_out: HeldOut, genes: pd.DataFrame) -> MeasuredSlide:
        """Return what was measured of the model's genes."""
        expression = section.expression
        known = expression.measured
        return MeasuredSlide(
            name=section.name,
            patient=section.patient,
            xy_um=section.xy_um,
            genes=tuple(genes.index[known]),
            log=expression.dense()[:, known],
            counts=expression.counts(),
            columns=expression.columns[known],
            held_out=held_out,
        )

    @torch.inference_mode()
    def predict(self, seen: Seen, *, seed: int = 0) -> Mapping[str, Prediction]:
        """Predict the measured genes: by the model as it is, and with its neighbours permuted."""
        section = seen.encoded.section
        known = torch.from_numpy(np.flatnonzero(section.expression.measured)).to(self.device)
        features = torch.from_numpy(seen.encoded.features).to(self.device)
        around = seen.encoded.around(self.device)
        strangers = torch.from_numpy(permuted(around.context.cpu().numpy(), seed)).to(self.device)
        decode = self.model.modules_to_genes
        found = {}
        for name, surroundings in (
            (self.name, around),
            (f"{self.name}, neighbours permuted", around._replace(context=strangers)),
        ):
            scores = self.model(features, surroundings).scores
            found[name] = Prediction(
                decode.expression(scores.mean, known).cpu().numpy(),
                decode.spread(scores.log_variance, known).cpu().numpy(),
            )
        return found

    @torch.inference_mode()
    def embed(self, seen: Seen) -> Embedded:
        """Place images and measured expression of the spots in the shared space."""
        model, section = self.model, seen.encoded.section
        reading = model(
            torch.from_numpy(seen.encoded.features).to(self.device),
            seen.encoded.around(self.device),
        )
        expression = section.expression
        scores = self.modules.scores(expression.log(), expression.measured)
        gene = model.space.lift_gene(model.gene_spot(torch.from_numpy(scores).to(self.device)))
        image = reading.image.spot
        raw = torch.from_numpy(seen.features).to(self.device)
        return Embedded(
            image.cpu().numpy(),
            gene.cpu().numpy(),
            model.space.unlift(image).cpu().numpy(),
            model.reference(raw).cpu().numpy(),
        )

    @property
    def modules(self) -> ModuleFit:
        """The model's gene modules, which score expression as in training."""
        genes = self.model.modules_to_genes
        return ModuleFit(
            genes.mean.cpu().numpy(),
            genes.loadings.cpu().numpy(),
            genes.residual_variance.cpu().numpy(),
        )

    def module_units(self, known: NDArray[np.bool_]) -> Units:
        """Return module scores as weighted sums of the genes that were measured (`known`)."""
        return module_units(self.model.modules_to_genes.loadings.cpu().numpy(), known)

    @property
    def distance(self) -> Distance:
        """Distance between points of the shared space."""
        space = self.model.space
        curvature = float(space.curvature.detach())

        def between(left: NDArray[np.floating], right: NDArray[np.floating]) -> Floats:
            a = torch.from_numpy(np.asarray(left, np.float32))
            b = torch.from_numpy(np.asarray(right, np.float32))
            if space.hyperbolic:
                found: Floats = hyperbolic.pairwise_distance(a, b, curvature).numpy()
                return found
            euclidean: Floats = torch.cdist(a, b).numpy()
            return euclidean

        return between
