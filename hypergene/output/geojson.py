"""Spots as shapes for QuPath."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hypergene.errors import SpotsError
from hypergene.output.atomic import atomic_path
from hypergene.spots import Layout, Spots

CIRCLE_CORNERS = 32
"""Corners of the polygon that stands for a circle; its area is 0.6 % below the circle's."""

_BLOCK_VALUES = 2**16
"""Numbers formatted at a time (5 MB), so that memory does not grow with the number of spots."""

Columns = Mapping[str, npt.NDArray[np.generic]]


class WriteSpots(Protocol):
    """Adds a block of spots to a file; :func:`geojson_writer` lends one."""

    def __call__(
        self,
        spots: Spots,
        tissue_fraction: npt.ArrayLike | None = None,
        *,
        measurements: Columns | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Write m spots.

        Parameters
        ----------
        spots
            The m spots.
        tissue_fraction
            float (m,), share of each spot's area on tissue, 0–1.
        measurements
            Name -> (m,) numbers or booleans, beside ``array_row`` and ``array_col``. What is not
            finite is left out of its spot: QuPath takes numbers only.
        classes
            QuPath's class of each spot; None = unclassified. ``"a: b"`` is class b derived from a.
        """


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
    RFC 7946 (GeoJSON); QuPath's ``objectType``, ``classification`` and ``measurements`` as
    ``qupath.lib.io.QuPathTypeAdapters`` (QuPath 0.4 to 0.6) reads them.
    """
    with geojson_writer(path, overwrite=overwrite) as write:
        write(spots, tissue_fraction)


@contextmanager
def geojson_writer(
    path: Path, *, overwrite: bool = False, about: Mapping[str, Any] | None = None
) -> Iterator[WriteSpots]:
    """Lend a function that adds blocks of spots, with what is known of them, to one file.

    Parameters
    ----------
    path, overwrite
        As for :func:`write_geojson`, and so is what is written.
    about
        Plain values that stand in the collection under ``"hypergene"``: RFC 7946 allows such
        foreign members, and QuPath passes over them.

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as draft,
        draft.open("w", encoding="utf-8", newline="\n") as file,
    ):
        said = "" if about is None else f'"hypergene":{json.dumps(dict(about))},'
        file.write('{"type":"FeatureCollection",' + said + '"features":[')
        separator = "\n"

        def write(
            spots: Spots,
            tissue_fraction: npt.ArrayLike | None = None,
            *,
            measurements: Columns | None = None,
            classes: Sequence[str] | None = None,
        ) -> None:
            nonlocal separator
            columns = _measurements(spots, tissue_fraction) | dict(measurements or {})
            for feature in _features(spots, columns, classes):
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


def _features(spots: Spots, measurements: Columns, classes: Sequence[str] | None) -> Iterator[str]:
    ring = outline(spots.layout, spots.mpp)
    # Formatting through one template a spot is several times faster than dumping nested lists.
    template = (
        '{"type":"Feature","geometry":{"type":"Polygon","coordinates":[['
        + ",".join(["[%.2f,%.2f]"] * len(ring))
        + ']]},"properties":{"objectType":"detection","name":%s,%s"measurements":{%s}}}'
    )
    pairs = [
        json.dumps(name).replace("%", "%%") + (":%.4g" if values.dtype.kind == "f" else ":%d")
        for name, values in measurements.items()
    ]
    every = ",".join(pairs)
    step = max(16, _BLOCK_VALUES // (len(pairs) + 2 * len(ring)))
    for start in range(0, len(spots), step):
        block = slice(start, min(start + step, len(spots)))
        corners = (spots.xy_px[block, None, :] + ring).reshape(-1, 2 * len(ring))
        names = map(json.dumps, spots.names[block].tolist())
        values = np.column_stack(
            [np.asarray(column[block], dtype=np.float64) for column in measurements.values()]
        )
        finite = np.isfinite(values)
        whole: npt.NDArray[np.bool_] = np.all(finite, axis=1)
        rows = zip(corners.tolist(), names, values.tolist(), strict=True)
        for at, (polygon, name, row) in enumerate(rows):
            if whole[at]:
                measured = every % tuple(row)
            else:
                known = finite[at].tolist()
                measured = ",".join(
                    pair % value
                    for pair, value, is_known in zip(pairs, row, known, strict=True)
                    if is_known
                )
            kind = ""
            if classes is not None:
                kind = f'"classification":{{"name":{json.dumps(classes[start + at])}}},'
            yield template % (*polygon, name, kind, measured)


def outline(layout: Layout, mpp: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return a spot's closed ring around (0, 0).

    Parameters
    ----------
    layout
        Shape, size and orientation of the spot.
    mpp
        µm per level-0 px along x and y.

    Returns
    -------
    numpy.ndarray
        float64 (corners + 1, 2), level-0 px, angle rising.
    """
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
