"""What options may look like when they come from Python instead of the command line."""

from __future__ import annotations

from collections.abc import Iterable


def as_tuple(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return several texts as a tuple, and a single one as a tuple of one, not of its letters."""
    return (values,) if isinstance(values, str) else tuple(values)
