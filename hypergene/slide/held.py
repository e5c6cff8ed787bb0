"""Slides that objects of other packages hold: WSIData, SpatialData, AnnData.

None of these packages is imported unless the object is its own; they are known by their class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hypergene.errors import ResolutionError, SlideError, UsageError
from hypergene.slide.array_reader import ArrayReader
from hypergene.slide.resolution import Mpp, choose, given_mpp
from hypergene.slide.slide import Slide
from hypergene.slide.slide import open_slide as open_file

Holder = Literal["wsidata", "spatialdata", "anndata"]

_CLASSES: dict[tuple[str, str], Holder] = {
    ("wsidata", "WSIData"): "wsidata",
    ("spatialdata", "SpatialData"): "spatialdata",
    ("anndata", "AnnData"): "anndata",
}
_SAME = 1e-3
"""Two statements of microns per pixel are one if they differ by less than this share."""
_MICROMETRE = frozenset(
    {"micrometer", "micrometers", "micrometre", "micrometres", "micron", "microns", "um", "µm"}
    | {"μm"}
)
"""Names of coordinate systems that state their unit (case ignored)."""
_CHANNELS = {"r": 0, "red": 0, "g": 1, "green": 1, "b": 2, "blue": 2, "a": 3, "alpha": 3}
_SQUARE = 1e-6


def holder_of(slide: object) -> Holder | None:
    """Tell whose object a slide is; None = none of those known, a path for instance."""
    for kind in type(slide).__mro__:
        package = kind.__module__.partition(".")[0]
        if (package, kind.__name__) in _CLASSES:
            return _CLASSES[package, kind.__name__]
    return None


def open_slide(
    slide: str | PathLike[str] | Any, *, mpp: float | None = None, image: str | None = None
) -> Slide:
    """Open a slide and settle its resolution.

    Of files, OpenSlide reads the formats it knows the vendor of; other TIFF and OME-TIFF are
    decoded tile by tile with tifffile; PNG and JPEG are decoded once, whole. The content decides,
    not the name.

    Parameters
    ----------
    slide
        One of

        - a file;
        - a ``wsidata.WSIData``: its file, at its microns per pixel where those differ from the
          file's (``set_mpp``);
        - a ``spatialdata.SpatialData`` with an image (c, y, x), uint8 RGB or RGBA, of one or
          several scales: read block by block. Its microns per pixel are those of a coordinate
          system that is named after its unit (``"microns"``, ``"um"`` ...), or `mpp`;
        - an ``anndata.AnnData``: the file that
          ``uns["spatial"][...]["metadata"]["source_image_path"]`` names.
    mpp
        Microns per px of level 0; wins over what the slide says.
    image
        Name of the image of a SpatialData; needed where it has several.

    Returns
    -------
    Slide
        Open; close it, or use it as a context manager.

    Raises
    ------
    SlideError
        If the slide is missing, empty, damaged or none.
    ResolutionError
        If `mpp` cannot be true, or neither it nor the slide tells the resolution.
    UsageError
        If `slide` is nothing of the kind, or `image` names no image of it.

    Examples
    --------
    >>> import hypergene
    >>> with hypergene.open_slide("slide.svs") as slide:
    ...     slide.mpp.x, slide.dimensions
    (1.0, (1200, 1200))
    """
    holder = holder_of(slide)
    if image is not None and holder != "spatialdata":
        raise UsageError(
            "image= names an image of a SpatialData, and the slide is none.", hint="Leave it out."
        )
    if holder == "wsidata":
        return _of_wsidata(slide, mpp)
    if holder == "spatialdata":
        return _of_spatialdata(slide, mpp, image)
    if holder == "anndata":
        return open_file(_source_image(slide), mpp=mpp)
    if not isinstance(slide, str | PathLike):
        raise UsageError(
            f"A {type(slide).__name__} is no slide.",
            hint="Give a file, or a WSIData, SpatialData or AnnData.",
        )
    return open_file(slide, mpp=mpp)


def _of_wsidata(wsi: Any, mpp: float | None) -> Slide:
    """Open the file of a WSIData; its own mpp is a user's word where the file's is another."""
    path = Path(str(wsi.reader.file))
    if not path.is_file():
        raise SlideError(
            f"The slide file {path} of the WSIData is not there.",
            hint="Open it from where it is now; of a SpatialData, give that itself.",
        )
    slide = (
        _at_its_resolution(path, wsi.properties.mpp) if mpp is None else open_file(path, mpp=mpp)
    )
    height, width = wsi.properties.shape
    if slide.dimensions != (width, height):
        slide.close()
        raise SlideError(
            f"The WSIData shows {width} x {height} px of {path}, which is {slide.dimensions[0]} x "
            f"{slide.dimensions[1]} px: another scene of the file.",
            hint="Give the file itself, or export the scene.",
        )
    return slide


def _at_its_resolution(path: Path, own: float | None) -> Slide:
    """Open a file at its own microns per px, or at a user's, which a WSIData keeps as its own."""
    stated = None if own is None else Mpp(float(own), float(own), "wsidata.mpp")
    if stated is None or not stated.plausible:
        return open_file(path)
    try:
        slide = open_file(path)
    except ResolutionError:
        return open_file(path, mpp=stated)
    # Where the file's px are not square, WSIData knows one side of them.
    if any(math.isclose(axis, stated.x, rel_tol=_SAME) for axis in (slide.mpp.x, slide.mpp.y)):
        return slide
    slide.close()
    return open_file(path, mpp=stated)


