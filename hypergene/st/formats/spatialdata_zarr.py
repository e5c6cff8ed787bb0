"""SpatialData stores: the table of one section's spots, and their shapes in pixels of the image.

Shapes, images and their transformations are read by spatialdata itself (an optional extra that
brings over a hundred packages, so it is imported when a store is read). Of images only the size and
place are looked at: the slide stays a file that the user names, and the spots are brought into the
pixels of the image in the store that is as large as this file. The table is an AnnData and read as
one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError, SlideError, first_line
from hypergene.slide import open_slide
from hypergene.st.formats.anndata_store import Stored, open_stored, zarr_kind
from hypergene.st.formats.h5ad import assemble, refuse_predictions, refuse_spots
from hypergene.st.join import FARTHEST_PX

_log = logging.getLogger(__name__)

_AXES = ("x", "y")
_FINE = 0.9
"""Pixels of an image per unit of the shapes from which the image may be the slide itself."""

_SAME_PX = 1.0
"""Two maps of the spots agree if no spot differs by more."""

_EQUAL = 0.01
"""Spots of one platform are of one size, to within this share."""

Map = npt.NDArray[np.float64]
"""Affine map (3, 3) from the shapes' own coordinates (x, y, 1) to pixels of an image."""


def recognises(data: Path) -> bool:
    """Tell whether a folder is a Zarr store that holds a SpatialData."""
    return zarr_kind(data) == "spatialdata"


def read(data: Path, spots: Path | None = None, slide: Path | None = None) -> AnnData:
    """Read one section.

    Of the images in the store the slide is the one of the same size in px. Without a slide, or such
    an image, it is the finest image, if that is about as fine as the shapes' own coordinates or
    finer; else only smaller copies of the slide are in the store (Space Ranger's hires and lowres),
    and the shapes are in its pixels already.

    Parameters
    ----------
    data
        The Zarr store. Exactly one of its tables annotates shapes or points, of one section.
    spots
        Has no meaning here: positions are in the store.
    slide
        The full-resolution image, of which the size is looked at.

    Returns
    -------
    AnnData
        As :func:`hypergene.st.formats.h5ad.read` of the table, with the positions and the diameter
        (or side) of the shapes; ``uns["hypergene"]`` also has positions_from.

    Raises
    ------
    DataError
        If spatialdata is not installed, the store is damaged, no table or more than one annotates
        spots, the table is of several sections, the shapes are neither circles, squares nor
        points, several images could be the slide, or the counts are none.
    """
    refuse_spots(data, spots)
    if zarr_kind(data) != "spatialdata":
        raise DataError(
            f"{data} is no SpatialData store.", hint="Give the folder that spatialdata wrote."
        )
    _import(data)
    with open_stored(data) as store:
        name = _only_table(store, data)
        table = store.within(f"tables/{name}", f"the table {name!r} of {data}")
        refuse_predictions(table)
        region = _regions(table)[0]
        kind = "shapes" if region in store.keys("shapes") else "points"
        places = _places(data, kind, region, slide)
        rows, unused = _rows(table, region, places.xy_px.index)
        adata = assemble(table, np.where(rows[:, None] < 0, np.nan, places.xy_px.to_numpy()[rows]))
    about: dict[str, Any] = adata.uns["hypergene"]
    about["counts_from"] = f"{about['counts_from']} of the table {name!r}"
    about["positions_from"] = places.said
    about["dropped"]["positions_without_counts"] = unused
    if places.diameter_px is not None:
        about["spot_diameter_px"] = places.diameter_px
    _log.info("%s: table %r, positions of %s", data, name, places.said)
    if places.warning is not None:
        about.setdefault("warnings", []).append(places.warning)
        _log.warning("%s", places.warning)
    return adata


@dataclass(frozen=True, eq=False)
class _Places:
    """Spots in pixels of the slide.

    Attributes
    ----------
    xy_px
        Centres: columns x and y, level-0 px; index: instances as text.
    diameter_px
        Diameter or side in px, None if it is not the same in all spots or they have none.
    said
        Where the positions are from.
    warning
        What a user should know of it.
    """

    xy_px: pd.DataFrame
    diameter_px: float | None
    said: str
    warning: str | None


def _import(data: Path) -> None:
    try:
        import spatialdata  # noqa: F401
    except ImportError:
        raise DataError(
            f"{data} is a SpatialData store, and the package spatialdata is not installed.",
            hint="Run: pip install 'hypergene[spatialdata]'",
        ) from None
    except Exception as reason:  # its hundred dependencies do not always fit together
        raise DataError(
            f"{data} needs the package spatialdata, which fails here: {first_line(reason)}.",
            hint="Run: pip install --upgrade 'hypergene[spatialdata]'",
        ) from None


