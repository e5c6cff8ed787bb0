"""Which genes are scored: chosen from training spots, never from what is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

MIN_SHARE = 0.10
HVG_SIZES = (50, 250)

Log: TypeAlias = npt.ArrayLike | sparse.spmatrix


@dataclass(frozen=True, eq=False)
class GeneMoments:
    """What choosing genes needs to know of spots; sums, so that slides are added one by one.

    Attributes
    ----------
    spots
        int64 (genes,), spots in which the gene was measured.
    detected
        int64 (genes,), spots in which it was above 0.
    total, squares
        float64 (genes,), sums of the values and of their squares.
    """

    spots: npt.NDArray[np.int64]
    detected: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, log: Log, measured: npt.NDArray[np.bool_] | None = None) -> GeneMoments:
        """Take the moments of some spots.

        Parameters
        ----------
        log
            log1p CP10k (or counts), shape (spots, genes), dense or CSR; detected means above 0.
        measured
            bool (genes,): which columns were measured at all; all if None.
        """
        values = sparse.csr_matrix(log)
        spots, genes = values.shape
        known = np.ones(genes, bool) if measured is None else measured
        wide = values.astype(np.float64)
        return cls(
            spots=spots * known.astype(np.int64),
            detected=np.asarray((values > 0).sum(axis=0), dtype=np.int64).ravel() * known,
            total=np.asarray(wide.sum(axis=0)).ravel() * known,
            squares=np.asarray(wide.multiply(wide).sum(axis=0)).ravel() * known,
        )

    def __add__(self, other: GeneMoments) -> GeneMoments:
        """Join the moments of two sets of spots."""
        return GeneMoments(
            self.spots + other.spots,
            self.detected + other.detected,
            self.total + other.total,
            self.squares + other.squares,
        )

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Variance over the spots that measured the gene, float64 (genes,)."""
        spots = np.maximum(self.spots, 1)
        return self.squares / spots - (self.total / spots) ** 2


def expressed(train: Log | GeneMoments, *, min_share: float = MIN_SHARE) -> npt.NDArray[np.bool_]:
    """Tell which genes are detected in at least `min_share` of the training spots.

    Parameters
    ----------
    train
        log1p CP10k (or counts) of all training spots pooled, shape (spots, genes), dense or CSR;
        or their moments.
    min_share
        0..1, of the spots in which the gene was measured.

    Returns
    -------
    ndarray
        bool (genes,).

    Raises
    ------
    ValueError
        Without spots.
    """
    moments = _moments(train)
    # The slack keeps 1 of 10 spots at 10 %, whatever the rounding of 0.1.
    often = moments.detected >= min_share * moments.spots - 1e-9
    return often & (moments.spots > 0)


def most_variable(
    train: Log | GeneMoments, n: int, among: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Find the `n` genes of highest variance over the pooled training spots.

    Parameters
    ----------
    train
        log1p CP10k of all training spots pooled, shape (spots, genes), dense or CSR; or their
        moments.
    n
        How many; fewer come back if there are fewer.
    among
        bool (genes,): candidates; all if None.

    Returns
    -------
    ndarray
        int64, column indices by falling variance; of equal ones the first column first.

    Raises
    ------
    ValueError
        Without spots.
    """
    variance = _moments(train).variance
    candidates = np.arange(len(variance)) if among is None else np.flatnonzero(among)
    return candidates[np.argsort(-variance[candidates], kind="stable")[:n]].astype(np.int64)


def gene_sets(train: Log | GeneMoments, genes: Sequence[str]) -> dict[str, list[str]]:
    """Choose the protocol's sets: all expressed genes, and the most variable 50 and 250 of them.

    Parameters
    ----------
    train
        log1p CP10k of all training spots pooled, shape (spots, genes), dense or CSR; or their
        moments.
    genes
        Names of the columns.

    Returns
    -------
    dict
        ``expressed`` (in file order), ``HVG-50``, ``HVG-250`` (by falling variance).

    Raises
    ------
    ValueError
        Without spots, or if the names do not fit.
    """
    names = np.asarray(genes, dtype=object)
    moments = _moments(train)
    among = expressed(moments)
    if names.shape != among.shape:
        raise ValueError(f"{len(names)} gene names for {len(among)} columns")
    sets = {"expressed": names[among].tolist()}
    for size in HVG_SIZES:
        sets[f"HVG-{size}"] = names[most_variable(moments, size, among)].tolist()
    return sets


def _moments(train: Log | GeneMoments) -> GeneMoments:
    moments = train if isinstance(train, GeneMoments) else GeneMoments.of(train)
    if not moments.spots.any():
        raise ValueError("genes cannot be chosen without training spots")
    return moments