def _of_spatialdata(sdata: Any, mpp: float | None, image: str | None) -> Slide:
    name = image_name(sdata, image)
    element = sdata.images[name]
    path = Path(name) if sdata.path is None else Path(sdata.path) / "images" / name
    given = None if mpp is None else given_mpp(mpp)
    origin = f"The image {name!r} of the SpatialData"
    reader = ArrayReader(_levels(element, origin), origin)
    chosen, warnings = choose(
        _stated(element),
        given,
        origin,
        hint="Give mpp=, for instance mpp=0.5; only a coordinate system named after its unit "
        '("microns") is believed.',
    )
    return Slide(path, reader, chosen, warnings)


def image_name(sdata: Any, image: str | None) -> str:
    """Return the name of the one image, or of the one asked for.

    Parameters
    ----------
    sdata
        A SpatialData.
    image
        The name that is asked for, if any.

    Raises
    ------
    UsageError
        If there is no such image, none at all, or several and none is named.
    """
    names = list(sdata.images)
    listed = ", ".join(map(repr, names))
    if image is not None:
        if image not in names:
            raise UsageError(
                f"The SpatialData has no image {image!r}.",
                hint=f"It has {listed}." if names else "It has none.",
            )
        return image
    if not names:
        raise UsageError(
            "The SpatialData has no image.", hint="Add the H&E image, or give the slide's file."
        )
    if len(names) > 1:
        raise UsageError(
            f"The SpatialData has {len(names)} images: {listed}.",
            hint=f"Name the full-resolution H&E, e.g. image={names[0]!r}.",
        )
    return str(names[0])


def _levels(element: Any, origin: str) -> list[Any]:
    """Return the dask arrays (c, y, x) of an image, largest first, channels in the order RGB(A)."""
    # A multi-scale image is a tree of data sets, one a scale, each of one array.
    scales = (
        [next(iter(element[key].values())) for key in element.children]
        if hasattr(element, "children")
        else [element]
    )
    arrays = []
    for scale in scales:
        array = scale.transpose("c", "y", "x")
        order = _channel_order([str(value) for value in array.coords["c"].values], origin)
        data = array.data if hasattr(array.data, "compute") else array.chunk().data
        arrays.append(data if order == list(range(len(order))) else data[order])
    return arrays


def _channel_order(names: list[str], origin: str) -> list[int]:
    """Return where red, green, blue (and alpha) are; numbered channels are in that order."""
    if all(name.isdecimal() for name in names):
        return list(range(len(names)))
    places = {_CHANNELS.get(name.casefold()): place for place, name in enumerate(names)}
    if len(names) not in (3, 4) or set(places) != set(range(len(names))):
        raise SlideError(
            f"{origin} is no colour picture: its channels are {', '.join(names[:8])}.",
            hint="An H&E image has the channels r, g, b (and a).",
        )
    return [places[number] for number in range(len(names))]


def _stated(element: Any) -> list[Mpp]:
    """Return the microns per px of an image in the coordinate systems that state their unit."""
    from spatialdata.transformations import get_transformation

    found = []
    for system, transformation in get_transformation(element, get_all=True).items():
        if str(system).strip().casefold() not in _MICROMETRE:
            continue
        matrix = np.asarray(transformation.to_affine_matrix(("x", "y"), ("x", "y")), np.float64)
        x, y = np.linalg.norm(matrix[:2, :2], axis=0)
        # Sheared pixels have no microns per px.
        if x > 0 and y > 0 and abs(float(matrix[:2, 0] @ matrix[:2, 1])) <= _SQUARE * x * y:
            found.append(Mpp(float(x), float(y), f"spatialdata.{system}"))
    return found


def _source_image(adata: Any) -> Path:
    """Return the slide that an AnnData names, of the one library it has."""
    libraries = adata.uns.get("spatial")
    about = [
        library.get("metadata")
        for library in (libraries.values() if isinstance(libraries, Mapping) else ())
        if isinstance(library, Mapping)
    ]
    named = [
        str(said["source_image_path"])
        for said in about
        if isinstance(said, Mapping) and "source_image_path" in said
    ]
    hint = 'Give the slide and its spots: hypergene.predict("slide.svs", coords=adata).'
    if len(set(named)) > 1:
        raise SlideError(f"The AnnData is of {len(named)} slides.", hint=hint)
    if not named:
        raise SlideError("The AnnData does not say which slide its spots are on.", hint=hint)
    path = Path(named[0])
    if not path.is_file():
        raise SlideError(f"The slide of the AnnData, {path}, is not there.", hint=hint)
    return path
