"""Which genes of a prediction are shown or exported first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def best_held_out(var: pd.DataFrame, count: int) -> list[str]:
    """Return the genes that were predicted best on held-out data, best first.

    Parameters
    ----------
    var
        A row a gene, with the column ``heldout_pcc``.
    count
        How many at most.
    """
    return highest(var["heldout_pcc"], count)


def highest(score: pd.Series, count: int) -> list[str]:
    """Return the genes with the highest score, highest first.

    Of two alike the earlier one goes first, so that the choice is the same every time.

    Parameters
    ----------
    score
        A number a gene, by symbol; those without one (NaN) come last.
    count
        How many at most.
    """
    values = np.nan_to_num(score.to_numpy(dtype=np.float64), nan=-np.inf)
    order = np.argsort(-values, kind="stable")[:count]
    return [str(gene) for gene in score.index[order]]
