"""Visium as Space Ranger 1, 2, 3 writes it: ``outs/`` with a count matrix and ``spatial/``.

``squidpy.read.visium`` (1.8) reads these folders too. It is not used because it takes only the
usual names, gives no positions unless both PNG images are there, leaves NaN where a spot has none,
answers damaged files with tracebacks of whatever library met them, and imports spatialdata.
``scanpy.read_visium`` (deprecated) tells the header of the positions by the file's name, as squidpy
once did, at the cost of a spot. ``spatialdata_io.visium`` cannot do without scale factors, and is
an extra of over 100 packages.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError, first_line
from hypergene.spots import layout_named
from hypergene.st.formats.spaceranger_positions import read_positions
from hypergene.st.formats.tenx import MTX, TenxMatrix, as_text, open_matrix
from hypergene.st.genes import gene_table
from hypergene.st.join import join_spots
from hypergene.st.pitch import nearest_pitch_px, square_pitch_px
from hypergene.st.table import read_lines

_log = logging.getLogger(__name__)

HD_BINS = re.compile(r"square_(\d{3})um")
"""Name of a folder of Visium HD, which has a reader of its own."""

# Uploads carry the sample's name in front of all of these.
_COUNTS = re.compile(
    r"(?P<prefix>.*?)(?P<kind>filtered|raw)_(feature_bc_matrix|gene_bc_matrices(_h5)?)(?P<h5>\.h5)?"
)
_POSITIONS = re.compile(
    r"(?P<prefix>.*?)tissue_positions(?P<rank>\.csv|_list\.csv|\.parquet)(\.gz)?"
)
_SCALE_FACTORS = re.compile(r"(?P<prefix>.*?)scalefactors_json(?P<rank>\.json)(\.gz)?")
_RANKS = (".csv", "_list.csv", ".parquet", ".json")

# Side of the capture area in mm, rows, and columns (in half pitches).
_CAPTURE_AREAS = ((6.5, 78, 128), (11.0, 128, 224))


@dataclass(frozen=True)
class Outs:
    """What of an ``outs`` folder is read.

    Attributes
    ----------
    counts
        The .h5, or the values of a Matrix Market folder.
    raw
        Whether these are the counts of all spots, not of those under the tissue.
    positions
        Barcodes and where they lie.
    scale_factors
        None if the folder has none.
    """

    counts: Path
    raw: bool
    positions: Path
    scale_factors: Path | None


def recognises(data: Path) -> bool:
    """Tell whether a path is, holds or lies in an ``outs`` folder of Visium, by names alone."""
    try:
        if any(HD_BINS.fullmatch(part) for part in data.parts[-3:]):
            return False
        if data.is_dir():
            return any(_counts_in(place) for place in (data, data / "outs"))
        found = _COUNTS.fullmatch(data.name)
        return found["h5"] is not None if found else MTX.fullmatch(data.name) is not None
    except OSError:
        return False


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one capture area.

    Parameters
    ----------
    data
        ``outs``, the run's folder above it, or the matrix in it (.h5, Matrix Market folder or its
        ``matrix.mtx.gz``). Filtered counts are preferred to raw ones.
    spots
        Positions, if they are not in ``spatial`` or beside the counts.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts (spots with counts and a position, genes), in the order of the
        matrix; ``obs``: in_tissue, array_row, array_col; ``obsm["spatial"]``: (x, y) level-0 px;
        ``uns["hypergene"]``: counts_from, positions_from, dropped, pitch_px (between neighbours),
        layout, platform and capture_area_mm if the array is Visium's, and where the scale factors
        state them spot_diameter_px (Space Ranger's is that of a circle of 65 µm, not of the 55 µm
        printed), hires_scale, lowres_scale, mpp and mpp_source; features_left_out, warnings.

    Raises
    ------
    DataError
        No counts or positions, or several that could be meant; a file that is damaged, malformed
        or holds no counts; no spot that both have.
    """
    outs = find_outs(data, spots)
    matrix = open_matrix(outs.counts)
    barcodes, positions = read_positions(outs.positions)
    positions.index = pd.Index(as_text(barcodes))
    adata = join_spots(
        as_text(matrix.barcodes),
        matrix.counts(),
        gene_table(matrix.symbols, matrix.ids),
        positions,
        data=outs.counts,
        spots=outs.positions,
        hint="Counts and positions must be of one section, with barcodes such as AAAC…-1.",
    )
    about = adata.uns["hypergene"]
    about |= describe(outs, matrix)
    array_xy = positions[["array_col", "array_row"]].to_numpy()
    xy_px = positions[["pixel_x", "pixel_y"]].to_numpy()
    side_mm = capture_area_mm(array_xy)
    if side_mm is None:
        pitch = nearest_pitch_px(xy_px)
        columns, rows = array_xy.max(axis=0)
        warn(
            about,
            f"{outs.positions} does not number its spots as Visium does (array_row up to {rows}, "
            f"array_col up to {columns}): size and spacing of its spots in µm are not known.",
        )
    else:
        about |= {"layout": asdict(layout_named("visium")), "platform": "visium"}
        about["capture_area_mm"] = side_mm
        pitch = hexagon_pitch_px(array_xy, xy_px)
    if pitch is not None:
        about["pitch_px"] = pitch
    return adata


