"""What the course of a run is watched by: means over an epoch, and features that must be finite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from hypergene.errors import HypergeneError
from hypergene.training.assess import EncodedSection


class EpochMeans:
    """Means of what steps report, each over the steps that report it."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, row: Mapping[str, float]) -> None:
        """Add what a step reports."""
        for name, value in row.items():
            self._values[name].append(value)

    def row(self) -> dict[str, float]:
        """Return the means by name; a sum over steps for ``skipped``."""
        return {
            name: sum(values) if name == "skipped" else float(np.mean(values))
            for name, values in self._values.items()
        }


def refuse_not_finite(encoded: Sequence[EncodedSection]) -> None:
    """Refuse sections with features that are not finite, before anything is fitted to them.

    Raises
    ------
    HypergeneError
        There are some: the message names section and spot.
    """
    for one in encoded:
        for what, features in (
            ("spot", one.features),
            ("spot of the context", one.context.features),
        ):
            wrong = np.flatnonzero(~np.isfinite(features).all(1))
            if len(wrong):
                raise HypergeneError(
                    f"The features of {len(wrong):,} spots of {one.section.name} are not finite "
                    f"(the first is {what} {wrong[0]}).",
                    hint="Look at the slide there; delete the cache if it is damaged.",
                )
