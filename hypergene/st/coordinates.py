"""Spot centres that the user gives, in any file that names places on the slide."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import DataError, SpotsError, UsageError
from hypergene.spots import Layout, Spots, layout_named
from hypergene.spots.layout import Shape
from hypergene.st.centres import SpotCentres
from hypergene.st.formats.anndata_store import open_stored
from hypergene.st.formats.h5ad import in_tissue_of
from hypergene.st.formats.spaceranger import capture_area_mm
from hypergene.st.formats.spaceranger_positions import is_space_ranger, read_positions
from hypergene.st.formats.tables_positions import FLAG_COLUMNS, NAME_COLUMNS, PIXEL_COLUMNS
from hypergene.st.geojson import read_centres
from hypergene.st.lattice import lattice_of, square_lattice_pitch_px, visium_pitch_px
from hypergene.st.pitch import nearest_pitch_px, pitch_contradicts
from hypergene.st.table import Table, is_parquet, read_parquet, read_table

_log = logging.getLogger(__name__)

_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_BIN = re.compile(r"s_(\d{3})um_\d+_\d+")
_ST_ARRAY = 36
"""Rows or columns that no array of legacy ST exceeds."""
_LOOKED_AT = 200_000
"""Spots that are enough to measure a pitch on."""


def read_coords(path: str | os.PathLike[str], *, layout: Layout, mpp: tuple[float, float]) -> Spots:
    """Read spot centres in level-0 px.

    Parameters
    ----------
    path
        One of

        - CSV or TSV (plain or gzipped) or Parquet with the columns ``x`` and ``y``, or another
          pair that is usual (``pixel_x`` and ``pixel_y``, ``imagecol`` and ``imagerow``,
          ``pxl_col_in_fullres`` and ``pxl_row_in_fullres``), and if wanted ``name`` (or
          ``barcode``, ``spot``), ``array_row``, ``array_col``, ``in_tissue`` (or ``selected``);
        - a legacy ST selection table: with ``pixel_x`` and ``pixel_y`` beside ``x`` and ``y`` the
          centres are the former, and the latter the place on the array;
        - Space Ranger's ``tissue_positions`` (CSV with or without a header, or Parquet), or a
          folder with one, or with ``spatial`` in it: the layout is then that of Visium or of the
          bins that their names state;
        - GeoJSON (``.geojson``, ``.json``) of points or polygons, whose centroids are taken;
        - an AnnData file, .h5ad or .zarr, with ``obsm["spatial"]``, such as our ``*.spots.zarr``:
          its names, array_row, array_col and layout are kept.

        Spots that the file puts outside the tissue (``in_tissue`` or ``selected`` 0) are left out,
        but for files of hypergene, whose tissue is looked for anew.
    layout
        Shape and size of the spots, unless the file states its own.
    mpp
        µm per level-0 px along x and y.

    Returns
    -------
    Spots
        In the order of the file; array_row and array_col are -1 where the file has none.

    Raises
    ------
    SpotsError
        No such file; of no known kind; missing columns (naming them and those found); values that
        are no finite numbers; no spots, or none in the tissue; a name twice.
    """
    path = Path(path)
    if not path.exists():
        raise SpotsError(f"There is no file {path}.", hint="Check the path given to --coords.")
    suffix = path.suffix.lower()
    if path.is_dir() and suffix != ".zarr":
        path = _positions_in(path)
        suffix = path.suffix.lower()
    if suffix in (".h5ad", ".zarr"):
        return _from_anndata(path, layout, mpp)
    if suffix in (".geojson", ".json"):
        return _from_geojson(path, layout, mpp)
    try:
        if is_space_ranger(path):
            return _from_space_ranger(path, layout, mpp)
        if is_parquet(path):
            return _from_table(read_parquet(path), layout, mpp)
    except DataError as reason:
        raise SpotsError(reason.message, hint=reason.hint) from None
    return _from_table(
        read_table(path, "\t,", row_names=NAME_COLUMNS, error=SpotsError), layout, mpp
    )


def check_inside(
    spots: Spots, dimensions_px: tuple[int, int], path: str | os.PathLike[str]
) -> None:
    """Raise unless every centre lies on the image.

    Parameters
    ----------
    spots
        With centres in level-0 px.
    dimensions_px
        (width, height) of the image in level-0 px.
    path
        Where the centres came from, for the message.

    Raises
    ------
    SpotsError
        Saying how many lie outside, and whether they would fit with x and y swapped.
    """
    xy_px, size_px = spots.xy_px, np.asarray(dimensions_px)
    outside = _outside(xy_px, size_px)
    if not outside.any():
        return
    low, high = xy_px.min(axis=0), xy_px.max(axis=0)
    fits_swapped = not _outside(xy_px[:, ::-1], size_px).any()
    raise SpotsError(
        f"{int(outside.sum()):,} of the {len(spots):,} spots of {path} lie outside the image: x "
        f"runs from {low[0]:.0f} to {high[0]:.0f} and y from {low[1]:.0f} to {high[1]:.0f}, but "
        f"it is {dimensions_px[0]} × {dimensions_px[1]} px.",
        hint="With x and y swapped all of them would fit."
        if fits_swapped
        else "x and y must be pixels of this full-resolution image; is it a smaller copy of it?",
    )


def check_pitch(spots: Spots, source: str, path: str | os.PathLike[str]) -> str | None:
    """Compare the distance of given spots with that of their platform.

    The platform is known by the array (Visium's numbering, or legacy ST's up to 36 rows and
    columns), else it is that of the spots' layout, if they lie on a lattice of its kind: nobody
    would compare the distance of cells with anything.

    Parameters
    ----------
    spots
        As read, with the slide's microns per pixel.
    source
        Who states those.
    path
        Where the spots came from.

    Returns
    -------
    str or None
        A sentence if they differ by more than 5 %.
    """
    mpp = float(np.mean(spots.mpp))
    some = slice(0, _LOOKED_AT)
    row, column = spots.array_row[some], spots.array_col[some]
    # Pixels that are not square would bend the lattice.
    xy_px = spots.xy_um[some] / mpp
    layout = spots.layout
    if (pitch := visium_pitch_px(row, column, xy_px)) is not None:
        layout = layout if layout.lattice == "hexagon" else layout_named("visium")
    elif (pitch := square_lattice_pitch_px(row, column, xy_px)) is not None:
        if layout.lattice == "hexagon" and max(row.max(), column.max()) >= _ST_ARRAY:
            return None
        layout = layout_named("st") if layout.lattice == "hexagon" else layout
    elif (kind := lattice_of(xy_px)) is not None and layout.lattice in (kind, "given"):
        pitch = nearest_pitch_px(xy_px)
    said = None if not pitch else pitch_contradicts(pitch, layout.pitch_um, mpp, source)
    return None if said is None else f"{path}: {said}"


def _outside(xy_px: npt.NDArray[np.float64], size_px: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.any((xy_px < 0) | (xy_px >= size_px), axis=1)


def _from_table(table: Table, layout: Layout, mpp: tuple[float, float]) -> Spots:
    columns = {name.lower(): name for name in table.columns}
    pair = next((pair for pair in PIXEL_COLUMNS if set(pair) <= set(columns)), ("x", "y"))
    if pair == ("x", "y"):
        table.require(*(columns.get(name, name) for name in pair))
    else:
        _log.info("%s: centres are the columns %s and %s", table.path, *pair)
    xy_px = np.column_stack([table.numbers(columns[name]) for name in pair])
    names = next((table.columns[columns[name]] for name in NAME_COLUMNS if name in columns), None)
    row = column = np.full(len(table), -1, dtype=np.int32)
    if {"array_row", "array_col"} <= set(columns):
        row, column = (table.integers(columns[name]) for name in ("array_row", "array_col"))
    elif pair == ("pixel_x", "pixel_y") and {"x", "y"} <= set(columns):
        column, row = table.integers(columns["x"]), table.integers(columns["y"])
        names = names or [f"{x}x{y}" for x, y in zip(column, row, strict=True)]
    flag = next((columns[name] for name in FLAG_COLUMNS if name in columns), None)
    in_tissue = None if flag is None else table.numbers(flag) > 0
    return _spots(table.path, xy_px, row, column, names, layout, mpp, in_tissue)


def _positions_in(folder: Path) -> Path:
    """Find Space Ranger's positions in a folder, or in ``spatial`` or ``outs/spatial`` in it."""
    for place in (folder, folder / "spatial", folder / "outs" / "spatial"):
        for name in _POSITIONS:
            if (place / name).is_file():
                return place / name
    bins = sorted(folder.glob("**/square_*um/spatial/tissue_positions.parquet"))
    if bins:
        found = ", ".join(path.parent.parent.name for path in bins)
        raise SpotsError(
            f"{folder} holds bins of several sizes: {found}.",
            hint=f"Give one of them, e.g. --coords {bins[-1].parent.parent}.",
        )
    raise SpotsError(
        f"{folder} is a folder without spot positions.",
        hint=f"Give a file, or a folder with spatial/{_POSITIONS[1]} in it.",
    )


