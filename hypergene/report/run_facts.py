"""How a prediction was made, as rows of a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def run_facts(about: Mapping[str, Any], *, without: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return names and values as text, those inside others behind a dot (``model.sha256``).

    Parameters
    ----------
    about
        Plain values, arrays and mappings of them.
    without
        Names at the top to leave out.
    """
    rows: list[tuple[str, str]] = []
    for key in about:
        if key in without:
            continue
        value = about[key]
        if isinstance(value, Mapping):
            rows += [(f"{key}.{name}", text) for name, text in run_facts(value)]
        else:
            rows.append((str(key), _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray | list | tuple):
        return ", ".join(_text(one) for one in np.asarray(value, dtype=object).ravel()) or "none"
    return str(value)
