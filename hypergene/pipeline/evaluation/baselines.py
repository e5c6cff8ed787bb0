"""The controls of the protocol, fitted on the training samples and asked for the scored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hypergene.evaluation import MeasuredSlide, Prediction, RidgeControl, training_mean
from hypergene.evaluation.handmade import handmade_features
from hypergene.evaluation.optimism import ORACLE, HeldOut, worse
from hypergene.evaluation.protocols import HestProbe
from hypergene.evaluation.spatial_controls import library_size_oracle, smoothed
from hypergene.features.cache import ArrayCache, array_fingerprint, file_fingerprint
from hypergene.slide import read_tiles
from hypergene.st import open_image
from hypergene.training.expression import Measured

Floats = NDArray[np.float64]

TILE_UM, TILE_PX = 112.0, 112
_VERSION = 1

MEAN = "training mean"
DEPTH = "library size (oracle)"
RIDGE = "ridge"
CENTRED = "ridge, slide-centred"
RINGS = "ridge + rings, slide-centred"
SMOOTHED = "ridge, slide-centred, smoothed after"
_OF_ENCODER = (RIDGE, CENTRED, RINGS, SMOOTHED)
HANDMADE = "hand-made features, ridge, slide-centred"


class SlideInputs(NamedTuple):
    """What controls read of one slide.

    Attributes
    ----------
    log_depth
        (n,) float64.
    kernel
        (n, n) CSR, averages a spot and those next to it.
    features
        (n, features) of the scored model's encoder; None without a model.
    rings
        (n, features × (1 + rings)); None without a model.
    handmade
        (n, 50); None without an image.
    """

    log_depth: Floats
    kernel: sparse.csr_matrix
    features: NDArray[np.floating] | None = None
    rings: NDArray[np.floating] | None = None
    handmade: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class Baselines:
    """Controls fitted on training slides.

    Attributes
    ----------
    targets
        One (spots, genes) array a training slide.
    inputs
        Of the training slides.
    ridges
        Fitted ridges by name.
    probe
        The probe of HEST-Bench, on the encoder's features, else on the hand-made ones; None = it
        is not asked for, or there are neither.
    """

    targets: tuple[NDArray[np.floating], ...]
    inputs: tuple[SlideInputs, ...]
    ridges: dict[str, RidgeControl]
    probe: HestProbe | None = None

    @classmethod
    def fit(
        cls,
        targets: Sequence[NDArray[np.floating]],
        inputs: Sequence[SlideInputs],
        *,
        hest_probe: bool = False,
    ) -> Baselines:
        """Fit every control whose features all training slides have.

        Parameters
        ----------
        targets
            One (spots, genes) array a slide, log1p CP10k or as a published protocol has them, all
            of the same genes.
        inputs
            Of the same slides.
        hest_probe
            Fit the probe of HEST-Bench, too.
        """
        ridges = {}
        for name, field, centred in (
            (RIDGE, "features", False),
            (CENTRED, "features", True),
            (RINGS, "rings", True),
            (HANDMADE, "handmade", True),
        ):
            features = [getattr(slide, field) for slide in inputs]
            if all(table is not None for table in features):
                ridges[name] = RidgeControl.fit(features, targets, slide_centred=centred)
        probe = None
        probed = [_probed(slide) for slide in inputs]
        if hest_probe and all(table is not None for table in probed):
            probe = HestProbe.fit([table for table in probed if table is not None], targets)
        return cls(tuple(targets), tuple(inputs), ridges, probe)

    def predict(
        self,
        slide: SlideInputs,
        columns: NDArray[np.int64],
        genes: NDArray[np.int64],
        held_out: HeldOut,
        encoder_held_out: HeldOut,
    ) -> dict[str, Prediction]:
        """Predict one slide by every control.

        Parameters
        ----------
        slide
            Inputs of the slide, all its spots.
        columns
            int64 (k,): the places of the predicted genes among the slide's.
        genes
            int64 (k,): the places of the same genes among the targets.
        held_out
            What of the slide was kept out of these training samples.
        encoder_held_out
            What of it was kept out of the training of the encoder whose features are read.
        """
        depths = [one.log_depth for one in self.inputs]
        spots = len(slide.log_depth)
        found = {
            MEAN: Prediction(training_mean(self.targets, spots)[:, genes], columns=columns),
            DEPTH: Prediction(
                library_size_oracle(slide.log_depth, self.targets, depths)[:, genes],
                columns=columns,
                note=ORACLE,
            ),
        }
        for name, ridge in self.ridges.items():
            field = {RIDGE: "features", CENTRED: "features", RINGS: "rings"}.get(name, "handmade")
            features = getattr(slide, field)
            if features is not None:
                mean = ridge.predict(features)[:, genes]
                found[name] = Prediction(mean, columns=columns)
                if name == CENTRED:
                    found[SMOOTHED] = Prediction(smoothed(mean, slide.kernel), columns=columns)
        of_encoder = {*_OF_ENCODER}
        probed = _probed(slide)
        if self.probe is not None and probed is not None:
            mean = self.probe.predict(probed)[:, genes]
            found[self.probe.name] = Prediction(mean, columns=columns)
            if slide.features is not None:
                of_encoder.add(self.probe.name)
        encoded = worse(held_out, encoder_held_out)
        return {
            name: replace(one, held_out=encoded if name in of_encoder else held_out)
            for name, one in found.items()
        }


def _probed(slide: SlideInputs) -> NDArray[np.floating] | None:
    """Return the features that the probe of HEST-Bench reads."""
    return slide.handmade if slide.features is None else slide.features


def depth_only(slide: MeasuredSlide) -> dict[str, Prediction]:
    """Return the one control that needs no training: depth, fitted on the slide itself."""
    mean = library_size_oracle(slide.log_depth, [slide.log], [slide.log_depth])
    return {DEPTH: Prediction(mean, note=f"{ORACLE}, fitted on them", held_out="patient")}


def handmade_of(
    measured: Measured, cache: ArrayCache, *, mpp: float | None, workers: int
) -> Floats | None:
    """Return hand-made features (n, 50) of a sample's spots, cached; None if it has no image."""
    if measured.sample.slide is None:
        return None
    with open_image(measured.sample, measured, mpp=mpp) as slide:

        def compute() -> dict[str, Floats]:
            tiles = np.empty((len(measured), TILE_PX, TILE_PX, 3), np.uint8)
            for rows, batch in read_tiles(
                slide, measured.xy_px, width_um=TILE_UM, size_px=TILE_PX, workers=workers
            ):
                tiles[rows] = batch
            return {"features": handmade_features(tiles)}

        key = {
            "what": "handmade",
            "version": _VERSION,
            "slide": file_fingerprint(slide.path),
            "mpp": [slide.mpp.x, slide.mpp.y],
            "spots": array_fingerprint(measured.xy_px),
            "tile": [TILE_UM, TILE_PX],
        }
        features: Floats = cache.get(key, compute).load("features")
    return features
