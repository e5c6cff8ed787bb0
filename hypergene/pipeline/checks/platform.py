"""Which machine measured a section: what its format says, else what its lattice looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from hypergene.st.lattice import lattice_of

# Space Ranger numbers the spots of a capture area of 6.5 mm from 0 to 77 and 0 to 127, those of
# 11 mm from 0 to 127 and 0 to 223; half of the places are spots.
_SMALL_VISIUM = (78, 128)

_HD_BINS_UM = (2, 8, 16)
_VISIUM_PITCH_UM = 100.0
_ST_PITCH_UM = 200.0
_ST_ARRAY = 36
"""Rows or columns that no array of legacy ST exceeds."""

_NEAR = 0.15
"""A pitch this close to a platform's, as a share of it, is taken for it."""

_FEWEST = 12


@dataclass(frozen=True)
class Platform:
    """A guess at the platform.

    Attributes
    ----------
    name
        ``visium 6.5 mm``, ``visium 11 mm``, ``visium`` (its size unknown), ``visium-hd-<µm>``,
        ``st``, ``xenium``, ``grid``, ``unknown``, or what the data say of themselves.
    reason
        What it was guessed from, a few words.
    """

    name: str
    reason: str


def guess_platform(adata: AnnData, mpp: float | None) -> Platform:
    """Guess which platform measured a section.

    What the format or the file states is believed; else the array's numbering decides (only
    Visium counts every other column), else the lattice of the positions and its pitch.

    Parameters
    ----------
    adata
        A canonical section.
    mpp
        µm per level-0 px; None if nobody knows.
    """
    about = adata.uns["hypergene"]
    stated = str(about.get("platform") or about.get("layout", {}).get("name") or "").lower()
    pitch_um = _pitch_um(adata, mpp)
    if stated not in ("", "given", "grid"):
        return _stated(stated, adata, pitch_um)
    if _every_other_column(adata):
        return Platform(_visium(adata), "every other column of its array is used")
    lattice = lattice_of(adata.obsm["spatial"])
    if lattice == "hexagon":
        return _hexagonal(adata, pitch_um)
    if lattice == "square":
        return _square(adata, pitch_um)
    return Platform("unknown", "its positions are on no lattice")


def _pitch_um(adata: AnnData, mpp: float | None) -> float | None:
    pitch_px = adata.uns["hypergene"].get("pitch_px")
    return None if mpp is None or not pitch_px else float(pitch_px) * mpp


def _stated(stated: str, adata: AnnData, pitch_um: float | None) -> Platform:
    """Refine what the data say of themselves: the size of the array, or of the bins."""
    about: dict[str, Any] = adata.uns["hypergene"]
    reason = f"as the reader of {about.get('format', 'its format')} says"
    if stated == "visium":
        return Platform(_visium(adata), reason)
    if stated == "visium-hd":
        side_um = about.get("layout", {}).get("pitch_um", pitch_um)
        return Platform(stated if side_um is None else f"{stated}-{side_um:g}", reason)
    return Platform(stated, reason)


def _every_other_column(adata: AnnData) -> bool:
    row, column = (adata.obs[name].to_numpy() for name in ("array_row", "array_col"))
    known = (row >= 0) & (column >= 0)
    if known.sum() < _FEWEST:
        return False
    row, column = row[known], column[known]
    even = (row + column) % 2 == 0
    return bool(even.all() and len(np.unique(row % 2)) == 2)


def _visium(adata: AnnData) -> str:
    """Tell the two capture areas apart: the reader knows, or else rows and columns say."""
    area_mm = adata.uns["hypergene"].get("capture_area_mm")
    row, column = (int(adata.obs[name].max()) for name in ("array_row", "array_col"))
    if area_mm is None and min(row, column) >= 0:
        area_mm = 6.5 if row < _SMALL_VISIUM[0] and column < _SMALL_VISIUM[1] else 11
    return "visium" if area_mm is None else f"visium {area_mm:g} mm"


def _hexagonal(adata: AnnData, pitch_um: float | None) -> Platform:
    if pitch_um is None:
        return Platform(_visium(adata), "a hexagonal lattice")
    reason = f"a hexagonal lattice, {pitch_um:.0f} µm apart"
    if abs(pitch_um / _VISIUM_PITCH_UM - 1) <= _NEAR:
        return Platform(_visium(adata), reason)
    return Platform("unknown", reason)


def _square(adata: AnnData, pitch_um: float | None) -> Platform:
    if pitch_um is None:
        row, column = (int(adata.obs[name].max()) for name in ("array_row", "array_col"))
        if min(row, column) >= 0 and max(row, column) < _ST_ARRAY:
            return Platform("st", f"a square lattice of at most {_ST_ARRAY} rows and columns")
        return Platform("grid", "a square lattice")
    reason = f"a square lattice, {pitch_um:.4g} µm apart"
    for side_um in _HD_BINS_UM:
        if abs(pitch_um / side_um - 1) <= _NEAR:
            return Platform(f"visium-hd-{side_um}", reason)
    if abs(pitch_um / _ST_PITCH_UM - 1) <= _NEAR:
        return Platform("st", reason)
    return Platform("grid", reason)