def _from_space_ranger(path: Path, layout: Layout, mpp: tuple[float, float]) -> Spots:
    barcodes, table = read_positions(path)
    row, column = table["array_row"].to_numpy(), table["array_col"].to_numpy()
    bins = _BIN.match(barcodes[0].decode(errors="replace"))
    if bins is not None:
        name, side_um = f"visium-hd-{int(bins[1])}", float(bins[1])
        layout = Layout(name, "square", side_um, side_um, "square")
    elif capture_area_mm(np.column_stack([column, row])) is not None:
        layout = layout_named("visium")
    return _spots(
        path,
        table[["pixel_x", "pixel_y"]].to_numpy(),
        row,
        column,
        barcodes.astype(np.str_),
        layout,
        mpp,
        table["in_tissue"].to_numpy() > 0,
    )


def _from_geojson(path: Path, layout: Layout, mpp: tuple[float, float]) -> Spots:
    found = read_centres(path)
    if found.left_out:
        _log.info("%s: %d annotations beside detections are left out", path, found.left_out)
    return _spots(path, found.xy_px, found.array_row, found.array_col, found.names, layout, mpp)


def _from_anndata(path: Path, layout: Layout, mpp: tuple[float, float]) -> Spots:
    """Read only what is needed: the expression of a prediction may be gigabytes."""
    try:
        with open_stored(path) as stored:
            if not (stored.has("obs") and stored.has("obsm/spatial")):
                raise SpotsError(
                    f'{path} has no obsm["spatial"].',
                    hint="It must hold spot centres (x, y) in pixels of the full-resolution image.",
                )
            names = stored.names("obs").tolist()
            unplaced = np.full(len(names), -1)
            xy_px = np.asarray(stored.read("obsm/spatial", filled=True), dtype=np.float64)
            known = stored.columns("obs")
            row, column = (
                np.asarray(stored.column("obs", name) if name in known else unplaced, np.int32)
                for name in ("array_row", "array_col")
            )
            in_tissue = None
            if stored.has("uns/hypergene/layout"):
                layout = stored_layout(path, stored.read("uns/hypergene/layout"))
            elif "in_tissue" in known:
                in_tissue = in_tissue_of(stored) > 0
    except DataError as reason:
        raise SpotsError(reason.message, hint=reason.hint) from None
    except (TypeError, ValueError):
        raise SpotsError(f"The coordinates in {path} are not all numbers.") from None
    if xy_px.shape != (len(names), 2):
        raise SpotsError(
            f'obsm["spatial"] of {path} has shape {xy_px.shape}, not ({len(names)}, 2).',
            hint="It must hold spot centres (x, y) in pixels.",
        )
    return _spots(path, xy_px, row, column, names, layout, mpp, in_tissue)


