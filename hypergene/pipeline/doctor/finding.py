"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of ``hypergene doctor``.

    Attributes
    ----------
    group
        What was looked at: ``"python"``, ``"torch"``, ``"slides"``, ``"packages"``, ``"disk"``,
        ``"machine"``, ``"hub"``, ``"model"``.
    code
        Which check of the group, for machines; stable between versions.
    level
        ``"pass"``; ``"warn"``: hypergene works, with less than it could; ``"fail"``: something
        does not work that a prediction needs, or that was set up and is wrong (a token).
    message
        One sentence, with the figures.
    fix
        One sentence: what to do; empty if nothing is wrong.
    facts
        The figures alone, as plain values; their keys end in their units.
    """

    group: str
    code: str
    level: Level
    message: str
    fix: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
