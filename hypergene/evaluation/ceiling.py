"""The noise ceiling: how well even a perfect model could correlate with counts this sparse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hypergene.evaluation.metrics import pearson_per_gene
from hypergene.st.normalise import log1p_cp10k


def noise_ceiling(
    counts: npt.ArrayLike | sparse.spmatrix,
    genes: npt.ArrayLike | None = None,
    *,
    splits: int = 10,
    seed: int = 0,
    read: Callable[[npt.NDArray[np.float32]], npt.ArrayLike] | None = None,
    normalise: Callable[[sparse.csr_matrix], sparse.csr_matrix] = log1p_cp10k,
) -> npt.NDArray[np.float64]:
    """Bound the Pearson correlation that a prediction can reach, gene by gene.

    Each count is split by a fair coin, ``h ~ Binomial(c, 1/2)`` and ``c - h``: two independent
    measurements of half the depth. The correlation ``r`` over spots of their log1p CP10k gives the
    reliability of the whole by Spearman and Brown (1910), ``r_full = 2 r / (1 + r)``, and
    ``sqrt(r_full)`` is the correlation of the measured with the true values. The formula is exact
    for means, not for logarithms of few counts: on Poisson counts the ceiling is .06 to .08 too
    high at 1 to 3 counts a spot, and .01 to .02 too low at 10 to 30.

    Parameters
    ----------
    counts
        Raw counts over *all* genes (they make the depth), shape (spots, all genes), dense or CSR.
    genes
        Columns to compute; all if None.
    splits
        How many random splits are averaged (r is averaged, before the formula).
    seed
        Of the coin.
    read
        What is made of log1p CP10k (spots, genes asked for) before it is correlated, such as the
        mean over a spot's neighbours or over a set of genes; None = as it is.
    normalise
        Makes log values of counts, CSR (spots, all genes) of both.

    Returns
    -------
    ndarray
        float64 (genes asked for, or columns that `read` gives), in [0, 1]; 0 where the halves do
        not agree at all; NaN where the counts have no variance.

    Raises
    ------
    ValueError
        If counts are negative or not whole, or `splits` is below 1.
    """
    whole = sparse.csr_matrix(counts, copy=True)
    data = np.asarray(whole.data, dtype=np.float64)
    if not np.array_equal(data, np.rint(data)) or (data < 0).any():
        raise ValueError("counts must be whole and not negative")
    if splits < 1:
        raise ValueError("splits must be at least 1")
    whole.data = data.astype(np.int64)
    columns = np.arange(whole.shape[1]) if genes is None else np.asarray(genes, dtype=np.int64)
    rng = np.random.default_rng(seed)

    def values(table: sparse.csr_matrix) -> npt.NDArray[np.floating]:
        log: npt.NDArray[np.float32] = normalise(table)[:, columns].toarray()
        return log if read is None else np.asarray(read(log))

    measured = values(whole)
    total = np.zeros(measured.shape[1])
    for _ in range(splits):
        half, other = whole.copy(), whole.copy()
        half.data = rng.binomial(whole.data, 0.5)
        other.data = whole.data - half.data
        correlation = pearson_per_gene(values(half), values(other))
        # A half without variance has no reliability.
        total += np.nan_to_num(correlation, nan=0.0)
    r = np.clip(total / splits, 0, 1)
    ceiling = np.sqrt(2 * r / (1 + r))
    ceiling[np.ptp(measured, axis=0) == 0] = np.nan
    return ceiling
