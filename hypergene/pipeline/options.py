"""What options may look like when they come from Python instead of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from hypergene.errors import UsageError

Options = TypeVar("Options")


def as_tuple(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return several texts as a tuple, and a single one as a tuple of one, not of its letters."""
    return (values,) if isinstance(values, str) else tuple(values)


def with_overrides(options: Options, overrides: Mapping[str, Any]) -> Options:
    """Return options (a dataclass) with single ones over them.

    Raises
    ------
    UsageError
        There is no option of such a name.
    """
    known = [field.name for field in fields(options)]  # type: ignore[arg-type]
    for name in overrides:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"There is no option {name}=.",
                hint=f"Did you mean {close[0]}=?" if close else f"There are {', '.join(known)}.",
            )
    return replace(options, **overrides)  # type: ignore[type-var]
