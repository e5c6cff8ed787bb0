"""What held-out data say of each gene, as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

MEANING = {
    "A": "may be read: held-out correlation well above 0 and at least half of its noise ceiling",
    "B": "may be read with care: held-out correlation above 0.1 and a quarter of its noise ceiling",
    "C": "a trend at best",
    "refuse": "not to be read: not shown to be better than nothing, or never held out",
}
"""What may be read off a gene of each class."""

_NUMBERS = {
    "heldout_pcc": "r",
    "heldout_low": "low",
    "heldout_high": "high",
    "ceiling_pcc": "ceiling",
    "coverage_80": "coverage",
}


def gene_reliability(var: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what is known of each gene, in the order of `var`.

    Returns
    -------
    list of dict
        ``r``, ``low``, ``high`` (held-out Pearson correlation and its 95 % interval), ``ceiling``,
        ``coverage`` (of 80 % intervals): float, None = unknown; ``class``, ``readable_at`` and
        ``gene_id``: text, "" = unknown.
    """
    return [_known(row) for row in var.to_dict("records")]


def _known(row: Mapping[Any, Any]) -> dict[str, Any]:
    numbers = {name: _number(row.get(column)) for column, name in _NUMBERS.items()}
    texts = {
        "class": _text(row.get("reliability")),
        "readable_at": _text(row.get("readable_at")),
        "gene_id": _text(row.get("gene_ids")),
    }
    return numbers | texts


def _number(value: Any) -> float | None:
    return round(float(value), 4) if value is not None and math.isfinite(value) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def held_out_sentence(about: Mapping[str, Any]) -> str:
    """Say what the genes' correlations were held out of.

    Parameters
    ----------
    about
        A prediction's ``uns["hypergene"]``; ``model`` with ``validation`` (``patient``,
        ``section`` or ``none``) and ``interval``, where the prediction says so.
    """
    model = about.get("model", {})
    held_out = {
        "patient": "Correlations are those on patients that were not trained on.",
        "section": "Correlations are those on other sections of patients that were trained on, "
        "which flatters: a new patient is harder.",
        "none": "Nothing was held out when this model was trained.",
    }.get(str(model.get("validation", "")))
    if held_out is None:
        return (
            "This prediction does not say whether patients or only sections were held out: see "
            "the model's card."
        )
    interval = {
        "patient": " Intervals are over patients and blocks of 1 mm of their spots.",
        "spot-block": " Intervals are over blocks of 1 mm of spots of one patient, and say "
        "nothing of the next patient.",
    }.get(str(model.get("interval", "")), "")
    return held_out + interval