def describe(outs: Outs, matrix: TenxMatrix) -> dict[str, Any]:
    """Return what ``uns["hypergene"]`` says of the files: their names, scale factors, warnings."""
    about: dict[str, Any] = {"counts_from": outs.counts.name}
    if MTX.fullmatch(outs.counts.name):
        about["counts_from"] = f"{outs.counts.parent.name}/{outs.counts.name}"
    about["positions_from"] = outs.positions.name
    if matrix.left_out:
        about["features_left_out"] = matrix.left_out_text()
        _log.info("%s: %s left out, no genes", outs.counts, about["features_left_out"])
    if outs.raw:
        warn(
            about,
            f"{outs.counts} holds the raw counts of all spots: those outside the tissue (in_tissue "
            f"0 in {outs.positions.name}) are left out.",
        )
    if outs.scale_factors is None:
        warn(about, f"There is no scalefactors_json.json for {outs.counts}: it is done without.")
    else:
        about |= read_scale_factors(outs.scale_factors)
    return about


def warn(about: dict[str, Any], sentence: str) -> None:
    """Keep a warning in ``uns["hypergene"]`` and log it."""
    about.setdefault("warnings", []).append(sentence)
    _log.warning("%s", sentence)


def find_outs(data: Path, spots: Path | None = None) -> Outs:
    """Find counts, positions and scale factors.

    Parameters
    ----------
    data
        As for :func:`read`.
    spots
        Positions; searched in ``spatial`` and beside the counts if None. Barcodes of Visium are
        the same on every slide, so files that carry another sample's prefix are never taken.

    Raises
    ------
    DataError
        If counts or positions are missing, or several files could be meant.
    """
    try:
        counts, prefix = _find_counts(data)
        folder, raw = counts.parent, False
        for path in (counts, counts.parent, counts.parent.parent):
            if (found := _COUNTS.fullmatch(path.name)) is not None:
                prefix, folder, raw = found["prefix"], path.parent, found["kind"] == "raw"
                break
        places = (folder / "spatial", folder / f"{prefix}spatial", folder)
        positions = spots or _beside(places, prefix, _POSITIONS)
        if positions is None:
            raise DataError(
                f"There are no {prefix}tissue_positions for {counts}: neither in {places[0]} nor "
                "beside it.",
                hint="Copy Space Ranger's folder 'spatial' too, or name the file as spots.",
            )
        return Outs(counts, raw, positions, _beside(places, prefix, _SCALE_FACTORS))
    except OSError as reason:
        raise DataError(
            f"{data} cannot be read: {reason.strerror}.", hint="Check its permissions."
        ) from None


def _find_counts(data: Path) -> tuple[Path, str]:
    """Return the .h5 or the matrix.mtx, and the prefix of its name."""
    if not data.exists():
        raise DataError(f"There is no {data}.", hint="Check the path.")
    if not data.is_dir():
        named = _COUNTS.fullmatch(data.name) or MTX.fullmatch(data.name)
        return data, named["prefix"] if named else ""
    for place in (data, data / "outs"):
        found = _counts_in(place)
        if len(found) > 1:
            raise DataError(
                f"{place} holds several count matrices: {', '.join(p.name for p, _ in found)}.",
                hint="Name the one that is meant as data.",
            )
        if found:
            return _find_counts(found[0][0]) if found[0][0].is_dir() else found[0]
    # Cell Ranger 2 has a folder a genome below gene_bc_matrices.
    genomes = [path for path in _visible(data) if path.is_dir() and _counts_in(path)]
    if _COUNTS.fullmatch(data.name) and len(genomes) == 1:
        return _find_counts(genomes[0])
    is_hd = any((place / "binned_outputs").is_dir() for place in (data, data / "outs"))
    raise DataError(
        f"{data} holds no filtered_feature_bc_matrix.h5 and no matrix.mtx.",
        hint="This is Visium HD: say format visium-hd."
        if is_hd
        else "Name Space Ranger's folder 'outs', or the matrix itself.",
    )


