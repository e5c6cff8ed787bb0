"""Opening the slide that a sample's data lie on, at the resolution that somebody states."""

from __future__ import annotations

from typing import Any, Protocol

from hypergene.errors import DataError, ResolutionError
from hypergene.slide import Slide, open_slide
from hypergene.st.sample import Sample


class Annotated(Protocol):
    """Anything that carries a canonical AnnData's ``uns``."""

    @property
    def uns(self) -> Any:
        """Its ``uns``."""


def open_image(sample: Sample, data: Annotated, *, mpp: float | None = None) -> Slide:
    """Open a sample's slide.

    Microns per pixel are those of the sheet, else `mpp`, else the slide's own, else those that the
    data state (scale factors, metadata).

    Parameters
    ----------
    sample
        With a slide.
    data
        Its canonical data; only ``uns["hypergene"]["mpp"]`` is looked at.
    mpp
        µm per level-0 px for slides of which the sheet does not say it.

    Raises
    ------
    DataError
        If there is no slide.
    SlideError, ResolutionError
        If it cannot be opened, or nobody states its resolution.
    """
    if sample.slide is None:
        raise DataError(
            f"The sample {sample.sample} has no slide.",
            hint="Name its full-resolution image in the samples sheet's column 'slide'.",
        )
    given = sample.mpp or mpp
    try:
        return open_slide(sample.slide, mpp=given)
    except ResolutionError:
        stated = data.uns["hypergene"].get("mpp")
        if given is not None or stated is None:
            raise
        return open_slide(sample.slide, mpp=sum(stated) / 2)
