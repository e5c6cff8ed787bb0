"""What is predicted or tiled: a slide file, or an object of another package with what it brings.

A WSIData of LazySlide brings its tissue and its tiles, a SpatialData its spots, an AnnData its
spots. Everything after this module sees an open slide, spot centres and outlines of tissue, and
does not ask where they are from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from anndata import AnnData

from hypergene.errors import UsageError
from hypergene.pipeline.options import with_overrides
from hypergene.slide import Slide, TissueOutlines, holder_of, image_name, open_slide
from hypergene.st import SpotCentres, centres_of_anndata, centres_of_shapes, outlines_of_shapes

if TYPE_CHECKING:
    from spatialdata import SpatialData
    from wsidata import WSIData

    SlideLike: TypeAlias = str | PathLike[str] | WSIData | SpatialData | AnnData

_TISSUES = "tissues"
"""Shapes that LazySlide outlines the tissue with."""


class InputOptions(Protocol):
    """Options that say what to take of a slide."""

    @property
    def coords(self) -> str | Path | None:
        """A file of spot centres."""
        ...

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of level 0."""
        ...

    @property
    def tissue(self) -> str:
        """Where the tissue mask is from."""
        ...


@dataclass(frozen=True, eq=False)
class SlideInput:
    """An open slide, and which spots and tissue of it are meant.

    Attributes
    ----------
    slide
        Open; whoever asked for it closes it.
    folder
        Beside the slide file; None = there is none.
    coords
        Spot centres or a file of them; None = a lattice is laid.
    tissue
        Outlines, or as :func:`hypergene.pipeline.placement.tissue_mask` knows it.
    named
        What was asked for beside the options, for the record.
    """

    slide: Slide
    folder: Path | None
    coords: str | Path | SpotCentres | None
    tissue: str | TissueOutlines
    named: Mapping[str, str]

    def arguments(self, options: Any) -> dict[str, Any]:
        """Return the options of a run (a dataclass) and what was asked for beside them."""
        return {**asdict(options), **self.named}

    def beside(self, out: str | PathLike[str] | None) -> Path:
        """Return the folder for results: `out`, or the slide's own.

        Raises
        ------
        UsageError
            The slide is in no file, and `out` is not given.
        """
        if out is not None:
            return Path(out)
        if self.folder is None:
            raise UsageError(
                "The slide is an image of a SpatialData, so there is no folder beside it.",
                hint="Say where the results go, with out=.",
            )
        return self.folder


def open_input(
    slide: SlideLike,
    options: InputOptions,
    *,
    image: str | None = None,
    shapes: str | None = None,
    spots: AnnData | None = None,
) -> SlideInput:
    """Open a slide and look for the spots and the tissue that are asked for.

    Parameters
    ----------
    slide
        As :func:`hypergene.slide.open_slide` takes it. An AnnData also brings its spots; a WSIData
        with the shapes ``tissues`` brings them as its tissue, where the options say ``"auto"``.
    options
        See :class:`InputOptions`. Shapes of a WSIData or SpatialData are tissue, too, if `tissue`
        names them.
    image
        The slide among the images of a SpatialData.
    shapes
        Shapes of a WSIData or SpatialData whose centres are the spots.
    spots
        An AnnData whose spots are the spots.

    Raises
    ------
    HypergeneError
        As :func:`hypergene.slide.open_slide`; and if spots are given in two ways, or there are no
        such shapes.
    """
    holder = holder_of(slide)
    held: Any = slide
    given = {
        "coords": options.coords if spots is None else "an AnnData",
        "shapes": shapes,
        "the spots of the AnnData": "" if holder == "anndata" else None,
    }
    ways = [name for name, value in given.items() if value is not None]
    if len(ways) > 1:
        raise UsageError(f"Spots are given twice: by {' and by '.join(ways)}.", hint="Give one.")
    if shapes is not None and holder not in ("wsidata", "spatialdata"):
        raise UsageError(
            "shapes= names shapes of a WSIData or SpatialData, and the slide is none.",
            hint="Give spot centres with coords=.",
        )
    opened = open_slide(slide, mpp=options.mpp, image=image)
    try:
        picture = image_name(held, image) if holder == "spatialdata" else None
        centres: SpotCentres | None = None
        if shapes is not None:
            mpp = (opened.mpp.x, opened.mpp.y)
            centres = centres_of_shapes(held, shapes, image=picture, mpp=mpp)
        elif spots is not None or holder == "anndata":
            centres = centres_of_anndata(held if spots is None else spots)
        tissue = _tissue(held, options.tissue, picture)
    except BaseException:
        opened.close()
        raise
    named = {"image": picture, "shapes": shapes, "coords": None if shapes else centres}
    return SlideInput(
        opened,
        None if holder == "spatialdata" else opened.path.parent,
        options.coords if centres is None else centres,
        tissue,
        {name: str(value) for name, value in named.items() if value is not None},
    )


def _tissue(held: Any, tissue: str, image: str | None) -> str | TissueOutlines:
    """Return the shapes that are meant by `tissue`, or `tissue` itself."""
    holder = holder_of(held)
    if holder == "wsidata" and tissue == "auto" and _TISSUES in held.shapes:
        return outlines_of_shapes(held, _TISSUES, image=None)
    if holder in ("wsidata", "spatialdata") and tissue in held.shapes:
        return outlines_of_shapes(held, tissue, image=image)
    return tissue


Options = TypeVar("Options", bound=InputOptions)


def settle(options: Options, overrides: Mapping[str, Any]) -> tuple[Options, AnnData | None]:
    """Return options with single ones over them, and the AnnData that ``coords`` may be.

    Raises
    ------
    UsageError
        There is no option of such a name.
    """
    spots = overrides.get("coords")
    if not isinstance(spots, AnnData):
        return with_overrides(options, overrides), None
    rest = {name: value for name, value in overrides.items() if name != "coords"}
    return with_overrides(options, rest), spots
