"""Masks that somebody drew: a picture of the slide, or polygons."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from hypergene.errors import TissueError
from hypergene.slide.polygons import TissueOutlines, choose_polygons, paint_polygons, read_polygons
from hypergene.slide.slide import Slide
from hypergene.slide.tissue import TissueMask, mask_scale, mask_size

_POLYGON_SUFFIXES = (".geojson", ".json")


def load_tissue(path: str | PathLike[str], slide: Slide) -> TissueMask:
    """Read a mask that somebody drew: a picture of the whole slide at any scale, or polygons.

    Parameters
    ----------
    path
        A PNG or TIFF, in which px that are not zero (in any colour) are tissue; or GeoJSON
        (``.geojson``, ``.json``) with polygons in level-0 px, as QuPath exports it. Of polygons,
        classes can be chosen after a ``#``: ``drawn.geojson#Tumor,Stroma``. Classes named in
        :data:`~hypergene.slide.polygons.NOT_TISSUE` are cut out of the others.
    slide
        The slide it belongs to.

    Returns
    -------
    TissueMask
        With the file as its source. Polygons are drawn at 8 µm/px.

    Raises
    ------
    TissueError
        If the file cannot be read, has not the slide's aspect ratio or lies outside the slide, or
        holds no such polygon.
    """
    file, classes = _split_classes(path)
    if file.suffix.lower() not in _POLYGON_SUFFIXES:
        return TissueMask(*_read_picture(file, slide), str(path))
    chosen = choose_polygons(read_polygons(file), classes, file)
    size, scale = mask_size(slide)
    return TissueMask(paint_polygons(chosen, size, scale, file), scale, str(path))


def draw_tissue(outlines: TissueOutlines, slide: Slide) -> TissueMask:
    """Draw outlines as a mask, at 8 µm/px.

    Parameters
    ----------
    outlines
        The areas, in level-0 px.
    slide
        The slide they belong to.

    Returns
    -------
    TissueMask
        With the outlines' origin as its source.

    Raises
    ------
    TissueError
        If they lie outside the slide.
    """
    size, scale = mask_size(slide)
    mask = paint_polygons(outlines.polygons, size, scale, outlines.origin)
    return TissueMask(mask, scale, outlines.origin)


def _split_classes(path: str | PathLike[str]) -> tuple[Path, list[str]]:
    """Split ``drawn.geojson#Tumor,Stroma``; a file that has a # in its name goes first."""
    stem, _, classes = os.fspath(path).partition("#")
    if Path(path).exists() or Path(stem).suffix.lower() not in _POLYGON_SUFFIXES:
        return Path(path), []
    return Path(stem), [name.strip() for name in classes.split(",") if name.strip()]


def _read_picture(path: Path, slide: Slide) -> tuple[NDArray[np.bool_], tuple[float, float]]:
    pixels = _decode_mask(path)
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise TissueError(
            f"The tissue mask {path} is not one picture (its shape is {pixels.shape}).",
            hint="Give a PNG or TIFF in which tissue is not zero, or GeoJSON.",
        )
    mask: NDArray[np.bool_] = (pixels != 0).reshape(*pixels.shape[:2], -1).any(axis=2)
    return mask, mask_scale(mask, slide, str(path))


def _decode_mask(path: Path) -> NDArray:
    if not path.is_file():
        raise TissueError(
            f"The tissue mask {path} does not exist.",
            hint="Give auto, none, a plugin, or a PNG, TIFF or GeoJSON file.",
        )
    # Both libraries raise whatever the damage leads to; here it all means the same.
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            return np.asarray(tifffile.imread(path))
        with Image.open(path) as picture:
            if picture.format != "PNG":
                raise ValueError(f"it is {picture.format}")
            return np.asarray(picture)
    except Exception as error:
        raise TissueError(
            f"The tissue mask {path} cannot be read ({error}).",
            hint="Give a PNG or TIFF in which tissue is not zero, or GeoJSON.",
        ) from error
