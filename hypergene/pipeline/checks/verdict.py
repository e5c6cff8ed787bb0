"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["warn", "fail"]


@dataclass(frozen=True)
class Verdict:
    """One thing that is wrong with a sample or a cohort.

    Attributes
    ----------
    level
        ``"fail"``: training on it would be wrong or impossible; ``"warn"``: look at it.
    code
        What it is, for machines: ``"swapped_axes"``, ``"hires_image"``, ``"same_tissue"`` ...
    samples
        The samples concerned; none = the cohort.
    message
        One sentence: what is wrong, with the figures and the file.
    fix
        One sentence: what to do.
    """

    level: Level
    code: str
    samples: tuple[str, ...]
    message: str
    fix: str
