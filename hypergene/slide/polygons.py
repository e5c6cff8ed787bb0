"""Tissue drawn as polygons: GeoJSON as QuPath exports it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import draw

from hypergene.errors import TissueError

#: Classes that mark what is not tissue, however they are written; QuPath ends ignored ones in "*".
NOT_TISSUE = frozenset({"ignore", "background", "glass", "exclude", "artefact", "artifact"})

#: Drawing a little past the edge of a slide is usual; further out, it is another slide's (share).
_PAST_THE_EDGE = 0.05
_QUPATH = "In QuPath: File > Export objects as GeoJSON, with the polygons in px of level 0."


@dataclass(frozen=True, eq=False)
class Polygon:
    """One area: an outline and its holes.

    Attributes
    ----------
    name
        Its class, empty if it has none.
    rings
        float64 (corners, 2) each, x and y in level-0 px; the outline first, then the holes.
    """

    name: str
    rings: tuple[NDArray[np.float64], ...]

    @property
    def is_tissue(self) -> bool:
        """Whether its class does not say that it is none, see :data:`NOT_TISSUE`."""
        return self.name.casefold().rstrip("* ") not in NOT_TISSUE


@dataclass(frozen=True, eq=False)
class TissueOutlines:
    """Areas that somebody drew, as another package holds them.

    Attributes
    ----------
    polygons
        At least one.
    origin
        Where they come from, for messages and for the output.
    """

    polygons: tuple[Polygon, ...]
    origin: str


def read_polygons(path: Path) -> list[Polygon]:
    """Read the areas of a GeoJSON file.

    A feature collection, a list of features, one feature or a bare geometry; polygons and multi-
    polygons, with holes. Points and lines enclose nothing and are passed over.

    Parameters
    ----------
    path
        The file, coordinates in level-0 px. The class of a feature is its ``classification``'s
        ``name``, as QuPath writes it.

    Raises
    ------
    TissueError
        If the file cannot be read, is no GeoJSON, or holds no polygon.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        polygons = list(_features(found, ""))
    except FileNotFoundError as error:
        raise TissueError(f"The tissue mask {path} does not exist.", hint=_QUPATH) from error
    except Exception as error:
        # What json, NumPy and a missing key raise; for the user it all means the same.
        raise TissueError(
            f"The tissue mask {path} is no GeoJSON ({type(error).__name__}: {error}).", hint=_QUPATH
        ) from error
    if not polygons:
        raise TissueError(f"The tissue mask {path} holds no polygon.", hint=_QUPATH)
    return polygons


def choose_polygons(polygons: list[Polygon], names: list[str], path: Path) -> list[Polygon]:
    """Keep the polygons of some classes, and what marks no tissue.

    Parameters
    ----------
    polygons
        From :func:`read_polygons`.
    names
        Classes wanted, case ignored; empty = all.
    path
        The file, for the message.

    Raises
    ------
    TissueError
        If no polygon has one of the classes, or none of them marks tissue.
    """
    wanted = {name.casefold() for name in names}
    kept = [p for p in polygons if not wanted or p.name.casefold() in wanted or not p.is_tissue]
    if not any(p.is_tissue for p in kept):
        there = ", ".join(sorted({p.name or "(no class)" for p in polygons}))
        raise TissueError(
            f"No polygon of the tissue mask {path} marks {' or '.join(names) or 'tissue'}; "
            f"it has the classes {there}.",
            hint="Name a class after a #, as in --tissue drawn.geojson#Tumor, or none for all.",
        )
    return kept


def paint_polygons(
    polygons: Sequence[Polygon],
    size: tuple[int, int],
    scale: tuple[float, float],
    path: str | Path,
) -> NDArray[np.bool_]:
    """Draw polygons as a mask: first all tissue, then what is none over it.

    A px counts where its centre lies inside an outline and in none of its holes (even-odd rule).

    Parameters
    ----------
    polygons
        The areas.
    size
        Width and height of the mask in px.
    scale
        Level-0 px per px of the mask, along x and y.
    path
        The file, or what else holds them, for the message.

    Returns
    -------
    numpy.ndarray
        bool (height, width).

    Raises
    ------
    TissueError
        If they lie outside the slide.
    """
    width, height = size
    corners = np.concatenate([p.rings[0] for p in polygons]) / scale
    low, high = corners.min(axis=0), corners.max(axis=0)
    slack = _PAST_THE_EDGE * np.array(size)
    if (low < -slack).any() or (high > np.array(size) + slack).any():
        left, top, right, bottom = np.concatenate([low * scale, high * scale])
        raise TissueError(
            f"The polygons of the tissue mask {path} span x {left:.0f} to {right:.0f} and "
            f"y {top:.0f} to {bottom:.0f} px, outside the slide of "
            f"{width * scale[0]:.0f} x {height * scale[1]:.0f} px.",
            hint="Is it another slide's, or not in px of level 0? " + _QUPATH,
        )
    mask = np.zeros((height, width), np.bool_)
    for polygon in sorted(polygons, key=lambda p: not p.is_tissue):
        _paint(mask, [ring / scale for ring in polygon.rings], polygon.is_tissue)
    return mask


def _paint(mask: NDArray[np.bool_], rings: list[NDArray[np.float64]], value: bool) -> None:
    first = np.floor(rings[0].min(axis=0)).clip(0).astype(int)
    last = np.ceil(rings[0].max(axis=0)).clip(0, mask.shape[::-1]).astype(int)
    if (last <= first).any():
        return
    inside = np.zeros((last - first)[::-1], np.bool_)
    for ring in rings:
        # skimage takes px centres for whole numbers, here they are halves.
        x, y = (ring - first - 0.5).T
        inside[draw.polygon(y, x, inside.shape)] ^= True
    mask[first[1] : last[1], first[0] : last[0]][inside] = value


def _features(found: Any, name: str) -> Iterator[Polygon]:
    if isinstance(found, list):
        for item in found:
            yield from _features(item, name)
        return
    kind = found["type"]
    if kind == "FeatureCollection":
        yield from _features(found["features"], name)
    elif kind == "Feature":
        said = (found.get("properties") or {}).get("classification") or ""
        said = said.get("name", "") if isinstance(said, dict) else str(said)
        if found["geometry"] is not None:
            yield from _features(found["geometry"], str(said or ""))
    elif kind == "GeometryCollection":
        yield from _features(found["geometries"], name)
    elif kind == "Polygon":
        yield _polygon(found["coordinates"], name)
    elif kind == "MultiPolygon":
        for rings in found["coordinates"]:
            yield _polygon(rings, name)
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"its type is {kind!r}")


def _polygon(rings: Any, name: str) -> Polygon:
    if not rings:
        raise ValueError("a polygon has no outline")
    return Polygon(name, tuple(_ring(ring) for ring in rings))


def _ring(corners: Any) -> NDArray[np.float64]:
    ring = np.array([corner[:2] for corner in corners], np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError("an outline is not a list of three or more corners [x, y]")
    return ring
