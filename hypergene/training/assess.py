"""How good the model is right now: predictions of sections, scored as the protocol asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hypergene.evaluation import pearson_per_gene, score_slide, summarise
from hypergene.features.context import Context, surroundings
from hypergene.model.network import HyperGene, Reading, Surroundings
from hypergene.model.readout import Blend
from hypergene.training.readout import Ridge, fit_gallery, fit_kernel, spatial_blocks
from hypergene.training.section import Section

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
KERNEL_SHARES = (0.0, 0.5, 1.0)
GALLERY_SHARES = (0.0, 0.5, 1.0)
WORTH_IT = 0.01
"""Gain in the selection metric for which the plain blend of readouts is given up."""
GeneSets = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class EncodedSection:
    """A section seen by one state of the encoder.

    Attributes
    ----------
    section
        The section, n spots.
    features
        (n, features) float32, slide-centred.
    context
        Its context.
    """

    section: Section
    features: NDArray[np.float32]
    context: Context

    def around(self, device: torch.device) -> Surroundings:
        """Surroundings of all spots."""
        section, everyone = self.section, slice(None)
        return surroundings(self.context.features, section.rings, section.nearest, everyone, device)


def encode_sections(
    model: HyperGene, sections: Sequence[Section], device: torch.device
) -> list[EncodedSection]:
    """Encode whole sections, spots and context, in evaluation mode."""
    return [
        EncodedSection(section, *section.encode(model.encoder, model.config, device))
        for section in sections
    ]


@torch.inference_mode()
def fit_readouts(
    model: HyperGene,
    encoded: Sequence[EncodedSection],
    scores: Sequence[NDArray[np.float32]],
    device: torch.device,
    *,
    only_ridge: bool = False,
) -> None:
    """Fit the closed-form readouts that `model` has on training sections, in place.

    Penalties are chosen by leaving out slides, or quarters of the slide if there is only one. The
    gallery keeps residuals of ridges that were fitted without the spot's patient (see
    :func:`apart`).

    Parameters
    ----------
    model
        The model; its shares stay as they are.
    encoded
        Training sections, encoded by this model.
    scores
        One (n, modules) float32 a section: standardised module scores of its spots.
    device
        Where the model is.
    only_ridge
        Leave kernel and gallery: what an anchor needs before the first step.
    """
    sections = [one.section for one in encoded]
    groups, targets = _groups(sections), np.concatenate(scores)
    inputs = np.concatenate([_inputs(model, one, device) for one in encoded])
    ridge = Ridge(inputs, targets, groups) if model.config.readout.ridge else None
    if ridge is not None:
        model.ridge.weight.copy_(torch.from_numpy(ridge.weight))
    if only_ridge:
        return
    if model.kernel is not None:
        curved = model.kernel.kind == "hyperbolic"
        read = (
            np.concatenate([_points(model, one, device) for one in encoded]) if curved else inputs
        )
        kind, inducing = model.kernel.kind, len(model.kernel.points)
        curvature = model.space.curvature.item()
        kernel = fit_kernel(kind, read, targets, groups, inducing=inducing, curvature=curvature)
        model.kernel.hold(*map(torch.as_tensor, kernel))
    if model.gallery is not None and ridge is not None:
        residuals = ridge.residuals(apart(sections))
        gallery = fit_gallery(inputs, residuals, len(model.gallery.keys))
        model.gallery.hold(*map(torch.as_tensor, gallery))


def apart(sections: Sequence[Section]) -> NDArray[np.int64]:
    """Say which spots of training sections are left out together, to be residuals of a gallery.

    Those of one patient where there are several and all are known, for a new slide is one of
    another patient; else those of one slide; of a single slide its quarters.

    Returns
    -------
    ndarray
        (n,) int64 over the spots of all sections.
    """
    patients = [section.patient for section in sections]
    if None in patients or len(set(patients)) == 1:
        return _groups(sections)
    number = {patient: place for place, patient in enumerate(dict.fromkeys(patients))}
    sizes = [len(section) for section in sections]
    return np.repeat([number[patient] for patient in patients], sizes)


def _groups(sections: Sequence[Section]) -> NDArray[np.int64]:
    if len(sections) == 1:
        return spatial_blocks(sections[0].xy_um)
    return np.repeat(np.arange(len(sections)), [len(section) for section in sections])


def _inputs(model: HyperGene, encoded: EncodedSection, device: torch.device) -> NDArray[np.float32]:
    features = torch.from_numpy(encoded.features).to(device)
    inputs: NDArray[np.float32] = model.ridge_inputs(features, encoded.around(device)).cpu().numpy()
    return inputs


def _points(model: HyperGene, encoded: EncodedSection, device: torch.device) -> NDArray[np.float32]:
    features = torch.from_numpy(encoded.features).to(device)
    points: NDArray[np.float32] = model.view(features, encoded.around(device)).spot.cpu().numpy()
    return points


@torch.inference_mode()
def predict_section(
    model: HyperGene, encoded: EncodedSection, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predicted expression and spread of a section's spots, (n, genes) float32 each."""
    scores = _read(model, encoded, device).scores
    genes = model.modules_to_genes
    return (
        genes.expression(scores.mean).cpu().numpy(),
        genes.spread(scores.log_variance).cpu().numpy(),
    )


