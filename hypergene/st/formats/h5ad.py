"""AnnData files in the layout of squidpy and scanpy, with raw counts somewhere in them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st.genes import gene_table, is_ensembl
from hypergene.st.normalise import check_counts
from hypergene.st.pitch import nearest_pitch_px

_SYMBOLS = ("feature_name", "gene_symbols", "gene_symbol", "gene_name", "symbol")
_IDS = ("gene_ids", "gene_id", "ensembl_id", "feature_id")


def recognises(data: Path) -> bool:
    """Tell whether a file is named like an AnnData file."""
    return data.suffix.lower() == ".h5ad"


def read(data: Path, spots: Path | None = None) -> AnnData:
    """Read one section.

    Counts are the first of ``layers["counts"]``, ``raw`` and ``X`` that holds whole numbers; a
    ``layers["counts"]`` that does not is an error, as its name promises them.

    Parameters
    ----------
    data
        The .h5ad file.
    spots
        Has no meaning here: positions are in the file.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts; ``obs``: in_tissue, array_row, array_col (-1 where the file places
        no spot on a lattice); ``obsm["spatial"]``: (x, y) level-0 px; ``uns["hypergene"]``:
        counts_from (which of the three), dropped, pitch_px, and where the file has them layout
        and spot_diameter_px.

    Raises
    ------
    DataError
        If the file is no AnnData, has no whole numbers or no positions, or if `spots` is given.
    """
    if spots is not None:
        raise DataError(
            f"{data} has its positions inside, but {spots} was given too.",
            hint="Leave the column 'spots' empty for h5ad.",
        )
    if not data.is_file():
        raise DataError(f"{data} is not a file.", hint="Give the path of an .h5ad file.")
    try:
        with warnings.catch_warnings():
            # Names that are not unique are made so, or refused, below.
            warnings.filterwarnings("ignore", ".*names are not unique", UserWarning)
            stored = anndata.read_h5ad(data)
    except Exception as reason:  # a foreign file can fail anywhere in h5py and anndata
        raise DataError(
            f"{data} cannot be read as AnnData: {_first_line(reason)}.",
            hint="Is it a whole .h5ad file?",
        ) from None
    if not stored.n_obs:
        raise DataError(f"{data} has no spots.")
    if not stored.obs_names.is_unique:
        twice = stored.obs_names[stored.obs_names.duplicated()]
        raise DataError(
            f"{data} has {twice.nunique()} spot names more than once (such as {twice[0]!r}).",
            hint="Give one section a file.",
        )
    counts, var, place = _find_counts(stored, data)
    xy_px = _positions(stored, data)
    about: dict[str, Any] = {"counts_from": place, "dropped": {}}
    if (pitch := nearest_pitch_px(xy_px)) is not None:
        about["pitch_px"] = pitch
    if (diameter := _spot_diameter_px(stored)) is not None:
        about["spot_diameter_px"] = diameter
    if (layout := _layout(stored)) is not None:
        about["layout"] = layout
    obs = pd.DataFrame(
        {
            "in_tissue": _in_tissue(stored, data),
            "array_row": _lattice(stored, "array_row", data),
            "array_col": _lattice(stored, "array_col", data),
        },
        index=stored.obs_names.astype(str),
    )
    return AnnData(X=counts, obs=obs, var=var, obsm={"spatial": xy_px}, uns={"hypergene": about})


def _find_counts(stored: AnnData, data: Path) -> tuple[sparse.csr_matrix, pd.DataFrame, str]:
    """Return counts, canonical var and the place they were found."""
    if "counts" in stored.layers:
        counts = check_counts(stored.layers["counts"], f'layers["counts"] of {data}')
        return counts, _genes(stored.var), 'layers["counts"]'
    places = [("raw", stored.raw)] if stored.raw is not None else []
    places += [("X", stored)] if stored.X is not None else []
    reasons = []
    for place, holder in places:
        try:
            return check_counts(holder.X, f"{place} of {data}"), _genes(holder.var), place
        except DataError as reason:
            reasons.append(reason.message)
    raise DataError(
        f"{data} has no raw counts: " + (" ".join(reasons) or "it has no layers, raw or X."),
        hint='Put raw counts in layers["counts"].',
    )


def _genes(var: pd.DataFrame) -> pd.DataFrame:
    """Build the canonical var from whichever columns name symbols and identifiers."""
    index = var.index.astype(str).tolist()
    symbols, ids = index, None
    id_column = next((name for name in _IDS if name in var), None)
    if id_column is not None:
        ids = var[id_column].astype(object).where(var[id_column].notna(), "").astype(str).tolist()
    if sum(map(is_ensembl, index)) > len(index) / 2:
        ids = index
        symbol_column = next((name for name in _SYMBOLS if name in var), None)
        if symbol_column is not None:
            given = var[symbol_column].astype(object)
            symbols = [
                str(symbol) if pd.notna(symbol) and str(symbol).strip() else identifier
                for symbol, identifier in zip(given, index, strict=True)
            ]
    return gene_table(symbols, ids)


def _positions(stored: AnnData, data: Path) -> npt.NDArray[np.float64]:
    if "spatial" not in stored.obsm:
        raise DataError(
            f'{data} has no obsm["spatial"].',
            hint="It must hold spot centres (x, y) in pixels of the full-resolution image.",
        )
    try:
        xy_px = np.asarray(stored.obsm["spatial"], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f'obsm["spatial"] of {data} holds no numbers.') from None
    if xy_px.ndim != 2 or xy_px.shape[1] != 2:
        raise DataError(
            f'obsm["spatial"] of {data} has shape {xy_px.shape}, not (spots, 2).',
            hint="It must hold spot centres (x, y) in pixels.",
        )
    if not np.isfinite(xy_px).all():
        raise DataError(
            f'obsm["spatial"] of {data} has {int((~np.isfinite(xy_px)).any(axis=1).sum())} spots '
            "without a position.",
            hint="Remove them, or give their positions.",
        )
    return xy_px


def _lattice(stored: AnnData, column: str, data: Path) -> npt.NDArray[np.int32]:
    if column not in stored.obs:
        return np.full(stored.n_obs, -1, dtype=np.int32)
    values = pd.to_numeric(stored.obs[column].astype(object), errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2**31)).all():
        raise DataError(f"{column} of {data} holds values that are not integers.")
    return values.astype(np.int32)


def _in_tissue(stored: AnnData, data: Path) -> npt.NDArray[np.int8]:
    if "in_tissue" not in stored.obs:
        return np.ones(stored.n_obs, dtype=np.int8)
    words = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
    flags = stored.obs["in_tissue"].astype(str).str.lower().map(words)
    if flags.isna().any():
        raise DataError(f"in_tissue of {data} holds values other than 0 and 1.")
    return flags.to_numpy(dtype=np.int8)


def _spot_diameter_px(stored: AnnData) -> float | None:
    libraries = stored.uns.get("spatial", {})
    if not isinstance(libraries, dict) or len(libraries) != 1:
        return None
    library = next(iter(libraries.values()))
    try:
        diameter = float(library["scalefactors"]["spot_diameter_fullres"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return diameter if np.isfinite(diameter) and diameter > 0 else None


def _layout(stored: AnnData) -> dict[str, Any] | None:
    """Return the layout that hypergene wrote into the file, if it did."""
    about = stored.uns.get("hypergene", {})
    try:
        layout = about["layout"]
        return dict(layout) | {
            "name": str(layout["name"]),
            "diameter_um": float(layout["diameter_um"]),
            "pitch_um": float(layout["pitch_um"]),
        }
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _first_line(reason: Exception) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")
