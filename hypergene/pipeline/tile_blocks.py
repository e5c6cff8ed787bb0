"""``hypergene tile`` for millions of spots: laid, judged, drawn and written block by block.

What is held is a block of spots, two chunks of each column, the pictures and the file tiles decoded
last, whatever the number of spots; what of it grows, up to a limit, does so with the slide.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypergene.errors import UsageError
from hypergene.output import anndata_blocks, geojson_writer
from hypergene.pipeline.inputs import SlideInput
from hypergene.pipeline.outcome import Stopwatch
from hypergene.pipeline.placement import (
    check_share,
    place_blocks,
    slide_images,
    spot_table,
    tissue_mask,
)
from hypergene.pipeline.provenance import provenance, text_array
from hypergene.report.overlay import Overlay
from hypergene.spots import LaidLattice

if TYPE_CHECKING:
    from hypergene.pipeline.tile import TileOptions

log = logging.getLogger(__name__)


class BlockDrafts(NamedTuple):
    """Where the outputs are written; no shapes are if that is None."""

    table: Path
    overlay: Path
    shapes: Path | None


def tile_in_blocks(
    found: SlideInput,
    lattice: LaidLattice,
    options: TileOptions,
    drafts: BlockDrafts,
    watch: Stopwatch,
) -> int:
    """Write the spots of a lattice, the picture of them and, where asked, their shapes.

    Parameters
    ----------
    found
        The open slide, and its tissue.
    lattice
        What is laid on it.
    options
        See :class:`hypergene.pipeline.tile.TileOptions`.
    drafts
        Paths of the outputs.
    watch
        Takes the time.

    Returns
    -------
    int
        Number of spots written.

    Raises
    ------
    UsageError
        If tiles or quality are asked for, or the least tissue fraction is no share.
    TissueError
        If no spot is left.
    """
    if options.pixels:
        raise UsageError(
            f"Tiles of {len(lattice):,} spots would fill terabytes.",
            hint="Leave --pixels out, or give a larger --pitch.",
        )
    if options.qc:
        raise UsageError(
            f"Quality is measured of a whole table of spots, and {len(lattice):,} are too many.",
            hint="Leave --qc out, or measure it on a coarser lattice, such as visium-hd-16.",
        )
    check_share(options.min_tissue)
    slide = found.slide
    with watch("spots"):
        mask = tissue_mask(slide, found.tissue)
    with watch("images"):
        images = slide_images(slide, lattice.layout)
    (library,) = images.values()
    overlay = Overlay(
        library["images"]["hires"],
        library["scalefactors"]["tissue_hires_scalef"],
        lattice.layout,
        lattice.mpp,
        min_tissue=options.min_tissue,
    )
    with watch("blocks"), ExitStack() as stack:
        table = stack.enter_context(
            anndata_blocks(drafts.table, most_rows=len(lattice), overwrite=True)
        )
        add_shapes = None
        if drafts.shapes is not None:
            add_shapes = stack.enter_context(geojson_writer(drafts.shapes, overwrite=True))
        for placed in place_blocks(slide, lattice, mask, min_tissue=options.min_tissue):
            obs = spot_table(placed, min_tissue=options.min_tissue)
            table.append(obs, {"spatial": placed.spots.xy_px})
            overlay.add(placed.spots, placed.fraction)
            if add_shapes is not None:
                add_shapes(placed.spots, placed.fraction)
        number = len(table)
        about = provenance(
            slide=slide.path,
            mpp=slide.mpp,
            layout=lattice.layout,
            tissue=mask.source,
            arguments=found.arguments(options),
            seconds=watch.seconds,
        )
        about["warnings"] = text_array(slide.warnings)
        table.finish({"spatial": images, "hypergene": about})
    overlay.image().save(drafts.overlay, format="PNG")
    log.info("%s: %s spots on tissue", slide.path.name, f"{number:,}")
    return number
