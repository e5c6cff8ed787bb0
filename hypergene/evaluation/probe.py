"""A linear probe of labels of slides, such as a mutation, across patients."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.evaluation.bootstrap import REPLICATES, draw_weights
from hypergene.evaluation.mixing import linear_probe

_FOLDS = 5


class ProbeScore(NamedTuple):
    """AUROC of a probe.

    Attributes
    ----------
    auroc, low, high
        0..1, with its 95 % interval over patients; .5 is chance.
    patients, slides, folds
        How many there were.
    """

    auroc: float
    low: float
    high: float
    patients: int
    slides: int
    folds: int


def probe_slides(
    embeddings: npt.ArrayLike,
    labels: Sequence[Hashable],
    patients: Sequence[Hashable],
    *,
    seed: int = 0,
) -> ProbeScore:
    """Return how well a linear probe reads a slide's label off its mean embedding.

    Patients are never on both sides of a fold. With two labels the out-of-fold probabilities are
    pooled into one AUROC; with more it is the mean of one against the rest.

    Parameters
    ----------
    embeddings
        (slides, dim), one a slide.
    labels, patients
        One a slide.
    seed
        Of folds and bootstrap.

    Returns
    -------
    ProbeScore
        NaN where a label has fewer than two patients: it could not be in training and test.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    x = np.asarray(embeddings, np.float64)
    codes, names = pd.factorize(pd.Series(list(labels), dtype=object), sort=True)
    people = pd.factorize(pd.Series(list(patients), dtype=object))[0]
    of_label = pd.Series(people).groupby(codes).nunique()
    number = int(people.max()) + 1
    folds = min(_FOLDS, int(of_label.min()))
    if len(names) < 2 or folds < 2:
        return ProbeScore(np.nan, np.nan, np.nan, number, len(x), 0)
    told = np.full((len(x), len(names)), np.nan)
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splits.split(x, codes, people):
        seen = np.unique(codes[train])
        if len(seen) < 2:
            continue
        probe = linear_probe(seed).fit(x[train], codes[train])
        told[test] = 0.0
        told[np.ix_(test, seen)] = probe.predict_proba(x[test])
    known = np.isfinite(told).all(axis=1)
    value = _auroc(codes[known], told[known])
    drawn = []
    for weights in draw_weights(number, REPLICATES, seed):
        rows = np.repeat(np.arange(len(x)), weights[people])
        rows = rows[known[rows]]
        drawn.append(_auroc(codes[rows], told[rows]))
    finite = np.array(drawn)[np.isfinite(drawn)]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return ProbeScore(value, float(low), float(high), number, len(x), folds)


def _auroc(codes: npt.NDArray[np.int64], told: npt.NDArray[np.float64]) -> float:
    """Return the AUROC; of more than two labels the mean of each against the rest."""
    from sklearn.metrics import roc_auc_score

    if not len(codes):
        return float("nan")
    columns = [1] if told.shape[1] == 2 else range(told.shape[1])
    each = [
        roc_auc_score(codes == column, told[:, column])
        for column in columns
        if 0 < (codes == column).sum() < len(codes)
    ]
    return float(np.mean(each)) if each else float("nan")
