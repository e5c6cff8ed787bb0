"""Which genes are scored: chosen from training spots, never from what is tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

MIN_SHARE = 0.10
HVG_SIZES = (50, 250)


def expressed(
    train_log: npt.ArrayLike | sparse.spmatrix, *, min_share: float = MIN_SHARE
) -> npt.NDArray[np.bool_]:
    """Tell which genes are detected in at least `min_share` of the training spots.

    Parameters
    ----------
    train_log
        log1p CP10k (or counts) of all training spots pooled, shape (spots, genes), dense or CSR;
        detected means above 0.
    min_share
        0..1.

    Returns
    -------
    ndarray
        bool (genes,).

    Raises
    ------
    ValueError
        Without spots.
    """
    values = _columns(train_log)
    detected = np.asarray((values > 0).sum(axis=0)).ravel()
    # The slack keeps 1 of 10 spots at 10 %, whatever the rounding of 0.1.
    return detected >= min_share * values.shape[0] - 1e-9


def most_variable(
    train_log: npt.ArrayLike | sparse.spmatrix,
    n: int,
    among: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Find the `n` genes of highest variance over the pooled training spots.

    Parameters
    ----------
    train_log
        log1p CP10k of all training spots pooled, shape (spots, genes), dense or CSR.
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
    values = _columns(train_log).astype(np.float64)
    mean = np.asarray(values.mean(axis=0)).ravel()
    variance = np.asarray(values.multiply(values).mean(axis=0)).ravel() - mean**2
    candidates = np.arange(values.shape[1]) if among is None else np.flatnonzero(among)
    return candidates[np.argsort(-variance[candidates], kind="stable")[:n]].astype(np.int64)


def gene_sets(
    train_log: npt.ArrayLike | sparse.spmatrix, genes: Sequence[str]
) -> dict[str, list[str]]:
    """Choose the protocol's sets: all expressed genes, and the most variable 50 and 250 of them.

    Parameters
    ----------
    train_log
        log1p CP10k of all training spots pooled, shape (spots, genes), dense or CSR.
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
    among = expressed(train_log)
    if names.shape != among.shape:
        raise ValueError(f"{len(names)} gene names for {len(among)} columns")
    sets = {"expressed": names[among].tolist()}
    for size in HVG_SIZES:
        sets[f"HVG-{size}"] = names[most_variable(train_log, size, among)].tolist()
    return sets


def _columns(values: npt.ArrayLike | sparse.spmatrix) -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(values)
    if not matrix.shape[0]:
        raise ValueError("genes cannot be chosen without training spots")
    return matrix
