"""The samples that are scored, and those that were trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hypergene.errors import DataError, UsageError
from hypergene.evaluation import gene_sets
from hypergene.features.cache import ArrayCache
from hypergene.pipeline.checks.twins import Sketch, sketch
from hypergene.pipeline.gene_choice import find_genes, pooled_moments
from hypergene.st import GeneSpace, Sample, read_sample, read_samples
from hypergene.st.pitch import nearest_pitch_px
from hypergene.training.expression import Measured, keep_measured

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """What was measured.

    Attributes
    ----------
    scored, train
        The samples, in the order given.
    measured
        Data of all of them, by name (training samples that are also scored are there once).
    sketches
        What the same tissue is known by.
    """

    scored: tuple[Sample, ...]
    train: tuple[Sample, ...]
    measured: dict[str, Measured]
    sketches: dict[str, Sketch]


def choose_samples(
    samples: str | Path | Sequence[Sample], only: Sequence[str], train: str | Path | None
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the samples to score, and those that were trained on.

    Parameters
    ----------
    samples
        A sheet, a folder, or the samples themselves.
    only
        Names of those to score; none = all that are not named in `train`.
    train
        A sheet or folder of training samples, or names of some of `samples`, with commas.

    Raises
    ------
    UsageError
        A name that no sample has, or no sample left to score.
    DataError
        One name for two different samples.
    """
    listed = read_samples(samples) if isinstance(samples, str | Path) else list(samples)
    by_name = {sample.sample: sample for sample in listed}
    trained: list[Sample] = []
    named: set[str] = set()
    if train is not None and Path(train).exists():
        trained = read_samples(train)
    elif train is not None:
        names = [name.strip() for name in str(train).split(",") if name.strip()]
        _refuse_unknown(names, by_name, "--train")
        trained, named = [by_name[name] for name in names], set(names)
    _refuse_unknown(only, by_name, "--only")
    scored = [by_name[name] for name in dict.fromkeys(only)] or [
        sample for sample in listed if sample.sample not in named
    ]
    if not scored:
        raise UsageError("No sample is left to score.", hint="Name one with --only.")
    for sample in trained:
        other = by_name.get(sample.sample)
        if other in scored and other != sample and other.data.resolve() != sample.data.resolve():
            raise DataError(
                f"{sample.sample} is one sample among those to score and another among those "
                "trained on.",
                hint="Give samples names of their own.",
            )
    return tuple(scored), tuple(trained)


def _refuse_unknown(names: Sequence[str], known: dict[str, Sample], flag: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{flag} names {', '.join(unknown)}, which is none of the samples.",
            hint=f"They are {', '.join(list(known)[:20])}"
            + (", or give the path of a sheet or folder." if flag == "--train" else "."),
        )


def read_data(
    scored: Sequence[Sample], train: Sequence[Sample], cache: ArrayCache
) -> EvaluationData:
    """Read all samples, one at a time; their tables stay in the cache."""
    measured, sketches = {}, {}
    for sample in (*scored, *train):
        if sample.sample in measured:
            continue
        adata = read_sample(sample)
        measured[sample.sample] = keep_measured(sample, adata, cache)
        sketches[sample.sample] = sketch(adata)
    return EvaluationData(tuple(scored), tuple(train), measured, sketches)


def sets_to_score(
    data: EvaluationData, predicted: pd.DataFrame
) -> tuple[dict[str, list[str]], list[str]]:
    """Choose the protocol's gene sets: on the training samples, or else on those scored.

    Chosen from training samples, they hold all genes that these express, also such as the method
    does not predict: those count as missing.

    Parameters
    ----------
    data
        What was measured.
    predicted
        Canonical ``var`` of the prediction.

    Returns
    -------
    sets
        Name -> genes, named as in the prediction; such as were picked on the scored samples say so
        in their names.
    notes
        How genes were matched.
    """
    if not data.train:
        expressions = [
            data.measured[sample.sample].expression(
                find_genes(predicted, data.measured[sample.sample].var, sample.sample)
            )
            for sample in data.scored
        ]
        sets = gene_sets(pooled_moments(expressions), predicted.index.tolist())
        named = {f"{name} (test-picked)": genes for name, genes in sets.items() if genes}
        return named or {"all (test-picked)": predicted.index.tolist()}, []
    space = GeneSpace.of({s.sample: data.measured[s.sample].var for s in data.train}, "union")
    expressions = [
        data.measured[sample.sample].expression(space.columns(sample.sample))
        for sample in data.train
    ]
    sets = gene_sets(pooled_moments(expressions), space.genes)
    table = pd.DataFrame(index=list(space.genes))
    if space.gene_ids is not None:
        table["gene_ids"] = list(space.gene_ids)
    at = find_genes(predicted, table, "the training samples")
    known = {
        space.genes[column]: predicted.index[row] for row, column in enumerate(at) if column >= 0
    }
    renamed = {
        name: [str(known.get(gene, gene)) for gene in genes]
        for name, genes in sets.items()
        if genes
    }
    return renamed, list(space.report)


def um_per_px(measured: Measured, mpp: float | None) -> float:
    """Return µm per level-0 px of a sample's positions, as somebody states it.

    The sheet goes first, then `mpp`, what the data say, and the pitch of a known platform.

    Raises
    ------
    DataError
        Nobody says.
    """
    about = measured.uns["hypergene"]
    stated = about.get("mpp")
    found = (
        measured.sample.mpp
        or mpp
        or (None if stated is None else float(np.mean(stated)))
        or about.get("mpp_from_pitch")
    )
    if not found:
        raise DataError(
            f"Nothing says how many µm a pixel of {measured.sample.sample} is.",
            hint="Give it in the samples sheet (column mpp), or with --mpp.",
        )
    return float(found)


def pitch_px(measured: Measured) -> float:
    """Return the distance of neighbouring spots, level-0 px, measured from their positions."""
    return float(
        measured.uns["hypergene"].get("pitch_px") or nearest_pitch_px(measured.xy_px) or 1.0
    )
