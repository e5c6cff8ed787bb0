"""What is known of one sample after it was opened: a row of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hypergene.st import Sample


@dataclass
class SampleRow:
    """One sample; what could not be found out is None.

    Attributes
    ----------
    sample, patient, format
        As the sheet says.
    slide, data
        Its files; no slide where there are counts only.
    platform, platform_reason
        The platform guessed, and from what (see :mod:`hypergene.pipeline.checks.platform`).
    layout
        Fields of :class:`hypergene.spots.Layout`, where the data state one: the model's lattice.
    spots, genes
        Spots on tissue with counts; genes measured.
    median_umi
        Median counts a spot.
    species
        Whose genes they are, ``"human"``, ``"mouse"`` ...
    counts_from
        Where in the file the counts were found.
    dropped
        Spots left out, by reason.
    mpp, mpp_source
        µm per level-0 px of the slide, mean of both axes, and who says so.
    pitch_px, pitch_um
        Distance between neighbouring spots, measured from the positions.
    on_tissue
        Share of spots that lie on tissue with at least half of their area, 0..1.
    orientation, orientation_reason
        Name of the symmetry that the positions need (``"identity"``: none, they are right), or
        ``"not enough evidence"``; and the figures it rests on.
    """

    sample: str
    patient: str | None
    format: str
    slide: Path | None
    data: Path
    platform: str | None = None
    platform_reason: str | None = None
    layout: dict[str, Any] | None = None
    spots: int | None = None
    genes: int | None = None
    median_umi: float | None = None
    species: str | None = None
    counts_from: str | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    mpp: float | None = None
    mpp_source: str | None = None
    pitch_px: float | None = None
    pitch_um: float | None = None
    on_tissue: float | None = None
    orientation: str | None = None
    orientation_reason: str | None = None

    @classmethod
    def of(cls, sample: Sample) -> SampleRow:
        """Return the row of a sample that was not opened yet."""
        return cls(sample.sample, sample.patient, sample.format, sample.slide, sample.data)

    @property
    def read(self) -> bool:
        """Whether the data could be read."""
        return self.spots is not None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: paths as text, numbers to four digits."""
        plain = {name: _plain(value) for name, value in asdict(self).items()}
        return plain | {"slide": None if self.slide is None else str(self.slide)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value
