"""One section: a slide, and what was measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Species = Literal["human", "mouse"]


@dataclass(frozen=True)
class Sample:
    """One section: a slide and the data measured on it.

    Attributes
    ----------
    sample
        Unique name.
    patient
        Who it is from; None if not said. Splits by patient need it.
    slide
        The full-resolution image; None where there are counts only, which serve the gene side.
    data
        Counts, in `format`.
    format
        A key of :data:`hypergene.st.formats.FORMATS`.
    mpp
        µm per level-0 px, if the sheet gives it; None leaves it to the slide, then to the data.
    section
        Name of the section, if it differs from the sample's.
    spots
        Positions, for formats that keep them apart and not in the usual place.
    spot_um
        Side of the square spots, in µm, that bins (Visium HD) or transcripts (Xenium) are pooled
        to; None = the format's own.
    species
        Whose genes to take where one table holds those of two species; None = there is one.
    """

    sample: str
    patient: str | None
    slide: Path | None
    data: Path
    format: str
    mpp: float | None
    section: str | None
    spots: Path | None = None
    spot_um: float | None = None
    species: Species | None = None
