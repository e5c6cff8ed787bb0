"""Columns of numbers packed into text: small in a page, unpacked by the browser when looked at.

Numbers are rounded to decimals, so that what a page shows is exactly what the file says to as many
digits. Packed are the differences of neighbouring spots, which are small where a map is smooth, as
planes of bytes, deflated. ``templates/prediction.js`` unpacks them.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypergene.errors import DataError

_MOST_DECIMALS = 8
# Codes are differences of two's complement int32: half of their range is left to each sign.
_MOST_CODES = 2**30


@dataclass(frozen=True)
class PackedColumn:
    """One number a spot, as text.

    Attributes
    ----------
    text
        base64 of the zlib stream of `planes` × n bytes, lowest bytes first.
    first
        The least number, in units of the last decimal.
    decimals
        How many are kept.
    planes
        Bytes a difference takes, 0 to 4.
    """

    text: str
    first: int
    decimals: int
    planes: int

    def about(self) -> dict[str, int]:
        """Return what unpacking must know beside the text."""
        return {"first": self.first, "decimals": self.decimals, "planes": self.planes}


def decimals_for(values: ArrayLike, levels: int) -> int:
    """Return how many decimals tell at least `levels` numbers apart between least and greatest.

    Parameters
    ----------
    values
        Numbers; those that are not finite do not count.
    levels
        Fewer than ten times as many numbers are told apart, unless the range is wider without any
        decimals.

    Returns
    -------
    int
        0 to 8.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0
    span = float(np.ptp(known)) or float(abs(known).max()) or 1.0
    return min(max(math.ceil(math.log10(levels / span)), 0), _MOST_DECIMALS)


def pack(values: ArrayLike, decimals: int) -> PackedColumn:
    """Pack one number a spot.

    Parameters
    ----------
    values
        (n,) numbers in the spots' order. Those that are not finite are kept as missing.
    decimals
        How many to keep, 0 to 8. For float32 numbers rounding is that of ``f"{value:.3f}"``: the
        product with a power of ten is exact in float64.

    Raises
    ------
    DataError
        If least and greatest are more than 2**30 units of the last decimal apart.
    """
    numbers = np.asarray(values, np.float64)
    known = np.isfinite(numbers)
    units = np.rint(numbers[known] * 10.0**decimals)
    first = int(units.min()) if units.size else 0
    if units.size and units.max() - first > _MOST_CODES:
        raise DataError(
            f"Numbers from {numbers[known].min():g} to {numbers[known].max():g} do not fit into a "
            f"page with {decimals} decimals.",
            hint="Is a value of the prediction damaged? Predict the slide again.",
        )
    codes = np.zeros(len(numbers), np.int64)
    codes[known] = units.astype(np.int64) - first + 1
    steps = np.diff(codes, prepend=0)
    folded = ((steps << 1) ^ (steps >> 63)).astype("<u4")  # small of either sign: small
    planes = (int(folded.max(initial=0)).bit_length() + 7) // 8
    bytes_of: NDArray[np.uint8] = folded.view(np.uint8).reshape(-1, 4)[:, :planes]
    return PackedColumn(_deflated(bytes_of.T.tobytes()), first, decimals, planes)


def pack_names(names: Sequence[str]) -> str:
    """Return names as base64 of the zlib stream of a JSON list."""
    return _deflated(json.dumps(list(names)).encode())


def summary_of(values: ArrayLike) -> dict[str, Any]:
    """Return what is said of a map in words: least, median, greatest; and what it is coloured by.

    Returns
    -------
    dict
        ``least``, ``median``, ``greatest``; ``low`` and ``high``, the 1st and 99th percentile; all
        None without a finite number.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    names = ("least", "low", "median", "high", "greatest")
    if not known.size:
        return dict.fromkeys(names)
    return dict(zip(names, np.percentile(known, [0, 1, 50, 99, 100]).tolist(), strict=True))


def _deflated(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
