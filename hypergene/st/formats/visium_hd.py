"""Visium HD as Space Ranger 3 and 4 write it: ``binned_outputs/square_{002,008,016}um/``.

``squidpy.read.visium`` reads no Parquet positions. ``spatialdata_io.visium_hd`` needs
``feature_slice.h5`` (of late ``segmented_outputs`` too), holds every bin as a polygon, checks with
``assert``, pools nothing to spots of a wanted side, and does not hand on the ``microns_per_pixel``
that Space Ranger states. Here bins are summed as they are read: what is held
of 11 million 2 µm bins is a few numbers each, never a Python object. ``segmented_outputs`` is left
alone.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from hypergene.errors import DataError
from hypergene.spots import Layout
from hypergene.st.formats.spaceranger import HD_BINS, describe, find_outs
from hypergene.st.formats.spaceranger_positions import read_positions
from hypergene.st.formats.tenx import TenxMatrix, as_text, open_matrix
from hypergene.st.genes import gene_table
from hypergene.st.join import FARTHEST_PX
from hypergene.st.pitch import square_pitch_px

_log = logging.getLogger(__name__)

DEFAULT_UM = 8.0
"""Side of a spot if nobody says: the bins that 10x Genomics analyses."""

_MOST_SPOTS = 4_000_000
"""A spot has a name and a row of its own; what is more than these is bins, to be pooled."""

_MOST_OFF_BINS = 10.0
"""RMS distance of the bins from one affine lattice. A camera's perspective makes it one or two."""

_FLAT = 1e-12
"""Bins whose scatter matrix has a determinant this small (over its squared trace) are on a line."""


def recognises(data: Path) -> bool:
    """Tell whether a path is, holds or lies in the binned outputs of Visium HD, by names alone."""
    try:
        return bool(_bins(data))
    except OSError:
        return False


def read(data: Path, spots: Path | None = None, spot_um: float | None = None) -> AnnData:
    """Read one capture area in square spots of a wanted side.

    The coarsest binning that divides the side is taken. A pooled spot sums those of its bins that
    are in the tissue, and is in the tissue itself if at least half of the bins are that its square
    has room for.

    Parameters
    ----------
    data
        ``outs``, the run's folder above it, ``binned_outputs``; or one ``square_XXXum`` folder or
        the matrix in it, if only that binning is to be used.
    spots
        Positions of the bins, if they are not in ``spatial``.
    spot_um
        Side of a spot, µm: a whole multiple of an available bin. None = 8, or the bin's own side
        if `data` is one square folder.

    Returns
    -------
    AnnData
        ``X``: int32 CSR counts (spots that hold a bin with counts and a position, genes), row by
        row of the array; ``obs``: in_tissue, array_row, array_col (of the lattice of spots);
        ``obsm["spatial"]``: (x, y) level-0 px, centres of the squares; ``uns["hypergene"]``:
        counts_from, positions_from, pooling (in words), dropped (numbers of *bins*), layout
        (``visium-hd-8``, …), platform, pitch_px, and where the scale factors state them
        spot_diameter_px (the side), mpp with mpp_source, hires_scale, lowres_scale;
        features_left_out, warnings. Unpooled bins keep their barcodes as names, pooled spots are
        called by their place, as ``s_056um_00012_00034``.

    Raises
    ------
    DataError
        No bins, or none that can be pooled to `spot_um`; too many spots; a file that is missing,
        damaged or malformed; no bin that both counts and positions have.
    """
    folder, bin_um, side_um = _choose(data, spot_um)
    pooled = round(side_um / bin_um)
    outs = find_outs(data if folder in data.parents else folder, spots)
    matrix = open_matrix(outs.counts)
    about = describe(outs, matrix)
    about["counts_from"] = f"{folder.name}/{about['counts_from']}"
    if about.pop("bin_um", bin_um) != bin_um:
        raise DataError(
            f"{outs.scale_factors} has another bin_size_um than its folder {folder.name} says.",
            hint="Copy Space Ranger's folder again.",
        )
    if "spot_diameter_px" in about:
        about["spot_diameter_px"] *= pooled
    if pooled > 1:
        about["pooling"] = (
            f"{pooled} x {pooled} bins of {bin_um} µm, summed where in the tissue; a spot is in "
            "the tissue if at least half of its bins are"
        )
    layout = Layout(f"visium-hd-{side_um:g}", "square", side_um, side_um, "square")
    about |= {"layout": asdict(layout), "platform": "visium-hd"}
    adata = _pool(matrix, outs.positions, bin_um, pooled)
    array_xy = adata.obs[["array_col", "array_row"]].to_numpy()
    if (pitch := square_pitch_px(array_xy, adata.obsm["spatial"])) is not None:
        about["pitch_px"] = pitch
    adata.uns["hypergene"] |= about
    _log.info("%s: %d spots of %g µm from bins of %d µm", data, adata.n_obs, side_um, bin_um)
    return adata