def _only_table(store: Stored, data: Path) -> str:
    """Return the one table that annotates shapes or points."""
    elements = {*store.keys("shapes"), *store.keys("points")}
    tables = {
        name: _regions(store.within(f"tables/{name}", f"the table {name!r} of {data}"))
        for name in store.keys("tables")
    }
    found = [name for name, regions in tables.items() if regions and elements.issuperset(regions)]
    listed = "; ".join(
        f"{name!r} of {', '.join(map(repr, regions)) or 'nothing'}"
        for name, regions in tables.items()
    )
    if not found:
        raise DataError(
            f"{data} has no table of shapes or points (its tables are {listed or 'none'}).",
            hint="Annotate the spots' shapes with a table of counts, or use another format.",
        )
    if len(found) > 1:
        raise DataError(
            f"{data} has {len(found)} tables of spots, and one is needed: {listed}.",
            hint="Write the wanted table, its shapes and image to a store of their own: "
            "sdata.subset([...]).write(...).",
        )
    if len(tables[found[0]]) > 1:
        raise DataError(
            f"{data} has several sections in one table: {listed}.",
            hint="Write each section to a store of its own: sdata.subset([...]).write(...).",
        )
    return found[0]


def _regions(table: Stored) -> list[str]:
    """Name the elements that a table annotates."""
    attributes = _attributes(table)
    region = attributes.get("region")
    if region is None:
        return []
    return [str(name) for name in np.atleast_1d(np.asarray(region, dtype=object)).tolist()]


def _attributes(table: Stored) -> Mapping[str, Any]:
    key = "uns/spatialdata_attrs"
    attributes = table.read(key) if table.has(key) else {}
    return attributes if isinstance(attributes, Mapping) else {}


def _rows(table: Stored, region: str, spots: pd.Index) -> tuple[npt.NDArray[np.int64], int]:
    """Return the spot of each row of the table (-1 = none), and how many spots have no row."""
    attributes = _attributes(table)
    columns = table.columns("obs")
    keys = [str(attributes.get(key)) for key in ("region_key", "instance_key")]
    for key in keys:
        if key not in columns:
            raise DataError(
                f"obs of {table.name} has no column {key!r}, which ties it to its shapes.",
                hint="Write the store again with spatialdata.",
            )
    here = table.column("obs", keys[0]).astype(str).to_numpy() == region
    instances = pd.Index(table.column("obs", keys[1]).astype(object).map(_key))
    if instances[here].has_duplicates or spots.has_duplicates:
        raise DataError(
            f"{table.name} or its shapes {region!r} have an instance more than once.",
            hint="Give each spot one row and one shape.",
        )
    rows = np.where(here, spots.get_indexer(instances), -1).astype(np.int64)
    placed = int((rows >= 0).sum())
    if not placed:
        raise DataError(
            f"None of the {len(rows)} rows of {table.name} has a shape in {region!r}.",
            hint=f"The column {keys[1]!r} of obs must hold the index of the shapes.",
        )
    return rows, len(spots) - placed


def _key(instance: Any) -> str:
    """Write an instance as text, whole numbers alike whatever their type."""
    whole = isinstance(instance, float | np.floating) and float(instance).is_integer()
    return str(int(instance) if whole else instance)


def _places(data: Path, kind: str, region: str, slide: Path | None) -> _Places:
    """Read the spots of an element and bring them into pixels of the slide."""
    from spatialdata import read_zarr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older stores are read with a word of warning
            sdata = read_zarr(data, selection=(kind, "images"))
            element = sdata[region]
            centres, diameter = _geometry(data, kind, region, element)
            maps = _maps(data, element, sdata.images)
            sizes = {name: _size_px(sdata.images[name]) for name in maps}
    except DataError:
        raise
    except Exception as reason:  # zarr, parquet, geopandas, ome-zarr and spatialdata itself
        raise DataError(
            f"{data} cannot be read as SpatialData: {first_line(reason)}.",
            hint="Is the store whole? Copy or write it again.",
        ) from None
    size = _slide_px(slide) if sizes else None
    same = {name: matrix for name, matrix in maps.items() if sizes[name] == size}
    image = _slide_among(data, centres, same or {n: m for n, m in maps.items() if _is_fine(m)})
    matrix = np.eye(3) if image is None else maps[image]
    px, said = _apply(matrix, centres), f"{kind} {region!r}, in "
    if not np.isfinite(px).all() or np.abs(px).max(initial=0) > FARTHEST_PX:
        raise DataError(
            f"The {kind} {region!r} of {data} are at places that are no pixels of a slide.",
            hint="Check the shapes and their transformations.",
        )
    warning = None
    if image is not None and size not in (None, sizes[image]):
        warning = (
            f"The positions of {data} are pixels of its image {image!r} ({_by(sizes[image])} px), "
            f"but {slide} is {_by(size)} px."
        )
    return _Places(
        pd.DataFrame(px, index=centres.index, columns=_AXES),
        None if diameter is None else diameter * _scale(matrix),
        said + ("their own coordinates" if image is None else f"pixels of the image {image!r}"),
        warning,
    )


