"""What may be read off a prediction that was held out: A, B, C or nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELIABLE_ABOVE = 0.1
"""A unit is reliable if the lower end of its held-out correlation's 95 % interval is above this."""
CLASSES = ("A", "B", "C", "refuse")
READABLE = ("A", "B")
"""Classes of what may be read at all."""
_LEAST = {"A": (0.3, 0.5), "B": (RELIABLE_ABOVE, 0.25)}


def reliability_classes(pcc: ArrayLike, low: ArrayLike, ceiling: ArrayLike) -> NDArray[np.str_]:
    """Sort genes, or other units, by what may be read off their prediction.

    ``A``: the interval's lower end is above 0.3, and the correlation at least half of its ceiling;
    ``B``: above 0.1, and at least a quarter; ``C``: above 0, a trend at best; ``refuse``: not shown
    to be better than nothing, or never held out.

    Parameters
    ----------
    pcc, low, ceiling
        (units,): held-out correlation, lower end of its 95 % interval, noise ceiling; NaN where
        unknown.

    Returns
    -------
    ndarray
        (units,) text.
    """
    value, least, most = (np.asarray(each, np.float64) for each in (pcc, low, ceiling))
    share = np.divide(value, most, out=np.full(len(value), np.nan), where=most > 0)
    found = np.where(least > 0, "C", "refuse")
    for name in ("B", "A"):
        above, reached = _LEAST[name]
        found = np.where((least > above) & (share >= reached), name, found)
    return found
