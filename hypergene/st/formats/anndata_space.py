"""Where the spots of an AnnData are: positions, array, scale factors, layout, whose section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hypergene.errors import DataError, HypergeneError
from hypergene.spots import Layout, layout_named
from hypergene.st.formats.anndata_store import Stored
from hypergene.st.join import FARTHEST_PX
from hypergene.st.lattice import square_lattice_pitch_px, visium_pitch_px
from hypergene.st.pitch import nearest_pitch_px

# Names that (x, y) go by where obsm["spatial"] is a data frame, whatever their order in it.
_XY = (
    *(("x", "y"), ("pixel_x", "pixel_y"), ("pxl_col_in_fullres", "pxl_row_in_fullres")),
    *(("imagecol", "imagerow"), ("spatial_x", "spatial_y")),
)
_SECTION_COLUMNS = ("library_id", "library_key")
_AGREES = 0.05
"""Two statements of one length agree within this share."""

_TWICE = 0.1
"""Platforms have one spot a place; where more than this share repeats, sections were mixed."""

_VISIUM_SPOT = (0.45, 0.75)
"""A spot's diameter in pitches: 0.55, or the 0.65 that Space Ranger writes."""


def positions_px(stored: Stored) -> tuple[npt.NDArray[np.float64], str | None]:
    """Read spot centres from ``obsm["spatial"]``.

    A data frame gives its columns x and y (or pxl_col_in_fullres and pxl_row_in_fullres ...); a
    third column is left out if it is the same in all spots.

    Returns
    -------
    array
        float64 (spots, 2), finite: (x, y) level-0 px.
    str or None
        What a user should know of how they were found.

    Raises
    ------
    DataError
        If there are none, or they are not two finite numbers a spot.
    """
    place = f'obsm["spatial"] of {stored.name}'
    if not stored.has("obsm/spatial"):
        raise DataError(
            f'{stored.name} has no obsm["spatial"] (obsm holds: '
            f"{', '.join(stored.keys('obsm')) or 'nothing'}).",
            hint="It must hold spot centres (x, y) in pixels of the full-resolution image.",
        )
    found, said = stored.read("obsm/spatial", filled=True), None
    if isinstance(found, pd.DataFrame):
        found, said = _columns_xy(found, place)
    try:
        xy_px = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{place} holds no numbers.", hint="It must hold spot centres (x, y) in pixels."
        ) from None
    shape, n = xy_px.shape, stored.length("obs")
    if xy_px.ndim == 2 and shape[1] == 3 and n and np.ptp(xy_px[:, 2]) == 0:
        said = f"{place} has a third column, {xy_px[0, 2]:g} in all spots, which is not used."
        xy_px = xy_px[:, :2]
    if xy_px.shape != (n, 2):
        raise DataError(
            f"{place} has shape {shape}, not ({n}, 2).",
            hint="It must hold spot centres (x, y) in pixels.",
        )
    finite = np.isfinite(xy_px).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{place} has {int((~finite).sum())} spots without a position.",
            hint="Remove them, or give their positions.",
        )
    if np.abs(xy_px).max(initial=0) > FARTHEST_PX:
        raise DataError(
            f"{place} puts a spot more than {FARTHEST_PX:.0e} px away.",
            hint="Positions are pixels of the full-resolution image.",
        )
    if n > 1 and not np.ptp(xy_px, axis=0).any():
        raise DataError(
            f"{place}, of shape {shape}, puts all spots on one point.",
            hint="It must hold spot centres (x, y) in pixels.",
        )
    return xy_px, said


def _columns_xy(frame: pd.DataFrame, place: str) -> tuple[Any, str | None]:
    """Return x and y of a data frame by the names of its columns, else as they come."""
    columns = {str(name).lower(): name for name in frame}
    for x, y in _XY:
        if x in columns and y in columns:
            return frame[[columns[x], columns[y]]].to_numpy(), None
    said = f"{place} has the columns {', '.join(map(str, frame))}; the first is taken as x."
    return frame.to_numpy(), said