def stored_layout(path: str | os.PathLike[str], stored: Mapping[str, Any]) -> Layout:
    """Return the layout that ``uns["hypergene"]`` of a result states.

    Parameters
    ----------
    path
        Where it stands, for the message.
    stored
        Its ``layout``.

    Raises
    ------
    SpotsError
        It lacks its name, diameter_um or pitch_um.
    """
    try:
        name = str(stored["name"])
        diameter_um, pitch_um = float(stored["diameter_um"]), float(stored["pitch_um"])
        turn = float(stored.get("orientation_deg", 0.0))
    except (KeyError, TypeError, ValueError, IndexError):
        raise SpotsError(
            f'The layout in uns["hypergene"] of {path} lacks its name, diameter_um or pitch_um.'
        ) from None
    try:
        return layout_named(name, diameter_um=diameter_um, pitch_um=pitch_um, orientation_deg=turn)
    except UsageError:
        shape: Shape = "square" if stored.get("shape") == "square" else "circle"
        return Layout(name, "given", diameter_um, pitch_um, shape, turn)


def _spots(
    path: Path,
    xy_px: npt.NDArray[np.float64],
    array_row: npt.NDArray[np.int32],
    array_col: npt.NDArray[np.int32],
    names: list[str] | npt.NDArray[np.str_] | None,
    layout: Layout,
    mpp: tuple[float, float],
    in_tissue: npt.NDArray[np.bool_] | None = None,
) -> Spots:
    """Build the table of spots; what it refuses is this file's fault, so name the file."""
    return SpotCentres(str(path), xy_px, array_row, array_col, names, in_tissue).spots(layout, mpp)
