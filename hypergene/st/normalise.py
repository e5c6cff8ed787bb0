"""Counts: what may pass as such, what other values are, and library normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hypergene.errors import DataError, NotCountsError, first_line

TARGET_TOTAL = 10_000
UNITS = "ln(1 + counts per 10,000), scaled over all genes measured in the spot"

_LARGEST = int(np.iinfo(np.int32).max)
_SPOTS_LOOKED_AT = 500
# No logarithm of a count is larger; beyond it the exponential would overflow too.
_LARGEST_LOG = 50.0
_BASES = {"ln": np.e, "log2": 2.0, "log10": 10.0}

Code = Literal["counts", "log1p_counts", "log1p_normalised", "normalised", "scaled", "fractional"]


@dataclass(frozen=True)
class Kind:
    """What the values of a matrix are.

    Attributes
    ----------
    code
        ``counts``; ``log1p_counts`` (of raw counts, whatever the base); ``log1p_normalised`` (of
        counts scaled spot by spot, whatever the base); ``normalised`` (counts scaled spot by
        spot); ``scaled`` (centred genes: negative values); ``fractional`` (none of these).
    text
        The same in words, to stand after "these values are".
    """

    code: Code
    text: str


def kind_of_values(matrix: npt.ArrayLike | sparse.spmatrix) -> Kind:
    """Tell counts from what has been made of them; up to 500 spots are looked at.

    Library normalisation multiplies the counts of a spot by one factor, so its values are whole
    multiples of the smallest; if all genes are there, the totals of the spots agree as well. A
    logarithm is undone first, for the bases e, 2 and 10.

    Parameters
    ----------
    matrix
        Dense or sparse, shape (spots, genes), finite.

    Returns
    -------
    Kind
        ``counts`` if all values are whole and none is negative.
    """
    values = sparse.csr_matrix(matrix)
    if np.array_equal(values.data, np.rint(values.data)) and not (values.data < 0).any():
        return Kind("counts", "counts")
    chosen = np.unique(np.linspace(0, values.shape[0] - 1, _SPOTS_LOOKED_AT).astype(np.int64))
    values = values[chosen].astype(np.float64)
    values.eliminate_zeros()
    if (values.data < 0).any():
        return Kind("scaled", _scaled(values))
    if (total := _common_total(values)) is not None or _has_steps(values):
        return Kind("normalised", f"counts scaled to {_total_text(total)} in every spot")
    if values.nnz and values.data.max() < _LARGEST_LOG:
        for name, base in _BASES.items():
            raw = values.copy()
            raw.data = np.expm1(values.data * np.log(base))
            if _are_whole(raw.data):
                return Kind("log1p_counts", f"{name}(1 + counts)")
            if (total := _common_total(raw)) is not None or _has_steps(raw):
                return Kind(
                    "log1p_normalised",
                    f"{name}(1 + counts scaled to {_total_text(total)} in every spot)",
                )
    return Kind("fractional", "neither counts nor any usual normalisation of them")


def _are_whole(values: npt.NDArray[np.float64]) -> bool:
    """Tell whether values are whole numbers, as far as float32 and a logarithm keep them."""
    return bool((np.abs(values - np.rint(values)) <= 1e-4 * np.maximum(values, 1)).all())


def _common_total(values: sparse.csr_matrix) -> float | None:
    """Return the total that all spots have, if they have one (and there are several)."""
    totals = np.asarray(values.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if len(totals) < 5 or np.ptp(totals) > 0.01 * totals.max():  # rounded to two digits
        return None
    return float(np.median(totals))


def _has_steps(values: sparse.csr_matrix) -> bool:
    """Tell whether nearly all spots hold whole multiples of their smallest value.

    Multiples of 300 and more are left out: rounding leaves too little of their fraction.
    """
    seen = whole = 0
    for start, stop in zip(values.indptr[:-1], values.indptr[1:], strict=True):
        spot = values.data[start:stop]
        multiples = spot / spot.min() if len(spot) else spot
        multiples = multiples[(multiples > 1.5) & (multiples < 300)]
        if len(multiples) >= 3:
            off = np.abs(multiples - np.rint(multiples))
            seen += 1
            whole += bool((off < 1e-3 + 3e-4 * multiples).all())
    return seen >= 3 and whole >= 0.9 * seen


def _scaled(values: sparse.csr_matrix) -> str:
    """Describe values of which some are negative."""
    mean = np.asarray(values.mean(axis=0)).ravel()
    square = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    varies = spread > 0
    if varies.any() and (np.abs(mean[varies]) < 0.25 * spread[varies]).mean() > 0.9:
        return "z-scored or centred genes, around 0"
    return "scaled or corrected values, partly negative"


def _total_text(total: float | None) -> str:
    if total is None:
        return "one total"
    return f"a total of {total:,.0f}" if total >= 100 else f"a total of {total:.4g}"


def check_counts(counts: npt.ArrayLike | sparse.spmatrix, source: str) -> sparse.csr_matrix:
    """Return the counts as integers, or say what they are instead.

    Parameters
    ----------
    counts
        Dense or sparse, shape (spots, genes), any number type. It is left as it is.
    source
        File, and place in it, for messages.

    Returns
    -------
    scipy.sparse.csr_matrix
        int32, shape (spots, genes), no stored zeros, sorted indices.

    Raises
    ------
    NotCountsError
        Negative or fractional values; what they look like is said.
    DataError
        NaN, infinite or beyond 32 bits; not numbers at all; or a sparse matrix whose indices point
        outside it.
    """
    matrix = _csr(counts, source)
    values = matrix.data
    not_finite = values.size - int(np.isfinite(values).sum())
    if not_finite:
        raise DataError(
            f"{source} holds {not_finite} values that are NaN or infinite.",
            hint="Give raw counts, 0 where nothing was counted.",
        )
    if values.size and values.min() < 0:
        raise NotCountsError(
            f"{source} holds negative values ({values.min():g} is the smallest): they look like "
            f"{kind_of_values(matrix).text}.",
            hint="Give raw counts, not scaled or centred values.",
        )
    if values.dtype.kind == "f" and (fractional := values != np.rint(values)).any():
        raise NotCountsError(
            f"{source} holds values that are not integers ({values[fractional][0]:g}): they look "
            f"like {kind_of_values(matrix).text}.",
            hint="Give raw counts, not normalised or log values.",
        )
    if values.size and values.max() > _LARGEST:
        raise DataError(
            f"{source} holds {values.max():g}, which is too large for a count.",
            hint="Give raw counts; the file may be damaged.",
        )
    return matrix.astype(np.int32)


def _csr(counts: npt.ArrayLike | sparse.spmatrix, source: str) -> sparse.csr_matrix:
    """Return a canonical CSR matrix of integers or floats that shares nothing with `counts`."""
    if sparse.issparse(counts) and hasattr(counts, "check_format"):
        try:
            # Beyond this point scipy trusts the indices, and would read wherever they point.
            counts.check_format(full_check=True)
        except Exception as reason:
            raise DataError(
                f"{source} is no valid sparse matrix ({first_line(reason)}).",
                hint="The file is damaged: copy or write it again.",
            ) from None
    try:
        if np.iscomplexobj(counts):
            raise TypeError("complex numbers count nothing")
        if not sparse.issparse(counts):
            counts = np.asarray(counts)
            if counts.dtype == np.float16 or counts.dtype.kind not in "biuf":
                counts = counts.astype(np.float64)
        matrix = sparse.csr_matrix(counts, copy=True)
        if matrix.dtype.kind in "biu" and not matrix.has_canonical_format:
            matrix = matrix.astype(np.float64)  # sums of duplicates must not overflow
    except (TypeError, ValueError):
        raise DataError(f"{source} holds no numbers.", hint="Give raw counts.") from None
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