def _counts_in(folder: Path) -> list[tuple[Path, str]]:
    """Return the matrices of a folder with their prefixes: all that are of the best kind."""
    kinds: dict[int, list[tuple[Path, str]]] = {}
    for path in _visible(folder):
        if (found := _COUNTS.fullmatch(path.name)) is not None:
            if (found["h5"] is None) == path.is_dir():
                rank = 3 * (found["kind"] == "raw") + (found["h5"] is None)
                kinds.setdefault(rank, []).append((path, found["prefix"]))
        elif (found := MTX.fullmatch(path.name)) is not None and path.is_file():
            kinds.setdefault(2, []).append((path, found["prefix"]))
    return kinds[min(kinds)] if kinds else []


def _beside(places: Iterable[Path], prefix: str, pattern: re.Pattern[str]) -> Path | None:
    """Find a file of Space Ranger in the first place that has it under a prefix that fits."""
    for place in places:
        found: dict[str, list[tuple[int, Path]]] = {}
        for path in _visible(place):
            if (match := pattern.fullmatch(path.name)) is not None:
                rank = _RANKS.index(match["rank"])
                found.setdefault(match["prefix"], []).append((rank, path))
        fitting = next((found[p] for p in (prefix, "") if p in found), None)
        if fitting is None and not prefix and found:
            if len(found) > 1:
                names = ", ".join(path.name for files in found.values() for _, path in files)
                raise DataError(
                    f"{place} holds files of several sections: {names}.",
                    hint="Give each section a folder of its own.",
                )
            (fitting,) = found.values()
        if fitting is not None:
            return min(fitting)[1]
    return None


def _visible(folder: Path) -> list[Path]:
    """List a folder by name, without the ``._name`` that macOS puts beside copied files."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def capture_area_mm(array_xy: npt.NDArray[np.int32]) -> float | None:
    """Recognise the slide by its array: 78 x 64 spots on 6.5 mm, 128 x 112 on 11 mm.

    Parameters
    ----------
    array_xy
        array_col and array_row of all spots, in or outside the tissue, shape (n, 2).

    Returns
    -------
    float or None
        Side of the capture area, mm: the smaller that has room for all; None if the array is not
        Visium's (array_row and array_col not of one parity, or too large).
    """
    if array_xy.min() < 0 or (array_xy.sum(axis=1) % 2).any():
        return None
    column, row = array_xy.max(axis=0)
    fitting = (side for side, rows, cols in _CAPTURE_AREAS if row < rows and column < cols)
    return next(fitting, None)


def hexagon_pitch_px(
    array_xy: npt.NDArray[np.int32], xy_px: npt.NDArray[np.float64]
) -> float | None:
    """Estimate the distance of neighbours on Visium's lattice, whatever its rotation.

    ``array_col`` counts half pitches and rows are √3/2 pitches apart, so one step of each spans
    √3/4 of a square pitch.

    Parameters
    ----------
    array_xy
        array_col and array_row, shape (n, 2).
    xy_px
        Positions in level-0 px, shape (n, 2).

    Returns
    -------
    float or None
        Pitch in px; None if the spots lie on one line or on one point.
    """
    across = square_pitch_px(array_xy, xy_px)
    return None if across is None else across / math.sqrt(math.sqrt(3) / 4)


def read_scale_factors(path: Path) -> dict[str, Any]:
    """Read ``scalefactors_json.json``.

    Returns
    -------
    dict
        Where the file has them: spot_diameter_px, hires_scale, lowres_scale, bin_um (Visium HD),
        mpp [x, y] with mpp_source.

    Raises
    ------
    DataError
        If it is no JSON object, or one of them is no number above 0.
    """
    try:
        stored = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as reason:
        raise DataError(
            f"{path} is not JSON ({first_line(reason)}).", hint="Copy it again."
        ) from None
    if not isinstance(stored, dict):
        raise DataError(f"{path} holds no scale factors.", hint="Copy it again.")
    about: dict[str, Any] = {}
    for key, name in (
        ("spot_diameter_fullres", "spot_diameter_px"),
        ("tissue_hires_scalef", "hires_scale"),
        ("tissue_lowres_scalef", "lowres_scale"),
        ("microns_per_pixel", "mpp"),
        ("bin_size_um", "bin_um"),
    ):
        value = stored.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise DataError(
                f"{path} has {str(value)[:40]!r} as {key}, where a number above 0 is needed.",
                hint="Correct it, or copy the file again.",
            )
        about[name] = float(value)
    if "mpp" in about:
        about["mpp"] = [about["mpp"]] * 2
        about["mpp_source"] = f"{path.name} microns_per_pixel"
    return about