def _geometry(
    data: Path, kind: str, region: str, element: Any
) -> tuple[pd.DataFrame, float | None]:
    """Return centres (index: instances as text) and diameter in the element's own coordinates."""
    if kind == "points":
        frame = element[list(_AXES)].compute()
        frame.index = frame.index.map(_key)
        return frame.astype(np.float64), None
    shapes = element.geometry
    size: pd.Series
    if (shapes.geom_type == "Point").all():
        size = 2 * element["radius"]
    else:
        size = np.sqrt(shapes.area)
        if not np.allclose(shapes.length, 4 * size, rtol=_EQUAL):  # only squares
            raise DataError(
                f"The shapes {region!r} of {data} are neither circles nor squares.",
                hint="Cells must be pooled first: rasterise them into squares, or use the format "
                "of the platform.",
            )
    centre = shapes.centroid
    xy = pd.DataFrame({"x": centre.x.to_numpy(), "y": centre.y.to_numpy()})
    xy.index = element.index.map(_key)
    typical = float(np.median(size)) if len(size) else 0.0
    same = typical > 0 and bool(np.allclose(size, typical, rtol=_EQUAL))
    return xy, typical if same else None


def _maps(data: Path, element: Any, images: Mapping[str, Any]) -> dict[str, Map]:
    """Return the maps from an element to the pixels of each image that it is related to."""
    from spatialdata.transformations import get_transformation

    maps: dict[str, Map] = {}
    ours = get_transformation(element, get_all=True)
    for name, image in images.items():
        theirs = get_transformation(image, get_all=True)
        for system in sorted(set(ours) & set(theirs)):
            there, back = (t[system].to_affine_matrix(_AXES, _AXES) for t in (ours, theirs))
            matrix = np.asarray(np.linalg.inv(back) @ there, dtype=np.float64)
            if not np.allclose(maps.setdefault(name, matrix), matrix, rtol=1e-6, atol=1e-6):
                raise DataError(
                    f"{data} places its spots on the image {name!r} in two ways, by the coordinate "
                    f"system {system!r} and by another.",
                    hint="Correct the transformations of the image and the shapes.",
                )
    return maps


def _slide_px(slide: Path | None) -> tuple[int, int] | None:
    """Return (width, height) of the slide; None if there is none, or it cannot be opened."""
    if slide is None:
        return None
    try:
        with open_slide(slide, mpp=1.0) as opened:  # its resolution is of no interest here
            return opened.dimensions
    except SlideError:  # whoever needs the slide itself will say so
        return None


def _size_px(image: Any) -> tuple[int, int]:
    """Return (width, height) of an image, or of the finest level of a pyramid."""
    from spatialdata import get_pyramid_levels

    level = get_pyramid_levels(image, n=0) if hasattr(image, "children") else image
    return int(level.sizes["x"]), int(level.sizes["y"])


def _by(size_px: tuple[int, int] | None) -> str:
    return "" if size_px is None else f"{size_px[0]} × {size_px[1]}"


def _is_fine(matrix: Map) -> bool:
    return _scale(matrix) >= _FINE


def _slide_among(data: Path, centres: pd.DataFrame, maps: Mapping[str, Map]) -> str | None:
    """Return the finest of the images; None if there are none.

    Raises
    ------
    DataError
        If another is no smaller copy of it: that would have the spots at the same places but for a
        factor.
    """
    names = sorted(maps, key=lambda name: (-_scale(maps[name]), name))
    if not names:
        return None
    finest = maps[names[0]]
    places = _apply(finest, centres)
    for name in names[1:]:
        copied = _apply(maps[name], centres) * (_scale(finest) / _scale(maps[name]))
        if np.abs(copied - places).max(initial=0) > _SAME_PX:
            raise DataError(
                f"{data} has several images that could be the slide: {', '.join(sorted(names))}.",
                hint="Keep only the one that the slide is: sdata.subset([...]).write(...).",
            )
    return names[0]


def _apply(matrix: Map, centres: pd.DataFrame) -> npt.NDArray[np.float64]:
    placed = np.column_stack([centres.to_numpy(), np.ones(len(centres))]) @ matrix.T
    return placed[:, :2]


def _scale(matrix: Map) -> float:
    """Return px per unit: the square root of the map's determinant."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
