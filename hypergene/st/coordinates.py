"""Spot centres that the user gives: a table with x and y, or the spots of an AnnData file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hypergene.errors import DataError, SpotsError, UsageError
from hypergene.spots import Layout, Spots, layout_named
from hypergene.spots.layout import Shape
from hypergene.st.formats.anndata_store import open_stored
from hypergene.st.table import Table, read_table

_log = logging.getLogger(__name__)


def read_coords(path: str | os.PathLike[str], *, layout: Layout, mpp: tuple[float, float]) -> Spots:
    """Read spot centres in level-0 px.

    Parameters
    ----------
    path
        One of

        - CSV or TSV (plain or gzipped) with the columns ``x`` and ``y``, and if wanted ``name``,
          ``array_row``, ``array_col``;
        - a legacy ST selection table: with ``pixel_x`` and ``pixel_y`` beside ``x`` and ``y`` the
          centres are the former, and the latter the place on the array;
        - an AnnData file, .h5ad or .zarr, with ``obsm["spatial"]``, such as our ``*.spots.zarr``:
          its names, array_row, array_col and layout are kept.
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
        No such file; not a table or AnnData; missing columns (naming them and those found);
        values that are no finite numbers; no spots; a name twice.
    """
    path = Path(path)
    if not path.exists():
        raise SpotsError(f"There is no file {path}.", hint="Check the path given to --coords.")
    if path.suffix.lower() in (".h5ad", ".zarr"):
        return _from_anndata(path, layout, mpp)
    return _from_table(read_table(path, "\t,", error=SpotsError), layout, mpp)


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


def _outside(xy_px: npt.NDArray[np.float64], size_px: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.any((xy_px < 0) | (xy_px >= size_px), axis=1)


def _from_table(table: Table, layout: Layout, mpp: tuple[float, float]) -> Spots:
    unplaced = np.full(len(table), -1, dtype=np.int32)
    names = table.columns.get("name")
    if {"pixel_x", "pixel_y"} <= set(table.columns):
        _log.info("%s: centres are the columns pixel_x and pixel_y", table.path)
        xy_px = np.column_stack([table.numbers("pixel_x"), table.numbers("pixel_y")])
        column, row = unplaced, unplaced
        if {"x", "y"} <= set(table.columns):
            column, row = table.integers("x"), table.integers("y")
            names = names or [f"{x}x{y}" for x, y in zip(column, row, strict=True)]
    else:
        table.require("x", "y")
        xy_px = np.column_stack([table.numbers("x"), table.numbers("y")])
        row, column = (
            table.integers(name) if name in table.columns else unplaced
            for name in ("array_row", "array_col")
        )
    return _spots(table.path, xy_px, row, column, names, layout, mpp)


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
            if stored.has("uns/hypergene/layout"):
                layout = _stored_layout(path, stored.read("uns/hypergene/layout"))
    except DataError as reason:
        raise SpotsError(reason.message, hint=reason.hint) from None
    except (TypeError, ValueError):
        raise SpotsError(f"The coordinates in {path} are not all numbers.") from None
    if xy_px.shape != (len(names), 2):
        raise SpotsError(
            f'obsm["spatial"] of {path} has shape {xy_px.shape}, not ({len(names)}, 2).',
            hint="It must hold spot centres (x, y) in pixels.",
        )
    return _spots(path, xy_px, row, column, names, layout, mpp)


def _stored_layout(path: Path, stored: Mapping[str, Any]) -> Layout:
    try:
        name = str(stored["name"])
        diameter_um, pitch_um = float(stored["diameter_um"]), float(stored["pitch_um"])
    except (KeyError, TypeError, ValueError, IndexError):
        raise SpotsError(
            f'The layout in uns["hypergene"] of {path} lacks its name, diameter_um or pitch_um.'
        ) from None
    try:
        return layout_named(name, diameter_um=diameter_um, pitch_um=pitch_um)
    except UsageError:
        shape: Shape = "square" if stored.get("shape") == "square" else "circle"
        return Layout(name, "given", diameter_um, pitch_um, shape)


def _spots(
    path: Path,
    xy_px: npt.NDArray[np.float64],
    array_row: npt.NDArray[np.int32],
    array_col: npt.NDArray[np.int32],
    names: list[str] | None,
    layout: Layout,
    mpp: tuple[float, float],
) -> Spots:
    """Build the table of spots; what it refuses is this file's fault, so name the file."""
    if not len(xy_px):
        raise SpotsError(f"{path} has no spots.")
    try:
        return Spots(
            xy_px=xy_px,
            array_row=array_row,
            array_col=array_col,
            names=np.asarray(names or [f"spot{i}" for i in range(len(xy_px))], dtype=np.str_),
            layout=layout,
            mpp=mpp,
        )
    except SpotsError as reason:
        raise SpotsError(f"{path}: {reason.message}", hint=reason.hint) from None
