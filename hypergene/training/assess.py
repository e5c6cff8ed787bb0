"""How good the model is right now: predictions of sections, scored as the protocol asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hypergene.evaluation import pearson_per_gene, score_slide, summarise
from hypergene.features.context import Context, as_sparse
from hypergene.model.network import HyperGene, Reading, Surroundings
from hypergene.training.readout import fit_ridge, spatial_blocks
from hypergene.training.section import Section

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
EVEN = 0.5
WORTH_IT = 0.01
"""Gain in the selection metric for which the even average of both readouts is given up."""
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
        context = torch.from_numpy(self.context.features).to(device)
        return Surroundings(
            context, tuple(as_sparse(ring).to(device) for ring in self.section.rings)
        )


def encode_sections(
    model: HyperGene, sections: Sequence[Section], device: torch.device
) -> list[EncodedSection]:
    """Encode whole sections, spots and context, in evaluation mode."""
    return [
        EncodedSection(section, *section.encode(model.encoder, model.config, device))
        for section in sections
    ]


@torch.inference_mode()
def fit_readout(
    model: HyperGene,
    encoded: Sequence[EncodedSection],
    scores: Sequence[NDArray[np.float32]],
    device: torch.device,
) -> None:
    """Fit the closed-form readout of `model` on training sections, in place.

    Penalties are chosen by leaving out slides, or quarters of the slide if there is only one.
    """
    inputs = [
        model.ridge_inputs(torch.from_numpy(e.features).to(device), e.around(device)).cpu().numpy()
        for e in encoded
    ]
    fitted = fit_ridge(np.concatenate(inputs), np.concatenate(scores), _groups(encoded))
    model.ridge.weight.copy_(torch.from_numpy(fitted))


def _groups(encoded: Sequence[EncodedSection]) -> NDArray[np.int64]:
    sections = [e.section for e in encoded]
    if len(sections) == 1:
        return spatial_blocks(sections[0].xy_um)
    return np.repeat(np.arange(len(sections)), [len(section) for section in sections])


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
) -> dict[float, dict[str, float]]:
    """Mean Pearson by gene set, for every share of the closed-form readout in the blend."""
    rows: dict[float, list[dict[str, float]]] = {share: [] for share in SHARES}
    for one in encoded:
        reading, truth = _read(model, one, device), one.section.expression.dense()
        for share, found in rows.items():
            scores = model.ridge.blend(reading.head.mean, reading.ridge, share)
            prediction = model.modules_to_genes.expression(scores).cpu().numpy()
            found.append(_pearson_by_set(truth, prediction, genes, sets))
    return {share: pd.DataFrame(found).mean().to_dict() for share, found in rows.items()}


def _read(model: HyperGene, encoded: EncodedSection, device: torch.device) -> Reading:
    reading: Reading = model(torch.from_numpy(encoded.features).to(device), encoded.around(device))
    return reading


def selection_metric(pearson: Mapping[str, float]) -> float:
    """Return what early stopping looks at: the mean over gene sets of the mean Pearson."""
    return float(np.mean(list(pearson.values())))


def choose_share(by_share: Mapping[float, Mapping[str, float]]) -> float:
    """Choose how much the closed-form readout has to say.

    The even average stays unless another share is better by more than `WORTH_IT`: validation is
    one patient, whose preference for a readout need not be the next patient's, and averages of
    two different readouts fail more gently than either.

    Parameters
    ----------
    by_share
        As :func:`validate` gives it.
    """
    best = max(by_share, key=lambda share: selection_metric(by_share[share]))
    gain = selection_metric(by_share[best]) - selection_metric(by_share[EVEN])
    return best if gain > WORTH_IT else EVEN


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
