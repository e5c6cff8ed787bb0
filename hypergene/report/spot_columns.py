"""What a prediction says of each spot beside expression, as layers of a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SpotColumn:
    """One number a spot that can be looked at.

    Attributes
    ----------
    key
        The column of ``obs``.
    label
        What it is called on the page.
    unit
        What its numbers mean.
    values
        (n,) float64; NaN = unknown. Of a category its number.
    limits
        What colours run between; None = 1st to 99th percentile.
    categories
        Names of the categories; () = a number.
    """

    key: str
    label: str
    unit: str
    values: NDArray[np.float64]
    limits: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()


_SHARE = (0.0, 1.0)
_KNOWN: dict[str, tuple[str, str, tuple[float, float] | None]] = {
    "ood_score": ("OOD score", "share of reference spots that look less unusual, 0 to 1", _SHARE),
    "radius": ("radius", "hyperbolic distance to the origin: specific tissue lies far", None),
    "tissue_fraction": ("tissue fraction", "share of the spot's area on tissue, 0 to 1", _SHARE),
    "archetype": ("archetype", "number of the tissue state that the spot is most like", None),
    "archetype_ood": ("archetype OOD", "share of training spots nearer to one, 0 to 1", _SHARE),
    "focus": ("focus", "grey levels²: low is blurred", None),
    "saturation": ("saturation", "0 to 1", None),
    "brightness": ("brightness", "0 to 1", None),
    "pen": ("pen ink", "1 = ink on the spot", _SHARE),
    "readable": ("readable", "0 = a tile of the spot could not be decoded", _SHARE),
    "in_tissue": ("in tissue", "1 = enough of the spot's area is tissue", _SHARE),
}
# Yes or no, which says nothing where all spots say the same.
_FLAGS = ("pen", "readable", "in_tissue")


def spot_columns(obs: pd.DataFrame) -> list[SpotColumn]:
    """Return the columns of a prediction's ``obs`` that make a map, in the order of the page."""
    likeness = {
        name: (name.replace("_", " "), "how much the spot is like it, 0 to 1", _SHARE)
        for name in obs
        if isinstance(name, str) and name.startswith("archetype_") and name not in _KNOWN
    }
    found = []
    for key, (label, unit, limits) in (_KNOWN | likeness).items():
        if key not in obs or (key in _FLAGS and obs[key].nunique() < 2):
            continue
        column = obs[key]
        if isinstance(column.dtype, pd.CategoricalDtype):
            names = tuple(map(str, column.cat.categories))
            codes = column.cat.codes.to_numpy(dtype=np.float64, copy=True)
            codes[codes < 0] = np.nan
            found.append(SpotColumn(key, label, unit, codes, (0, len(names) - 1), names))
        elif pd.api.types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            found.append(SpotColumn(key, label, unit, values, limits))
    return found
