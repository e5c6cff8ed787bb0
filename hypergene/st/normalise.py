"""Counts: what may pass as such, and their library normalisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hypergene.errors import DataError

TARGET_TOTAL = 10_000
UNITS = "ln(1 + counts per 10,000), scaled over all genes measured in the spot"

_LARGEST = int(np.iinfo(np.int32).max)


def check_counts(counts: npt.ArrayLike | sparse.spmatrix, source: str) -> sparse.csr_matrix:
    """Return the counts as integers, or say why they are none.

    Parameters
    ----------
    counts
        Dense or sparse, shape (spots, genes), any number type.
    source
        File, and place in it, for messages.

    Returns
    -------
    scipy.sparse.csr_matrix
        int32, shape (spots, genes), no stored zeros, sorted indices.

    Raises
    ------
    DataError
        NaN, infinite, negative, fractional or beyond 32 bits; or not numbers at all.
    """
    try:
        matrix = sparse.csr_matrix(counts, copy=True)
        values = np.asarray(matrix.data)
        integers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{source} holds no numbers.", hint="Give raw counts.") from None
    not_finite = int((~np.isfinite(integers)).sum())
    if not_finite:
        raise DataError(
            f"{source} holds {not_finite} values that are NaN or infinite.",
            hint="Give raw counts, 0 where nothing was counted.",
        )
    if (integers < 0).any():
        raise DataError(
            f"{source} holds negative values ({integers.min():g} is the smallest).",
            hint="Give raw counts, not scaled or centred values.",
        )
    fractional = integers != np.rint(integers)
    if fractional.any():
        raise DataError(
            f"{source} holds values that are not integers ({integers[fractional][0]:g}).",
            hint="Give raw counts, not normalised or log values.",
        )
    if integers.size and integers.max() > _LARGEST:
        raise DataError(f"{source} holds {integers.max():g}, which is too large for a count.")
    matrix.data = integers.astype(np.int32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def log1p_cp10k(counts: npt.ArrayLike | sparse.spmatrix) -> sparse.csr_matrix:
    """Scale each spot to 10,000 counts over all genes given, then take ln(1 + value).

    Give *all* genes measured: dividing by the total of a chosen few would put their own
    biology into the depth. A spot without counts stays zero.

    Parameters
    ----------
    counts
        Dense or sparse, shape (spots, genes), not negative.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32, same shape.
    """
    matrix = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    per_value = np.repeat(totals, np.diff(matrix.indptr))
    # Stored zeros of an empty spot would be divided by its total of zero.
    np.divide(matrix.data * TARGET_TOTAL, per_value, out=matrix.data, where=per_value > 0)
    matrix.data = np.log1p(matrix.data)
    return matrix.astype(np.float32)
