"""Which spots of a slide are looked at, laid or given, and how much tissue each holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hypergene.errors import TissueError, UsageError
from hypergene.output import spatial_uns
from hypergene.slide import (
    Slide,
    SpotQuality,
    TissueMask,
    TissueOutlines,
    draw_tissue,
    find_tissue,
    load_tissue,
    measure_quality,
    plugin_tissue,
    tissue_plugins,
    whole_slide,
)
from hypergene.spots import LaidLattice, Layout, Spots, lay_spots, no_whole_spot
from hypergene.st import SpotCentres, check_inside, check_pitch, read_coords


@dataclass(frozen=True, eq=False)
class SpotsOnTissue:
    """Spots and the tissue under them.

    Attributes
    ----------
    spots
        The n spots kept.
    fraction
        float32 (n,), share of each spot's area that lies on tissue, 0..1.
    mask
        The tissue mask the fractions were measured on.
    """

    spots: Spots
    fraction: NDArray[np.float32]
    mask: TissueMask


def place_spots(
    slide: Slide,
    layout: Layout,
    *,
    coords: str | Path | SpotCentres | None = None,
    tissue: str | TissueOutlines = "auto",
    min_tissue: float = 0.25,
    offset_um: tuple[float, float] | None = None,
) -> SpotsOnTissue:
    """Place spots on a slide.

    Spots laid on a lattice are dropped where less than `min_tissue` of their area is tissue; spots
    given by the user are all kept, since someone asked for each of them, and only their tissue
    fraction is reported. Where the distance between given spots contradicts the slide's microns
    per pixel, ``slide.warnings`` says so.

    Parameters
    ----------
    slide
        An open slide.
    layout
        The lattice to lay.
    coords
        Spot centres instead of a lattice, or a file of them, see :func:`hypergene.st.read_coords`;
        of `layout`, spots take their shape and size, unless they have their own.
    tissue
        See :func:`tissue_mask`.
    min_tissue
        Least share of a laid spot's area on tissue, 0..1.
    offset_um
        Where the lattice starts, see :func:`hypergene.spots.lattice_on`; None = centred.

    Raises
    ------
    UsageError
        If `min_tissue` lies outside 0..1, or given spots are to be turned or moved.
    TissueError
        If no laid spot is left.
    SpotsError
        If the coordinates are malformed or lie outside the slide, or no spot fits on it.
    """
    check_share(min_tissue)
    mpp = (slide.mpp.x, slide.mpp.y)
    # Coordinates are cheap and often wrong; the mask may take a while.
    given = None
    if coords is not None:
        if offset_um is not None or layout.orientation_deg:
            raise UsageError(
                "Spots that are given with --coords stay where they are.",
                hint="Leave --orientation and --offset out, or lay a lattice with --layout.",
            )
        if isinstance(coords, SpotCentres):
            given = coords.spots(layout, mpp)
        else:
            given = read_coords(coords, layout=layout, mpp=mpp)
        check_inside(given, slide.dimensions, str(coords))
        if (contradiction := check_pitch(given, slide.mpp.source, str(coords))) is not None:
            slide.warnings.append(contradiction)
    mask = tissue_mask(slide, tissue)
    if given is None:
        spots = lay_spots(layout, slide.dimensions, mpp, offset_um=offset_um)
    else:
        spots = given
    placed = _on_tissue(spots, slide, mask)
    if given is not None:
        return placed
    kept = np.flatnonzero(placed.fraction >= min_tissue)
    if len(kept) == 0:
        raise _none_left(slide, mask, placed.fraction.max(), len(spots), layout, min_tissue)
    return SpotsOnTissue(spots.subset(kept), placed.fraction[kept], mask)


def place_blocks(
    slide: Slide, lattice: LaidLattice, mask: TissueMask, *, min_tissue: float
) -> Iterator[SpotsOnTissue]:
    """Place the spots of a lattice as :func:`place_spots` does, in bands of rows.

    Parameters
    ----------
    slide, lattice, mask
        The slide, and what lies on it.
    min_tissue
        Least share of a spot's area on tissue, 0..1.

    Yields
    ------
    SpotsOnTissue
        At least one spot each.

    Raises
    ------
    TissueError
        After the last band, if no spot was left.
    """
    most, looked_at, found = 0.0, 0, False
    for spots in lattice.blocks():
        placed = _on_tissue(spots, slide, mask)
        looked_at += len(spots)
        most = max(most, float(placed.fraction.max()))
        kept = np.flatnonzero(placed.fraction >= min_tissue)
        found = found or len(kept) > 0
        if len(kept) == len(spots):
            yield placed
        elif len(kept):
            yield SpotsOnTissue(spots.subset(kept), placed.fraction[kept], mask)
    if not looked_at:
        raise no_whole_spot(lattice.layout, slide.dimensions, lattice.mpp)
    if not found:
        raise _none_left(slide, mask, most, looked_at, lattice.layout, min_tissue)


def check_share(min_tissue: float) -> None:
    """Raise a UsageError unless `min_tissue` is a share, 0..1."""
    if not 0 <= min_tissue <= 1:
        raise UsageError(
            f"The least tissue fraction is {min_tissue:g}, which is no share between 0 and 1.",
            hint="Give --min-tissue a number from 0 to 1, e.g. 0.25.",
        )


def _on_tissue(spots: Spots, slide: Slide, mask: TissueMask) -> SpotsOnTissue:
    layout = spots.layout
    fraction = mask.fraction(
        spots.xy_px, layout.diameter_um, slide.mpp, layout.shape, layout.orientation_deg
    )
    return SpotsOnTissue(spots, fraction.astype(np.float32, copy=False), mask)


_HINT = (
    "Give a mask image with --tissue FILE, --tissue none to use every spot, "
    "or a lower --min-tissue."
)


def spot_table(
    placed: SpotsOnTissue,
    *,
    min_tissue: float,
    unreadable: ArrayLike | None = None,
    quality: SpotQuality | None = None,
) -> pd.DataFrame:
    """Return the spots' part of the canonical ``obs``, indexed by spot name.

    Columns: ``in_tissue`` (int8, 1 where the tissue fraction reaches `min_tissue`), ``array_row``
    and ``array_col`` (int32), ``tissue_fraction`` (float32); and where the pixels were read, so
    that `unreadable` rows are known, ``readable`` (bool). Of a `quality`, also ``focus``, ``pen``,
    ``saturation`` and ``brightness`` (:class:`hypergene.slide.SpotQuality` tells their units).
    """
    table = pd.DataFrame(
        {
            "in_tissue": (placed.fraction >= min_tissue).astype(np.int8),
            "array_row": placed.spots.array_row,
            "array_col": placed.spots.array_col,
            "tissue_fraction": placed.fraction,
        },
        index=pd.Index(placed.spots.names.astype(object)),
    )
    if unreadable is not None:
        readable = np.ones(len(table), np.bool_)
        readable[np.asarray(unreadable, np.int64)] = False
        table["readable"] = readable
    return table if quality is None else table.assign(**quality.columns())


def slide_images(slide: Slide, layout: Layout) -> dict[str, Any]:
    """Return ``uns["spatial"]``: small images of the slide, and how large a spot is on it."""
    # squidpy knows one diameter for both axes; the mean is right to the rare scanner's 1 %.
    diameter_px = layout.diameter_um / (slide.mpp.x * slide.mpp.y) ** 0.5
    return spatial_uns(slide, slide.path.stem, diameter_px)


def tissue_mask(slide: Slide, tissue: str | TissueOutlines) -> TissueMask:
    """Return the mask that ``--tissue`` names, or that somebody drew.

    ``"auto"`` is found on the slide and with ``"none"`` everything counts; then come the names of
    installed plugins (:func:`hypergene.slide.tissue_plugins`), then files
    (:func:`hypergene.slide.load_tissue`).

    Raises
    ------
    TissueError
        If there is no such plugin or file, or what it holds is no mask of this slide.
    """
    if isinstance(tissue, TissueOutlines):
        return draw_tissue(tissue, slide)
    if tissue == "auto":
        return find_tissue(slide)
    if tissue == "none":
        return whole_slide(slide)
    plugins = tissue_plugins()
    if tissue in plugins:
        return plugin_tissue(tissue, slide)
    if not Path(tissue).suffix and not Path(tissue).exists():
        known = ", ".join(["auto", "none", *sorted(plugins)])
        raise TissueError(
            f"{tissue} is no file and no tissue plugin that is installed.",
            hint=f"Give a PNG, TIFF or GeoJSON file, or one of {known}.",
        )
    return load_tissue(tissue, slide)


def spot_quality(slide: Slide, spots: Spots, *, workers: int) -> SpotQuality:
    """Measure how well spots can be seen, as ``--qc`` does; say how many cannot be read.

    Raises
    ------
    SlideError
        If more than 5 % of the spots cannot be read.
    """
    quality = measure_quality(slide, spots.xy_px, spots.layout.diameter_um, workers=workers)
    lost = int(np.isnan(quality.focus).sum())
    if lost:
        slide.warnings.append(
            f"The quality of {lost} of {len(spots)} spots is unknown (NaN): they cannot be decoded."
        )
    inked = int(quality.pen.sum())
    if inked:
        slide.warnings.append(f'{inked} of {len(spots)} spots lie under ink (obs["pen"]).')
    return quality


def _none_left(
    slide: Slide,
    mask: TissueMask,
    fullest: float,
    number: int,
    layout: Layout,
    min_tissue: float,
) -> TissueError:
    """Return the error that says that of `number` spots none has enough tissue."""
    return TissueError(
        f"No spot of {slide.path} has enough tissue: {mask.mask.mean():.1%} of the slide is tissue "
        f"({mask.source}) and the fullest of {number:,} {layout.name} spots holds "
        f"{fullest:.1%}, less than the {min_tissue:.0%} asked for.",
        hint=_HINT,
    )
