"""``hypergene tile``."""

from __future__ import annotations

from typing import Annotated

import typer

from hypergene.cli import completion
from hypergene.cli import options as shared
from hypergene.cli.console import Reporter, exit_code
from hypergene.cli.options import option


def tile(
    slides: shared.Slides,
    out: shared.Out = None,
    layout: Annotated[
        str,
        option(
            "--layout",
            help="visium, visium-6.5, visium-11, visium-hd-2, -8 or -16, st, xenium or grid.",
            autocompletion=completion.layouts,
        ),
    ] = "visium",
    diameter: shared.Diameter = None,
    pitch: shared.Pitch = None,
    orientation: shared.Orientation = 0.0,
    offset: shared.Offset = None,
    coords: shared.Coords = None,
    mpp: shared.Mpp = None,
    tissue: shared.Tissue = "auto",
    min_tissue: shared.MinTissue = 0.25,
    qc: shared.Qc = False,
    geojson: Annotated[
        bool, option("--geojson", help="Write <stem>.spots.geojson for QuPath.")
    ] = False,
    pixels: Annotated[
        bool, option("--pixels", help="Write <stem>.tiles.zarr, one RGB tile a spot.")
    ] = False,
    tile_width_um: Annotated[
        float, option("--tile-width-um", help="Side of a tile on the slide, in µm.")
    ] = 112.0,
    tile_px: Annotated[int, option("--tile-px", help="Side of a tile in the file, in px.")] = 224,
    workers: shared.Workers = 2,
    json: shared.Json = False,
    overwrite: shared.Overwrite = False,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> None:
    """Lay spots over the tissue of slides.

    Writes <stem>.spots.zarr (AnnData) and <stem>.spots.png (a look at them) beside each slide or
    in --out.
    """
    from hypergene.pipeline.each import for_each_slide, refuse_clashes
    from hypergene.pipeline.tile import TileOptions
    from hypergene.pipeline.tile import tile as tile_slide

    options = TileOptions(
        layout=layout,
        diameter_um=diameter,
        pitch_um=pitch,
        orientation_deg=orientation,
        offset_um=shared.parse_offset(offset),
        coords=coords,
        mpp=mpp,
        tissue=tissue,
        min_tissue=min_tissue,
        qc=qc,
        geojson=geojson,
        pixels=pixels,
        width_um=tile_width_um,
        size_px=tile_px,
        workers=workers,
        overwrite=overwrite,
    )
    refuse_clashes(slides, out)
    outcomes = for_each_slide(
        slides,
        lambda slide: tile_slide(slide, out, options),
        report=Reporter(as_json=json),
    )
    raise typer.Exit(exit_code(outcomes))
