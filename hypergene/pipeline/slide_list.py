"""Which slides there are, where no expression is asked for: a sheet, a folder, or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypergene.errors import DataError, ResolutionError, UsageError
from hypergene.slide import Slide, open_slide
from hypergene.st import Sample, open_image, read_sample, read_samples

SLIDES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif"}
    | {".png", ".jpg", ".jpeg"}
)
"""Endings by which a slide is known in a folder."""


@dataclass(frozen=True)
class NamedSlide:
    """A slide to learn from.

    Attributes
    ----------
    name
        Of the sample, or of the file without its ending.
    path
        The file.
    sample
        The sample that it belongs to, where a sheet says so.
    """

    name: str
    path: Path
    sample: Sample | None = None

    def open(self, mpp: float | None) -> Slide:
        """Open it at the resolution that the sheet, else `mpp`, else the file or the data state.

        Raises
        ------
        SlideError, ResolutionError
            It cannot be opened, or nobody states its resolution.
        """
        given = (self.sample.mpp if self.sample is not None else None) or mpp
        try:
            return open_slide(self.path, mpp=given)
        except ResolutionError:
            if self.sample is None or given is not None:
                raise
            return open_image(self.sample, read_sample(self.sample))


def list_slides(sources: Sequence[Path], without: Sequence[str] = ()) -> list[NamedSlide]:
    """Find the slides of a samples sheet, of folders, or slide files, each once.

    Parameters
    ----------
    sources
        Any mix of: a CSV sheet or folder of samples (as ``finetune`` takes them; samples without a
        slide are passed over), a folder of slide files, slide files.
    without
        Names that are left out.

    Returns
    -------
    list of NamedSlide
        At least one; samples in the order of their sheet, files of a folder by name.

    Raises
    ------
    UsageError
        Nothing is left, or a name to be left out is not there.
    DataError
        A path does not exist, two slides have one name, or the sheet makes no sense.
    """
    found: dict[str, NamedSlide] = {}
    for slide in (slide for source in sources for slide in _slides_of(Path(source))):
        other = found.setdefault(slide.name, slide)
        if other.path.resolve() != slide.path.resolve():
            raise DataError(
                f"{other.path} and {slide.path} have the same name {slide.name!r}.",
                hint="Rename one, or name them in a samples sheet.",
            )
    unknown = [name for name in without if name not in found]
    if unknown:
        raise UsageError(
            f"There is no slide {unknown[0]!r} to leave out.",
            hint=f"There are {', '.join(found) or 'none'}.",
        )
    left_out = {found[name].path.resolve() for name in without}
    kept = [slide for slide in found.values() if slide.path.resolve() not in left_out]
    if not kept:
        raise UsageError(
            "There is no slide to learn from.", hint="Give slides, or a samples sheet."
        )
    return kept


def _slides_of(source: Path) -> list[NamedSlide]:
    if not source.exists():
        raise DataError(f"There is no {source}.", hint="Check the path.")
    if source.is_dir():
        files = sorted(
            path
            for path in source.iterdir()
            if path.suffix.lower() in SLIDES and not path.name.startswith(".")
        )
        if files:
            return [NamedSlide(path.stem, path) for path in files]
    elif source.suffix.lower() != ".csv":
        return [NamedSlide(source.stem, source)]
    return [
        NamedSlide(sample.sample, sample.slide, sample)
        for sample in read_samples(source)
        if sample.slide is not None
    ]
