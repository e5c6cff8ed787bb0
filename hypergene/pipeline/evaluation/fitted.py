"""Controls that are fitted on the training samples of one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypergene.evaluation import Prediction
from hypergene.evaluation.optimism import HeldOut
from hypergene.evaluation.protocols import Protocol
from hypergene.pipeline.evaluation.baselines import Baselines
from hypergene.pipeline.evaluation.data import EvaluationData, pitch_px
from hypergene.pipeline.evaluation.source import Scored, Source


class Fitted(NamedTuple):
    """Fitted controls, and the genes they know.

    Attributes
    ----------
    baselines
        The controls.
    genes
        Named as in the source's predictions.
    """

    baselines: Baselines
    genes: tuple[str, ...]

    def predict(
        self, one: Scored, held_out: HeldOut, encoder_held_out: HeldOut
    ) -> dict[str, Prediction]:
        """Predict one sample by every control; nothing where it has no inputs of controls.

        Parameters
        ----------
        one
            The sample.
        held_out
            What of it was kept out of the training samples.
        encoder_held_out
            What of it was kept out of the training of the encoder whose features are read.
        """
        if one.inputs is None:
            return {}
        columns, genes = _common(one.slide.genes, self.genes)
        return self.baselines.predict(one.inputs, columns, genes, held_out, encoder_held_out)


def fit_controls(
    source: Source,
    data: EvaluationData,
    sets: Mapping[str, Sequence[str]],
    protocol: Protocol | None = None,
) -> Fitted | None:
    """Fit the controls on the training samples that have what the scored ones have.

    Parameters
    ----------
    source
        Whose genes and features they share.
    data
        Samples.
    sets
        The gene sets, whose genes are all that is fitted.
    protocol
        Whose targets they are fitted to; None = log1p CP10k of single spots.

    Returns
    -------
    Fitted or None
        None without training samples, or genes.
    """
    wanted = {gene for members in sets.values() for gene in members}
    chosen = np.array([gene in wanted for gene in source.genes.index])
    columns = {}
    for sample in data.train:
        if sample.slide is None and source.needs_slide:
            continue
        columns[sample.sample] = source.columns(data.measured[sample.sample])
        chosen &= columns[sample.sample] >= 0
    if not columns or not chosen.any():
        return None
    targets, inputs = [], []
    for name, at in columns.items():
        measured = data.measured[name]
        expression = measured.expression(at[chosen])
        if protocol is None:
            targets.append(expression.dense())
        else:
            kernel = protocol.kernel(measured.xy_px, pitch_px(measured))
            targets.append(protocol.targets(expression.counts(), expression.columns, kernel))
        inputs.append(source.inputs(measured))
    probe = protocol is not None and protocol.name == "hest-bench"
    baselines = Baselines.fit(targets, inputs, hest_probe=probe)
    return Fitted(baselines, tuple(source.genes.index[chosen]))


def _common(
    genes: Sequence[str], trained: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where genes that both have are: among the slide's, and among the controls'."""
    place = {gene: number for number, gene in enumerate(genes)}
    both = [(place[gene], number) for number, gene in enumerate(trained) if gene in place]
    pairs = np.array(both, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
