"""``hypergene tile``: the spots of a slide, with or without their pixels."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import pandas as pd
import zarr
from anndata import AnnData
from PIL import Image

from hypergene.errors import UsageError
from hypergene.output import atomic_path, write_anndata, write_geojson
from hypergene.pipeline.inputs import open_input, settle
from hypergene.pipeline.keywords import TileKeywords
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.pipeline.placement import (
    SpotsOnTissue,
    place_spots,
    slide_images,
    spot_quality,
    spot_table,
)
from hypergene.pipeline.provenance import provenance, text_array
from hypergene.pipeline.tile_blocks import BlockDrafts, tile_in_blocks
from hypergene.report.overlay import draw_overlay
from hypergene.report.quality_map import save_quality_map
from hypergene.slide import Slide, SpotQuality, read_tiles
from hypergene.spots import Spots, lattice_on, layout_named

if TYPE_CHECKING:
    from hypergene.pipeline.inputs import SlideLike

log = logging.getLogger(__name__)

MOST_IN_A_TABLE = 500_000
"""Places of a lattice beyond which spots are laid and written in blocks."""

_TILES_PER_CHUNK = 16


@dataclass(frozen=True)
class TileOptions:
    """Options of :func:`tile`, named as on the command line.

    Attributes
    ----------
    layout
        A name that :func:`hypergene.spots.layout_named` knows.
    diameter_um, pitch_um
        Spot diameter and centre-to-centre distance in µm; None = the layout's own.
    orientation_deg
        By how much the lattice is turned about its centre, degrees, clockwise.
    offset_um
        (x, y) where the lattice starts, µm from the slide's top left corner; None = centred.
    coords
        A file of spot centres instead of a lattice.
    mpp
        Microns per pixel of level 0, over the slide's own word.
    tissue
        ``"auto"``, ``"none"``, the name of a plugin, or a mask as a picture or GeoJSON.
    min_tissue
        Least share of a laid spot's area on tissue, 0..1.
    qc
        Measure focus, pen, saturation and brightness of the spots, and draw them in
        ``<stem>.qc.png``.
    geojson
        Write ``<stem>.spots.geojson`` for QuPath.
    pixels
        Write ``<stem>.tiles.zarr``, one square RGB tile a spot.
    width_um, size_px
        Side of a tile in µm on the slide and in px in the file.
    workers
        Threads that read tiles.
    overwrite
        Replace outputs that exist.
    """

    layout: str = "visium"
    diameter_um: float | None = None
    pitch_um: float | None = None
    orientation_deg: float = 0.0
    offset_um: tuple[float, float] | None = None
    coords: str | Path | None = None
    mpp: float | None = None
    tissue: str = "auto"
    min_tissue: float = 0.25
    qc: bool = False
    geojson: bool = False
    pixels: bool = False
    width_um: float = 112.0
    size_px: int = 224
    workers: int = 2
    overwrite: bool = False


def tile(
    slide: SlideLike,
    out: str | Path | None = None,
    options: TileOptions | None = None,
    *,
    image: str | None = None,
    shapes: str | None = None,
    **overrides: Unpack[TileKeywords],
) -> Outcome:
    """Lay spots over a slide's tissue and write them.

    Writes ``<stem>.spots.zarr`` (an AnnData of n spots × 0 genes), ``<stem>.spots.png`` (the spots
    over the slide) and, where asked, ``<stem>.qc.png``, ``<stem>.spots.geojson`` and
    ``<stem>.tiles.zarr``. All of them appear together when the whole is done, or none does.
    Lattices of more than ``MOST_IN_A_TABLE`` places are written in blocks, in bounded memory,
    without tiles and quality.

    Parameters
    ----------
    slide, image, shapes
        As of :func:`hypergene.predict`.
    out
        Folder for the outputs; None = beside the slide.
    options
        See :class:`TileOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    Outcome
        The table (``output``), its number of spots, seconds by stage, warnings.

    Raises
    ------
    HypergeneError
        If the slide, the resolution, the spots or the output cannot be used as asked.

    Examples
    --------
    >>> import hypergene
    >>> outcome = hypergene.tile("slide.svs", "results", layout="visium", geojson=True)
    >>> sorted(path.name for path in outcome.output.parent.iterdir())
    ['slide.spots.geojson', 'slide.spots.png', 'slide.spots.zarr']
    """
    options, given = settle(options or TileOptions(), overrides)
    _check_tile_size(options)
    layout = layout_named(
        options.layout,
        diameter_um=options.diameter_um,
        pitch_um=options.pitch_um,
        orientation_deg=options.orientation_deg,
    )
    watch = Stopwatch()
    with ExitStack() as stack:
        with watch("open"):
            found = open_input(slide, options, image=image, shapes=shapes, spots=given)
        opened = stack.enter_context(found.slide)
        path, folder = opened.path, found.beside(out)
        table = folder / f"{path.stem}.spots.zarr"
        overlay = folder / f"{path.stem}.spots.png"
        drawn = folder / f"{path.stem}.spots.geojson"
        tiles = folder / f"{path.stem}.tiles.zarr"
        maps = folder / f"{path.stem}.qc.png"
        written = [overlay, *[maps] * options.qc, *[drawn] * options.geojson]
        written += [*[tiles] * options.pixels, table]
        # Each stays under its temporary name until the stack unwinds without an error; one that
        # exists already or cannot be written is known before the work begins.
        draft = {
            path: stack.enter_context(atomic_path(path, overwrite=options.overwrite))
            for path in written
        }

        if found.coords is None:
            mpp = (opened.mpp.x, opened.mpp.y)
            lattice = lattice_on(layout, opened.dimensions, mpp, offset_um=options.offset_um)
            if len(lattice) > MOST_IN_A_TABLE:
                drafts = BlockDrafts(draft[table], draft[overlay], draft.get(drawn))
                number = tile_in_blocks(found, lattice, options, drafts, watch)
                return Outcome(path, table, number, None, watch.seconds, [*opened.warnings])
        with watch("spots"):
            placed = place_spots(
                opened,
                layout,
                coords=found.coords,
                tissue=found.tissue,
                min_tissue=options.min_tissue,
                offset_um=options.offset_um,
            )
        log.info("%s: %s spots on tissue", path.name, f"{len(placed.spots):,}")
        quality = None
        if options.qc:
            with watch("quality"):
                quality = spot_quality(opened, placed.spots, workers=options.workers)
        unreadable = None
        if options.pixels:
            with watch("pixels"):
                unreadable = write_tiles(opened, placed.spots, draft[tiles], options)
        with watch("images"):
            adata = spots_anndata(
                opened,
                placed,
                min_tissue=options.min_tissue,
                unreadable=unreadable,
                quality=quality,
            )
            overlay_of(adata, placed, options.min_tissue).save(draft[overlay], format="PNG")
        if options.geojson:
            with watch("geojson"):
                write_geojson(
                    placed.spots,
                    draft[drawn],
                    tissue_fraction=placed.fraction,
                    overwrite=True,
                )
        adata.uns["hypergene"] = provenance(
            slide=path,
            mpp=opened.mpp,
            layout=placed.spots.layout,
            tissue=placed.mask.source,
            arguments=found.arguments(options),
            seconds=watch.seconds,
        ) | {"warnings": text_array(opened.warnings)}
        with watch("write"):
            if options.qc:
                save_quality_map(adata, draft[maps])
            write_anndata(adata, draft[table], overwrite=True)
    return Outcome(
        slide=path,
        output=table,
        spots=len(placed.spots),
        seconds=watch.seconds,
        warnings=list(opened.warnings),
    )


def spots_anndata(
    slide: Slide,
    placed: SpotsOnTissue,
    *,
    min_tissue: float,
    unreadable: list[int] | None = None,
    quality: SpotQuality | None = None,
) -> AnnData:
    """Return spots as an AnnData of n spots × 0 genes, with squidpy's images of the slide."""
    adata = AnnData(
        obs=spot_table(placed, min_tissue=min_tissue, unreadable=unreadable, quality=quality),
        var=pd.DataFrame(index=pd.Index([], dtype=object)),
    )
    adata.obsm["spatial"] = placed.spots.xy_px
    adata.uns["spatial"] = slide_images(slide, placed.spots.layout)
    return adata


def overlay_of(adata: AnnData, placed: SpotsOnTissue, min_tissue: float) -> Image.Image:
    """Return the spots drawn over the slide's image in ``uns["spatial"]``."""
    (library,) = adata.uns["spatial"].values()
    return draw_overlay(
        library["images"]["hires"],
        library["scalefactors"]["tissue_hires_scalef"],
        placed.spots,
        placed.fraction,
        min_tissue=min_tissue,
    )


def write_tiles(slide: Slide, spots: Spots, path: Path, options: TileOptions) -> list[int]:
    """Write one tile a spot, in the order of the spots, as a Zarr array.

    The array is uint8 (n, size_px, size_px, 3), RGB; its attributes give the tile's side in µm and
    px.

    Returns
    -------
    list of int
        Rows whose tile could not be decoded and is white; the slide's warnings count them.
    """
    size = options.size_px
    array = zarr.create_array(
        store=str(path),
        shape=(len(spots), size, size, 3),
        chunks=(min(_TILES_PER_CHUNK, len(spots)), size, size, 3),
        dtype="uint8",
        zarr_format=3,
        attributes={
            "slide": slide.path.name,
            "width_um": options.width_um,
            "size_px": size,
            "mpp": options.width_um / size,
        },
        overwrite=True,
    )
    unreadable: list[int] = []
    batches = read_tiles(
        slide,
        spots.xy_px,
        width_um=options.width_um,
        size_px=size,
        workers=options.workers,
        unreadable=unreadable,
    )
    for rows, pixels in batches:
        array.set_orthogonal_selection((rows,), pixels)
    if unreadable:
        slide.warnings.append(
            f"{len(unreadable)} of {len(spots)} tiles cannot be decoded and are white "
            '(obs["readable"]).'
        )
    return unreadable


def _check_tile_size(options: TileOptions) -> None:
    if options.width_um <= 0:
        raise UsageError(
            f"A tile {options.width_um:g} µm wide shows nothing.",
            hint="Give --tile-width-um a positive number, e.g. 112.",
        )
    if options.size_px < 1:
        raise UsageError(
            f"A tile of {options.size_px} px shows nothing.",
            hint="Give --tile-px a positive whole number, e.g. 224.",
        )
