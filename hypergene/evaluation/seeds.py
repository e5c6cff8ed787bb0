"""Several seeds of one method: their mean, slide by slide, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.evaluation.bootstrap import average
from hypergene.evaluation.metrics import METRICS
from hypergene.evaluation.slide_scores import SlideScores

Floats = npt.NDArray[np.float64]


@dataclass
class Repeated:
    """One method on one slide, as each seed made it; only their running mean is kept whole.

    Attributes
    ----------
    mean
        Mean over seeds of figures and replicates. All seeds were resampled alike, so its replicates
        are those of the mean.
    by_seed
        One (gene sets, metrics) float64 a seed.
    """

    mean: SlideScores
    by_seed: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the first seed."""
        self.by_seed.append(_figures(self.mean))

    def add(self, one: SlideScores) -> None:
        """Take the next seed of the same slide.

        Raises
        ------
        ValueError
            It has other genes, sets or replicates.
        """
        mean, number = self.mean, len(self.by_seed) + 1
        if not one.by_gene.index.equals(mean.by_gene.index) or one.set_genes != mean.set_genes:
            raise ValueError(f"seeds of {one.slide} were scored on different genes")
        self.by_seed.append(_figures(one))
        self.mean = replace(
            mean,
            by_gene=_moved(mean.by_gene, one.by_gene, number),
            by_set=_moved(mean.by_set, one.by_set, number),
            replicates={
                name: table + (one.replicates[name] - table) / number
                for name, table in mean.replicates.items()
            },
            gene_replicates=mean.gene_replicates
            + (one.gene_replicates - mean.gene_replicates) / np.float32(number),
            curves={
                name: curve + (one.curves[name] - curve) / number
                for name, curve in mean.curves.items()
            },
        )


def seed_table(group: Sequence[Repeated], main: Mapping[str, Repeated]) -> pd.DataFrame:
    """Say how far seeds lie apart.

    Parameters
    ----------
    group
        A method's slides.
    main
        Slide -> the method it is a control of.

    Returns
    -------
    pandas.DataFrame
        A row a gene set and metric: seeds, mean, sd, low, high (least and greatest) over seeds of
        the mean over slides and patients; difference, difference_sd: the main method less this
        one, seed by seed. Empty with one seed.
    """
    seeds = min(len(one.by_seed) for one in group)
    if seeds < 2:
        return pd.DataFrame()
    own = _over_patients(group, seeds)
    compared = [one for one in group if one.mean.slide in main]
    of_main = _over_patients([main[one.mean.slide] for one in compared], seeds)
    difference = of_main - _over_patients(compared, seeds)
    names = pd.MultiIndex.from_product(
        [group[0].mean.by_set.index, METRICS], names=["gene_set", "metric"]
    )
    columns = {
        "mean": own.mean(axis=0),
        "sd": own.std(axis=0, ddof=1),
        "low": own.min(axis=0),
        "high": own.max(axis=0),
        "difference": difference.mean(axis=0),
        "difference_sd": difference.std(axis=0, ddof=1),
    }
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=names)
    table.insert(0, "seeds", seeds)
    return table.reset_index()


def _moved(mean: pd.DataFrame, new: pd.DataFrame, number: int) -> pd.DataFrame:
    """Take the new table, the so-manieth, into a mean; what is true of one is true of all."""
    moved = {
        name: column | new[name] if column.dtype == bool else column + (new[name] - column) / number
        for name, column in mean.items()
    }
    return pd.DataFrame(moved, index=mean.index)


def _figures(one: SlideScores) -> Floats:
    figures: Floats = one.by_set[list(METRICS)].to_numpy(np.float64)
    return figures


def _over_patients(group: Sequence[Repeated], seeds: int) -> Floats:
    """Average over slides of a patient and over patients: (seeds, gene sets, metrics)."""
    values = {one.mean.slide: np.stack(one.by_seed[:seeds]) for one in group}
    return average(
        values,
        {slide: table[None] for slide, table in values.items()},
        {one.mean.slide: one.mean.patient for one in group},
        {one.mean.slide: one.mean.blocks for one in group},
    ).value
