"""Spots as shapes for QuPath."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError
from hypergene.output.atomic import atomic_path
from hypergene.spots import Layout, Spots

CIRCLE_CORNERS = 32
"""Corners of the polygon that stands for a circle; its area is 0.6 % below the circle's."""

_BLOCK = 4096
"""Spots formatted at a time, so that memory does not grow with their number."""


def write_geojson(
    spots: Spots,
    path: Path,
    *,
    tissue_fraction: npt.ArrayLike | None = None,
    overwrite: bool = False,
) -> None:
    """Write spots as a GeoJSON FeatureCollection that QuPath imports (0.4 or later).

    Each spot is a *detection* with its name, its outline (a closed polygon in level-0 px, two
    decimals) and the measurements ``array_row``, ``array_col`` and, if given, ``tissue_fraction``.

    Parameters
    ----------
    spots
        The spots; circles become polygons of ``CIRCLE_CORNERS`` corners, squares stay squares.
    path
        The file, ``.geojson`` as a rule.
    tissue_fraction
        float (n,), share of each spot's area on tissue, 0–1.
    overwrite
        Whether an earlier file may be replaced.

    Raises
    ------
    SpotsError
        If there is not one finite tissue fraction a spot.
    OutputError
        If the file exists and may not be replaced, or cannot be written.

    References
    ----------
    RFC 7946 (GeoJSON); QuPath's ``objectType`` and ``measurements`` properties as its GeoJSON
    export writes them.
    """
    with geojson_writer(path, overwrite=overwrite) as write:
        write(spots, tissue_fraction)


@contextmanager
def geojson_writer(
    path: Path, *, overwrite: bool = False
) -> Iterator[Callable[[Spots, npt.ArrayLike | None], None]]:
    """Lend a function that adds blocks of spots, and their tissue fractions, to one file.

    Parameters
    ----------
    path, overwrite
        As for :func:`write_geojson`, and so is what is written.

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as draft,
        draft.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"

        def write(spots: Spots, tissue_fraction: npt.ArrayLike | None) -> None:
            nonlocal separator
            for feature in _features(spots, _measurements(spots, tissue_fraction)):
                file.write(separator + feature)
                separator = ",\n"

        yield write
        file.write("\n]}\n")


def _measurements(
    spots: Spots, tissue_fraction: npt.ArrayLike | None
) -> dict[str, npt.NDArray[np.generic]]:
    measurements: dict[str, npt.NDArray[np.generic]] = {
        "array_row": spots.array_row,
        "array_col": spots.array_col,
    }
    if tissue_fraction is not None:
        fraction = np.asarray(tissue_fraction, dtype=np.float64)
        if fraction.shape != (len(spots),) or not np.isfinite(fraction).all():
            raise SpotsError(
                f"{len(spots)} spots need as many finite tissue fractions, these are of shape "
                f"{fraction.shape}."
            )
        measurements["tissue_fraction"] = fraction.round(4)
    return measurements


def _features(spots: Spots, measurements: dict[str, npt.NDArray[np.generic]]) -> Iterator[str]:
    outline = _outline(spots.layout, spots.mpp)
    # Formatting through one template a spot is several times faster than dumping nested lists.
    template = (
        '{"type":"Feature","geometry":{"type":"Polygon","coordinates":[['
        + ",".join(["[%.2f,%.2f]"] * len(outline))
        + ']]},"properties":{"objectType":"detection","name":%s,"measurements":{'
        + ",".join(f'"{key}":%s' for key in measurements)
        + "}}}"
    )
    for start in range(0, len(spots), _BLOCK):
        block = slice(start, start + _BLOCK)
        corners = (spots.xy_px[block, None, :] + outline).reshape(-1, 2 * len(outline))
        names = map(json.dumps, spots.names[block].tolist())
        values = zip(*(column[block].tolist() for column in measurements.values()), strict=True)
        for ring, name, row in zip(corners.tolist(), names, values, strict=True):
            yield template % (*ring, name, *row)


def _outline(layout: Layout, mpp: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return a spot's closed ring around (0, 0) in level-0 px, (corners + 1, 2), angle rising."""
    if layout.shape == "circle":
        corners, reach = CIRCLE_CORNERS, 1.0
    else:
        corners, reach = 4, math.sqrt(2)
    # A square's corners lie on the diagonals; starting a circle there as well costs nothing.
    angle = 2 * np.pi * np.arange(corners + 1) / corners + np.pi / 4
    angle += np.radians(layout.orientation_deg)
    angle[-1] = angle[0]
    radius_px = reach * layout.diameter_um / 2 / np.asarray(mpp)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * radius_px