def place_of_array(stored: Stored, column: str) -> npt.NDArray[np.int32]:
    """Read ``array_row`` or ``array_col``; -1 in all spots if there is no such column.

    Raises
    ------
    DataError
        If it holds anything but integers.
    """
    if column not in stored.columns("obs"):
        return np.full(stored.length("obs"), -1, dtype=np.int32)
    values = pd.to_numeric(stored.column("obs", column).astype(object), errors="coerce")
    numbers = values.to_numpy(np.float64)
    whole = np.isfinite(numbers) & (numbers == np.rint(numbers)) & (np.abs(numbers) < 2**31)
    if not whole.all():
        raise DataError(
            f"{column} of {stored.name} holds values that are not integers.",
            hint=f"Correct obs['{column}'], or remove it: it is not needed.",
        )
    return numbers.astype(np.int32)


def read_space(stored: Stored, obs: pd.DataFrame, xy_px: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Read and measure the geometry of one section.

    The layout is what hypergene wrote into the file; else bins of the size that the scale factors
    state, if the positions are that far apart; else Visium, if array and positions agree on its
    lattice (never by a name alone).

    Parameters
    ----------
    stored
        The file.
    obs
        Canonical obs of the spots that have a position.
    xy_px
        Their centres, float64 (n, 2), level-0 px.

    Returns
    -------
    dict
        As far as known: library, spot_diameter_px, hires_scale, lowres_scale, mpp, mpp_source,
        pitch_px, layout, platform.

    Raises
    ------
    DataError
        If the file holds several sections.
    """
    row, column = (obs[name].to_numpy() for name in ("array_row", "array_col"))
    library = _library(stored)
    _refuse_mixed(stored, row, column)
    about: dict[str, Any] = {} if library is None else {"library": library}
    factors = _scale_factors(stored, library)
    for name, key in (
        ("spot_diameter_px", "spot_diameter_fullres"),
        ("hires_scale", "tissue_hires_scalef"),
        ("lowres_scale", "tissue_lowres_scalef"),
    ):
        if key in factors:
            about[name] = factors[key]
    if "microns_per_pixel" in factors:
        about["mpp"] = [factors["microns_per_pixel"]] * 2
        about["mpp_source"] = f'uns["spatial"]["{library}"]["scalefactors"]["microns_per_pixel"]'
    hexagon = visium_pitch_px(row, column, xy_px)
    pitch = hexagon or square_lattice_pitch_px(row, column, xy_px) or nearest_pitch_px(xy_px)
    if pitch is not None:
        about["pitch_px"] = pitch
    about = _ours(stored) | about
    if "layout" not in about:
        about |= _bins(factors, pitch)
    if "layout" not in about and hexagon is not None and _is_visium(hexagon, about):
        about |= {"layout": asdict(layout_named("visium")), "platform": "visium"}
    return about


def _library(stored: Stored) -> str | None:
    """Return the only section's key in ``uns["spatial"]``, None if there is none."""
    libraries = [key for key in stored.keys("uns/spatial") if stored.keys(f"uns/spatial/{key}")]
    columns = stored.columns("obs")
    hint = "Write each section to a file of its own: adata[adata.obs['{}'] == '{}'].copy()."
    for column in columns if len(libraries) > 1 else (c for c in _SECTION_COLUMNS if c in columns):
        values = stored.column("obs", column).dropna()
        if values.dtype.kind in "biufcmM":
            continue
        sections = sorted(set(values.astype(str)))
        if len(libraries) > 1 and not (sections and set(sections) <= set(libraries)):
            continue
        if len(sections) > 1:
            raise DataError(
                f"{stored.name} holds {len(sections)} sections ({', '.join(sections[:5])}"
                f"{' ...' if len(sections) > 5 else ''}, by obs['{column}']).",
                hint=hint.format(column, sections[0]),
            )
        if len(libraries) > 1:  # the others are left from before this one was cut out
            return sections[0]
    if len(libraries) > 1:
        raise DataError(
            f'{stored.name} has {len(libraries)} libraries in uns["spatial"] '
            f"({', '.join(libraries[:5])}), and no column of obs says which spots are whose.",
            hint="Write each section to a file of its own.",
        )
    return libraries[0] if libraries else None


def _refuse_mixed(
    stored: Stored, row: npt.NDArray[np.int32], column: npt.NDArray[np.int32]
) -> None:
    place = pd.DataFrame({"row": row, "column": column})
    if min(place.nunique()) < 2:  # off any array
        return
    twice = place.duplicated(keep=False).mean()
    if twice > _TWICE:
        raise DataError(
            f"In {stored.name} {twice:.0%} of the spots share array_row and array_col with "
            "another, as where several sections are in one file.",
            hint="Write each section to a file of its own, or remove array_row and array_col if "
            "they mean something else.",
        )


def _scale_factors(stored: Stored, library: str | None) -> dict[str, float]:
    """Read those scale factors that are positive numbers."""
    key = f"uns/spatial/{library}/scalefactors"
    factors = {}
    for name in () if library is None else stored.keys(key):
        try:
            value = float(np.asarray(stored.read(f"{key}/{name}")).item())
        except (TypeError, ValueError):
            continue
        if np.isfinite(value) and value > 0:
            factors[name] = value
    return factors


def _ours(stored: Stored) -> dict[str, Any]:
    """Return the geometry that hypergene wrote into the file, as far as it makes sense."""
    if not stored.has("uns/hypergene"):
        return {}
    written = stored.read("uns/hypergene")
    if not isinstance(written, Mapping):
        return {}
    about: dict[str, Any] = {}
    if (layout := _layout(written.get("layout"))) is not None:
        about["layout"] = asdict(layout)
    if "platform" in written:
        about["platform"] = str(written["platform"])
    mpp = _numbers(written.get("mpp"))
    if len(mpp) == 2:
        about["mpp"] = mpp
        about["mpp_source"] = str(written.get("mpp_source", 'uns["hypergene"]["mpp"]'))
    for name in ("spot_diameter_px", "hires_scale", "lowres_scale"):
        if len(value := _numbers(written.get(name))) == 1:
            about[name] = value[0]
    return about


def _numbers(value: Any) -> list[float]:
    """Return one or more positive numbers, or an empty list."""
    try:
        numbers = np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        return []
    return numbers.tolist() if np.isfinite(numbers).all() and (numbers > 0).all() else []


def _layout(written: Any) -> Layout | None:
    try:
        name = str(written["name"])
        diameter_um, pitch_um = float(written["diameter_um"]), float(written["pitch_um"])
        if "lattice" not in written or "shape" not in written:
            return layout_named(name, diameter_um=diameter_um, pitch_um=pitch_um)
        lattice, shape = str(written["lattice"]), str(written["shape"])
        if lattice not in ("hexagon", "square", "given") or shape not in ("circle", "square"):
            return None
        return Layout(name, lattice, diameter_um, pitch_um, shape)  # type: ignore[arg-type]
    except (HypergeneError, KeyError, IndexError, TypeError, ValueError):
        return None


def _bins(factors: Mapping[str, float], pitch_px: float | None) -> dict[str, Any]:
    """Return the layout of Visium HD's bins, if the positions are as far apart as they claim."""
    side, mpp = factors.get("bin_size_um"), factors.get("microns_per_pixel")
    if side is None or mpp is None or pitch_px is None or not _agree(pitch_px * mpp, side):
        return {}
    return {"layout": asdict(layout_named("grid", diameter_um=side)), "platform": "visium-hd"}


def _is_visium(pitch_px: float, about: Mapping[str, Any]) -> bool:
    """Tell whether a hexagonal lattice is Visium's by what else is known of its size."""
    visium = layout_named("visium")
    mpp, diameter = about.get("mpp"), about.get("spot_diameter_px")
    if mpp is not None and not _agree(pitch_px * float(np.mean(mpp)), visium.pitch_um):
        return False
    low, high = _VISIUM_SPOT
    return diameter is None or low <= diameter / pitch_px <= high


def _agree(one: float, other: float) -> bool:
    return abs(one / other - 1) <= _AGREES