@torch.inference_mode()
def validate(
    model: HyperGene,
    encoded: Sequence[EncodedSection],
    genes: Sequence[str],
    sets: GeneSets,
    device: torch.device,
) -> dict[Blend, dict[str, float]]:
    """Mean Pearson by gene set, for every blend of the readouts that the model has."""
    rows: dict[Blend, list[dict[str, float]]] = {blend: [] for blend in blends(model)}
    for one in encoded:
        reading, truth = _read(model, one, device), one.section.expression.dense()
        for blend, found in rows.items():
            scores = model.answer(
                reading.head.mean, reading.ridge, reading.kernel, reading.inputs, blend
            )
            prediction = model.modules_to_genes.expression(scores).cpu().numpy()
            found.append(_pearson_by_set(truth, prediction, genes, sets))
    return {blend: pd.DataFrame(found).mean().to_dict() for blend, found in rows.items()}


def blends(model: HyperGene) -> list[Blend]:
    """List the blends to choose from; each readout that the model has is left out of some."""
    averaged = model.config.readout.ridge and not model.config.readout.anchor
    ridge = SHARES if averaged else (0.0,)
    kernel = KERNEL_SHARES if model.kernel is not None else (0.0,)
    gallery = GALLERY_SHARES if model.gallery is not None else (0.0,)
    grid = [Blend(*shares) for shares in product(ridge, kernel, gallery)]
    # Where the kernel has all of the answer, the ridge has nothing to share.
    return [blend for blend in grid if blend.kernel < 1 or blend.ridge == 0]


def _read(model: HyperGene, encoded: EncodedSection, device: torch.device) -> Reading:
    reading: Reading = model(torch.from_numpy(encoded.features).to(device), encoded.around(device))
    return reading


def selection_metric(pearson: Mapping[str, float]) -> float:
    """Return what early stopping looks at: the mean over gene sets of the mean Pearson."""
    return float(np.mean(list(pearson.values())))


def choose_blend(by_blend: Mapping[Blend, Mapping[str, float]]) -> Blend:
    """Choose how much each readout has to say.

    The plain blend stays unless another is better by more than `WORTH_IT`: the even average of head
    and ridge, or the head alone where the ridge is off or anchors the head. Validation is one
    patient, whose preference for a readout need not be the next patient's, and averages of two
    different readouts fail more gently than either.

    Parameters
    ----------
    by_blend
        As :func:`validate` gives it.
    """
    plain = Blend() if Blend() in by_blend else Blend(ridge=0.0)
    best = max(by_blend, key=lambda blend: selection_metric(by_blend[blend]))
    gain = selection_metric(by_blend[best]) - selection_metric(by_blend[plain])
    return best if gain > WORTH_IT else plain


def score_section(
    model: HyperGene,
    encoded: EncodedSection,
    genes: Sequence[str],
    sets: GeneSets,
    device: torch.device,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every metric of a section: by gene, and averaged over gene sets."""
    section = encoded.section
    measured = section.expression.measured
    prediction, _ = predict_section(model, encoded, device)
    scores = score_slide(
        section.expression.dense()[:, measured],
        prediction[:, measured],
        np.asarray(genes, dtype=object)[measured].tolist(),
        section.log_depth,
    )
    return scores, summarise(scores, sets)


def _pearson_by_set(
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    genes: Sequence[str],
    sets: GeneSets,
) -> dict[str, float]:
    pearson = pd.Series(pearson_per_gene(truth, prediction), index=list(genes))
    varies = truth.std(0) > 0
    pearson = pearson.fillna(0.0)[varies]
    return {name: float(pearson.reindex(list(chosen)).mean()) for name, chosen in sets.items()}
