"""Denoised training targets. What is tested or chosen by is scored on what was measured, always.

One count is a noisy thing, and a model may learn more from a table in which spots or genes have
lent each other strength. ``tests/benchmarks/denoise.py targets`` measures it. Of a head that learns
module scores, as ours does, on HER2ST: neighbours gain on another patient (up to .05 on the 50 most
variable genes) and lose within one (.02); completion loses on both; modules are what the head
learns anyway. So ``none`` is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hypergene.training.completion import WIDTH, Completion, fit_completion
from hypergene.training.expression import Expression
from hypergene.training.modules import ModuleFit, fit_modules

DENOISE_VERSION = 1
"""Of denoised tables in a cache: another one is made anew."""

Floats = NDArray[np.float32]
Kind = Literal["none", "modules", "neighbours", "completion"]

_ROWS = 512


Denoiser = Callable[[Expression], Floats]
"""Gives the training targets of one section, float32 (n, genes), log1p CP10k."""


@dataclass(frozen=True, eq=False)
class _KnownGenes:
    """A denoiser that says of genes which a section did not measure that they are at their mean.

    So they are zero once the slide's mean is taken off, whatever the denoiser made of them.
    """

    denoise: Denoiser
    mean: Floats

    def __call__(self, section: Expression) -> Floats:
        targets = self.denoise(section)
        targets[:, ~section.measured] = self.mean[~section.measured]
        return targets


def fit_denoiser(
    kind: Kind,
    sections: Sequence[Expression],
    *,
    seed: int,
    rank: int = 50,
    own: float = 0.5,
) -> Denoiser:
    """Fit what turns the expression of a training section into its targets.

    One section is in memory at a time. The denoiser of a section looks at this section alone, and
    at what was learnt from `sections`; it keeps nothing of what it is given.

    Parameters
    ----------
    kind
        ``none``: as measured. ``modules``: the projection on `rank` gene modules about the mean of
        the slide. ``neighbours``: `own` of the spot, the rest of the mean of its first ring; a spot
        without neighbours is left alone. ``completion``: entries without a count become what
        :mod:`hypergene.training.completion` expects there, entries with one stay as they are, bit
        for bit.
    sections
        Training sections: never one that is tested, or chosen by.
    seed
        Of everything random.
    rank
        How many modules (``modules``). With as many as spots, nothing is taken away; nor is there
        anything to gain from as many as the model has or more, since module scores are its targets.
    own
        0..1, weight of the spot itself (``neighbours``).

    Returns
    -------
    Callable
        Targets of a section, float32 (n, genes), log1p CP10k. A gene that the section did not
        measure is at its mean over the training sections that did, in every spot, and at 0 if none
        did.
    """
    if kind == "none":
        denoise: Denoiser = _as_measured
    elif kind == "modules":
        denoise = partial(_on_modules, fit_modules(sections, rank, seed=seed))
    elif kind == "neighbours":
        denoise = partial(_with_neighbours, own)
    elif kind == "completion":
        completion = fit_completion(sections, fit_modules(sections, WIDTH, seed=seed), seed=seed)
        denoise = partial(_completed, completion)
    else:
        assert_never(kind)
    return _KnownGenes(denoise, _gene_means(sections))


def _as_measured(section: Expression) -> Floats:
    targets: Floats = section.log().toarray()
    return targets


def _on_modules(modules: ModuleFit, section: Expression) -> Floats:
    table = section.log()
    targets: Floats = modules.scores(table, section.measured) @ modules.loadings
    targets += _mean(table)
    return targets


def _with_neighbours(own: float, section: Expression) -> Floats:
    table, average = section.log(), section.neighbours()
    ring = average - sparse.diags_array(average.diagonal())
    weight = np.asarray(ring.sum(axis=1)).ravel()
    lent = np.divide(1 - own, weight, out=np.zeros(len(weight)), where=weight > 0)
    kept = np.where(weight > 0, own, 1.0)
    blend = sparse.csr_matrix(
        sparse.diags_array(kept) + sparse.diags_array(lent) @ ring, dtype=np.float32
    )
    targets = np.empty(table.shape, np.float32)
    for start in range(0, len(targets), _ROWS):
        rows = slice(start, start + _ROWS)
        targets[rows] = (blend[rows] @ table).toarray()
    return targets


def _completed(completion: Completion, section: Expression) -> Floats:
    targets = completion.predict(section)
    counted = section.log().tocoo()
    has_count = counted.data > 0
    row, column = counted.row[has_count], counted.col[has_count]
    targets[row, column] = counted.data[has_count]
    return targets


def _gene_means(sections: Sequence[Expression]) -> Floats:
    """Mean over the sections that measured a gene of each section's mean, (genes,)."""
    measured = np.stack([section.measured for section in sections])
    total = np.sum([_mean(section.log()) * section.measured for section in sections], axis=0)
    mean: Floats = (total / measured.sum(0).clip(1)).astype(np.float32)
    return mean


def _mean(table: sparse.csr_matrix) -> Floats:
    mean: Floats = np.asarray(table.mean(axis=0, dtype=np.float64)).ravel().astype(np.float32)
    return mean
