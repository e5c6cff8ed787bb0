"""Centres of the points and polygons of a GeoJSON file, as QuPath exports them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError, first_line

# QuPath exports annotations (regions) and detections, of which cells and tiles are kinds, together.
_DETECTIONS = {"detection", "cell", "tile"}

_HINT = "Export points or polygons, in pixels of the full-resolution image, as QuPath does."


@dataclass(frozen=True, eq=False)
class Centres:
    """Centres of features.

    Attributes
    ----------
    xy_px
        float64 (n, 2), (x, y) in level-0 px.
    names
        Unique names or identifiers of the features; None if they have none.
    array_row, array_col
        int32 (n,), of the measurements of these names; -1 where there are none.
    left_out
        Annotations that stand beside detections and were not taken.
    """

    xy_px: npt.NDArray[np.float64]
    names: list[str] | None
    array_row: npt.NDArray[np.int32]
    array_col: npt.NDArray[np.int32]
    left_out: int


def read_centres(path: Path) -> Centres:
    """Read the centres of a GeoJSON file's features.

    A point is its own centre, a polygon has its centroid, holes taken off; of several polygons in
    one feature the centroid is that of all. Where the file holds detections (``objectType``
    detection, cell or tile, as QuPath writes it), its annotations are left out.

    Parameters
    ----------
    path
        A FeatureCollection, a list of features, or one feature; coordinates in level-0 px.

    Raises
    ------
    SpotsError
        If the file cannot be read, is no GeoJSON, has no features, or one of them is neither a
        point nor a polygon of numbers.

    References
    ----------
    RFC 7946 (GeoJSON).
    """
    features = _features(path)
    kinds = [str(_properties(feature).get("objectType", "")).lower() for feature in features]
    chosen = list(range(len(features)))
    if not _DETECTIONS.isdisjoint(kinds):
        chosen = [number for number in chosen if kinds[number] in _DETECTIONS]
    xy_px = np.empty((len(chosen), 2))
    for place, number in enumerate(chosen):
        try:
            xy_px[place] = _centre(features[number].get("geometry"))
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as reason:
            raise SpotsError(
                f"Feature {number + 1} of {path} is neither a point nor a polygon "
                f"({first_line(reason)}).",
                hint=_HINT,
            ) from None
    properties = [_properties(features[number]) for number in chosen]
    measured = [_measurements(about) for about in properties]
    row, column = (
        np.array([_integer(values.get(key)) for values in measured], np.int32)
        for key in ("array_row", "array_col")
    )
    names = _unique([about.get("name") for about in properties])
    if names is None:
        names = _unique([features[number].get("id") for number in chosen])
    return Centres(xy_px, names, row, column, len(features) - len(chosen))


def _features(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as reason:
        raise SpotsError(f"{path} cannot be read: {reason.strerror or reason}.") from None
    except (ValueError, RecursionError) as reason:
        raise SpotsError(f"{path} is not JSON ({first_line(reason)}).", hint=_HINT) from None
    if isinstance(found, dict):
        found = found.get("features") if found.get("type") == "FeatureCollection" else [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SpotsError(f"{path} is no GeoJSON: it has no list of features.", hint=_HINT)
    if not found:
        raise SpotsError(f"{path} has no features.", hint=_HINT)
    return found


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    found = feature.get("properties")
    return found if isinstance(found, dict) else {}


def _measurements(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return measurements by name; QuPath before 0.4 wrote a list of names and values."""
    found = properties.get("measurements")
    if isinstance(found, list):
        return {str(one.get("name")): one.get("value") for one in found if isinstance(one, dict)}
    return found if isinstance(found, dict) else {}


def _integer(value: Any) -> int:
    """Return a place on the array, or -1."""
    whole = isinstance(value, int | float) and 0 <= value < 2**31 and value == int(value)
    return int(value) if whole else -1


def _unique(values: Sequence[Any]) -> list[str] | None:
    texts = [str(value) for value in values if value is not None and str(value)]
    return texts if len(set(texts)) == len(values) else None


def _centre(geometry: Any) -> npt.NDArray[np.float64]:
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind == "Point":
        return _points([coordinates])[0]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"it is a {kind}")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    # Every ring counts with its area, holes with a negative one.
    rings = [
        (_points(ring), -1.0 if number else 1.0)
        for polygon in polygons
        for number, ring in enumerate(polygon)
    ]
    parts = [(sign * area, centre) for ring, sign in rings for area, centre in [_area(ring)]]
    total = sum(area for area, _ in parts)
    if total <= 0:  # a line, or a point drawn as a polygon
        return rings[0][0].mean(axis=0)
    return np.asarray(sum(area * centre for area, centre in parts) / total)


def _area(ring: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Return area and centroid of a ring (n, 2) by the shoelace formula."""
    # About its first corner: products of far coordinates would lose the small differences.
    x, y = (ring - ring[0]).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    twice = float(cross.sum())
    if twice == 0:
        return 0.0, ring.mean(axis=0)
    centre = [((v + np.roll(v, -1)) * cross).sum() / (3 * twice) for v in (x, y)]
    return abs(twice) / 2, ring[0] + centre


def _points(values: Any) -> npt.NDArray[np.float64]:
    points = np.array([[float(x), float(y)] for x, y, *_ in values], np.float64)
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("its coordinates are no finite numbers")
    return points