def _bins(data: Path) -> dict[int, Path]:
    """Find the folders of bins by their side in µm; one, if the path is or lies in one."""
    within = data if data.is_dir() else data.parent
    for place in (within, within.parent):
        if (match := HD_BINS.fullmatch(place.name)) is not None:
            return {int(match[1]): place}
    for folder in (data, data / "outs"):
        for place in (folder, folder / "binned_outputs"):
            found = {
                int(match[1]): path
                for path in (place.iterdir() if place.is_dir() else ())
                if (match := HD_BINS.fullmatch(path.name)) is not None and path.is_dir()
            }
            if found:
                return found
    return {}


def _choose(data: Path, spot_um: float | None) -> tuple[Path, int, float]:
    """Return the folder of bins to read, the side of these bins, and that of the spots, µm."""
    if not data.exists():
        raise DataError(f"There is no {data}.", hint="Check the path.")
    try:
        bins = {um: folder for um, folder in _bins(data).items() if um > 0}
    except OSError as reason:
        raise DataError(
            f"{data} cannot be read: {reason.strerror}.", hint="Check its permissions."
        ) from None
    if not bins:
        raise DataError(
            f"{data} holds no folders of bins (square_008um and the like).",
            hint="Name Space Ranger's folder 'outs', with its folder 'binned_outputs'.",
        )
    if spot_um is None:
        own = [um for um, folder in bins.items() if folder in (data, *data.parents)]
        spot_um = float(own[0]) if own else DEFAULT_UM
    dividing = [
        um
        for um in bins
        if math.isfinite(spot_um) and spot_um >= um and math.isclose(spot_um % um, 0, abs_tol=1e-9)
    ]
    if not dividing:
        raise DataError(
            f"{data} has bins of {', '.join(map(str, sorted(bins)))} µm, of which no spots of "
            f"{spot_um:g} µm can be pooled.",
            hint=f"Give a multiple as spot_um, such as {7 * min(bins)} or {8 * min(bins)}.",
        )
    return bins[max(dividing)], max(dividing), float(spot_um)


def _pool(matrix: TenxMatrix, path: Path, bin_um: int, pooled: int) -> AnnData:
    """Sum squares of pooled x pooled bins, whose positions are in `path`."""
    barcodes, bins = read_positions(path)
    place = _places(matrix, barcodes, path)
    found = place >= 0
    squares, spot = _squares(bins, place[found], pooled, path)
    if len(squares) > _MOST_SPOTS:
        raise DataError(
            f"{matrix.path} would give {len(squares):,} spots of {bin_um * pooled} µm.",
            hint="Give a larger spot_um to pool the bins, such as 8 or 56.",
        )
    of_spot = np.flatnonzero(spot >= 0)
    number = np.bincount(spot[of_spot])
    if number.max() > pooled**2:
        raise DataError(
            f"{path} has more than one bin at one array_row and array_col.",
            hint="Give one section a file.",
        )
    in_tissue = bins["in_tissue"].to_numpy() > 0
    share = np.bincount(spot[of_spot], in_tissue[of_spot]) / pooled**2
    obs = pd.DataFrame(
        {
            "in_tissue": (share >= 0.5).astype(np.int8),
            "array_row": (squares >> 32).astype(np.int32),
            "array_col": (squares & 0xFFFFFFFF).astype(np.int32),
        }
    )
    if pooled == 1:
        at = np.empty(len(squares), dtype=np.int64)
        at[spot[of_spot]] = of_spot
        obs.index = pd.Index(as_text(barcodes[at]))
    else:
        places = zip(obs["array_row"], obs["array_col"], strict=True)
        side = f"s_{bin_um * pooled:03d}um"
        obs.index = pd.Index([f"{side}_{row:05d}_{column:05d}" for row, column in places])
    xy_px = _centres(bins, spot, obs, pooled, path)
    summed = found & in_tissue[place]
    dropped = {
        "counts_without_position": int((~found).sum()),
        "positions_without_counts": len(bins) - int(found.sum()),
        "bins_outside_tissue": int((found & ~summed).sum()),
    }
    group = np.where(summed, spot[place], -1)
    del barcodes, bins, spot, of_spot, place  # hundreds of MB, of 2 µm bins
    return AnnData(
        X=matrix.summed(group, len(squares)),
        obs=obs,
        var=gene_table(matrix.symbols, matrix.ids),
        obsm={"spatial": xy_px},
        uns={"hypergene": {"dropped": dropped}},
    )


def _squares(
    bins: pd.DataFrame, counted: npt.NDArray[np.int64], pooled: int, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the squares that hold a counted bin, and which of them each bin is in (-1: none).

    A square is its row on the lattice of spots in the upper 32 bits, and its column in the lower.
    """
    row, column = bins["array_row"].to_numpy(), bins["array_col"].to_numpy()
    if min(row.min(), column.min()) < 0:
        raise DataError(f"{path} has an array_row or array_col below 0.", hint="Copy it again.")
    square = (row // pooled).astype(np.int64) << 32 | (column // pooled)
    squares = np.unique(square[counted])
    spot = np.searchsorted(squares, square)
    spot[squares[np.minimum(spot, len(squares) - 1)] != square] = -1
    return squares, spot


def _places(
    matrix: TenxMatrix, barcodes: npt.NDArray[np.bytes_], path: Path
) -> npt.NDArray[np.int64]:
    """Return which of the `barcodes` each one of the matrix is, -1 if none."""
    wanted = matrix.barcodes
    order = np.arange(len(barcodes))
    if not (barcodes[1:] >= barcodes[:-1]).all():
        order = np.argsort(barcodes, kind="stable")
        barcodes = barcodes[order]
    at = np.minimum(np.searchsorted(barcodes, wanted), len(barcodes) - 1)
    place = np.where(barcodes[at] == wanted, order[at], -1)
    if not (place >= 0).any():
        raise DataError(
            f"None of the {len(wanted)} bins of {matrix.path} (such as {as_text(wanted[:1])[0]!r}) "
            f"is among the {len(barcodes)} of {path} (such as {as_text(barcodes[:1])[0]!r}).",
            hint="Both must be of one square_XXXum folder.",
        )
    twins = {matrix.path: np.bincount(place[place >= 0]).max() > 1}
    twins[path] = bool((barcodes[1:] == barcodes[:-1]).any())
    for file, has_twins in twins.items():
        if has_twins:
            raise DataError(f"{file} has barcodes more than once.", hint="Give one section a file.")
    return place


def _centres(
    bins: pd.DataFrame, spot: npt.NDArray[np.int64], obs: pd.DataFrame, pooled: int, path: Path
) -> npt.NDArray[np.float64]:
    """Return the centres of the squares, (n, 2) level-0 px.

    The mean of the bins that a square has, moved to the middle of the square by the affine map
    from array to pixels: a whole square is not moved, so a camera's perspective does no harm.
    """
    names = ["array_col", "array_row", "pixel_x", "pixel_y"]
    if max(np.abs(bins[name]).max() for name in names[2:]) > FARTHEST_PX:
        raise DataError(
            f"{path} puts bins more than {FARTHEST_PX:.0e} px away.",
            hint="Positions are pixels of the full-resolution image.",
        )
    centred = [bins[name].to_numpy(np.float64) - bins[name].mean() for name in names]
    products = np.array([[np.dot(a, b) for b in centred] for a in centred])
    linear, *_ = np.linalg.lstsq(products[:2, :2], products[:2, 2:])
    unexplained = np.trace(products[2:, 2:]) - np.sum(linear * products[:2, 2:])
    off_px = math.sqrt(max(unexplained, 0) / len(bins))
    longer_px, shorter_px = np.linalg.svd(linear, compute_uv=False)
    on_a_line = np.linalg.det(products[:2, :2]) <= _FLAT * np.trace(products[:2, :2]) ** 2
    if not on_a_line and max(longer_px / 2, off_px / _MOST_OFF_BINS) > shorter_px:
        raise DataError(
            f"{path} has pixels that make no square lattice of array_row and array_col (a step is "
            f"{shorter_px:.3g} to {longer_px:.3g} px, and bins are {off_px:.3g} px off).",
            hint="The table is damaged or put together wrongly: copy it again.",
        )
    kept = spot >= 0
    number = np.bincount(spot[kept])
    means = [np.bincount(spot[kept], bins[name].to_numpy()[kept]) / number for name in names]
    middle = obs[["array_col", "array_row"]].to_numpy() * pooled + (pooled - 1) / 2
    return np.column_stack(means[2:]) + (middle - np.column_stack(means[:2])) @ linear
