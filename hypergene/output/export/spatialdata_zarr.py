"""A prediction as a SpatialData store, which wsidata and LazySlide find their way in, too."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import OutputError, UsageError
from hypergene.output.atomic import atomic_path
from hypergene.output.export.chosen import Chosen
from hypergene.output.geojson import outline
from hypergene.output.store import CHUNK_ROWS, ZARR_FORMAT, Store

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from xarray import DataArray, DataTree

# wsidata's names: it looks for images, tiles and their features under these.
THUMBNAIL, SLIDE, TILES = "wsi_thumbnail", "wsi", "tiles"
SPOTS = "spots"
TABLE = "hypergene_tiles"
"""LazySlide's ``feature_key="hypergene"``: it appends the name of the tiles."""

REGION_KEY, INSTANCE_KEY = "region", "spot"

_CHUNK_PX = 1024
_SMALLEST_LEVEL_PX = 1024
_ROUND = 0.01
"""Pixels this close to square keep circles circles."""


class Pixels(Protocol):
    """A slide that can be read anywhere at any size; every :class:`hypergene.slide.Slide` can."""

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) in level-0 px."""

    def read_box(
        self, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Return (left, top, right, bottom) in level-0 px as uint8 (height, width, 3)."""


def write_spatialdata(
    chosen: Chosen,
    path: Path,
    *,
    slide: Pixels | None = None,
    pixel_um: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write a SpatialData of Zarr format 3 in px of the slide's level 0 (system ``global``).

    - ``wsi_thumbnail``: image, the H&E small, as ``uns["spatial"]`` has it
    - ``wsi``: image of several scales, with `slide` only
    - ``spots``: shapes, circles or polygons, annotated by the table
    - ``tiles``: shapes, the squares around the spots, in the same order, for LazySlide
    - ``hypergene_tiles``: table, the prediction

    ``attrs["hypergene"]`` says that all of it is predicted, and the units; ``attrs["tile_spec"]``
    and ``attrs["slide_properties"]`` are wsidata's. Expression is copied block by block, and so is
    the slide.

    Parameters
    ----------
    chosen
        The prediction, its genes, and whether the spread is wanted.
    path
        The folder, ``.zarr``.
    slide
        What the image of several scales is read from; None = the thumbnail alone.
    pixel_um
        Side of that image's finest pixels, µm, not below the slide's own; None = the slide's own.
    overwrite
        Whether an earlier store may be replaced.

    Raises
    ------
    UsageError
        If the side of a pixel is no positive number.
    OutputError
        If spatialdata is not installed, or the store exists and may not be replaced, or cannot be
        written.
    DataError
        If the prediction is damaged.
    """
    try:
        import spatialdata
    except ImportError as error:
        raise OutputError(
            "SpatialData stores need the package spatialdata, which is not installed.",
            hint="Install it: pip install 'hypergene[spatialdata]'.",
        ) from error

    with atomic_path(path, overwrite=overwrite) as draft, warnings.catch_warnings():
        # spatialdata and its readers warn of their own deprecations, which no user can mend.
        warnings.simplefilter("ignore")
        images: dict[str, Any] = {THUMBNAIL: _thumbnail(chosen)}
        if slide is not None:
            images[SLIDE] = _scales(slide, _shrink(chosen, pixel_um))
        whole = spatialdata.SpatialData(
            images=images,
            shapes={SPOTS: _spots(chosen), TILES: _tiles(chosen)},
            tables={TABLE: _table(chosen)},
            attrs=_attrs(chosen),
        )
        whole.write(draft)
        _write_matrices(chosen, draft)


def _thumbnail(chosen: Chosen) -> DataArray:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    width, height = chosen.size_px
    image = chosen.hires
    scale = [width / image.shape[1], height / image.shape[0]]
    return Image2DModel.parse(
        np.moveaxis(image, -1, 0),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        transformations={"global": Scale(scale, axes=("x", "y"))},
    )


def _shrink(chosen: Chosen, pixel_um: float | None) -> float:
    """Return how many level-0 px a pixel of the image is wide, at least 1."""
    if pixel_um is None:
        return 1.0
    if not (math.isfinite(pixel_um) and pixel_um > 0):
        raise UsageError(
            f"A pixel cannot be {pixel_um:g} µm wide.", hint="Give --pixel-um a number above 0."
        )
    return max(1.0, pixel_um / (sum(chosen.mpp) / 2))


class _Scale:
    """One scale of a slide, which dask cuts into blocks."""

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, slide: Pixels, width: int, height: int) -> None:
        self.shape = (3, height, width)
        self._slide = slide
        self._across = slide.dimensions[0] / width
        self._down = slide.dimensions[1] / height

    def __getitem__(self, key: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
        _, y, x = key
        box = (x.start * self._across, y.start * self._down,
               x.stop * self._across, y.stop * self._down)  # fmt: skip
        pixels = self._slide.read_box(box, (x.stop - x.start, y.stop - y.start))
        return np.moveaxis(pixels, -1, 0)[key[0]]


def _scales(slide: Pixels, shrink: float) -> DataTree | DataArray:
    """Return the slide as scales that halve, none of them read before it is written."""
    import dask.array as da
    import xarray as xr
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    scales: dict[str, xr.Dataset] = {}
    while True:
        width, height = (max(1, round(side / shrink)) for side in slide.dimensions)
        blocks = da.from_array(
            _Scale(slide, width, height),
            chunks=(3, _CHUNK_PX, _CHUNK_PX),
            name=False,
            lock=True,  # a slide is read by one thread at a time
            meta=np.empty((0, 0, 0), np.uint8),
        )
        factors = [slide.dimensions[0] / width, slide.dimensions[1] / height]
        image = Image2DModel.parse(
            blocks,
            dims=("c", "y", "x"),
            c_coords=["r", "g", "b"],
            transformations={"global": Scale(factors, axes=("x", "y"))},
        )
        scales[f"scale{len(scales)}"] = xr.Dataset({"image": image})
        if max(width, height) <= _SMALLEST_LEVEL_PX:
            # A tree of one scale would be read back as an image without scales.
            return xr.DataTree.from_dict(scales) if len(scales) > 1 else image
        shrink *= 2


def _spots(chosen: Chosen) -> GeoDataFrame:
    from geopandas import GeoDataFrame
    from shapely import polygons
    from spatialdata.models import ShapesModel

    spots = chosen.spots
    names = spots.names.astype(object)
    mpp_x, mpp_y = spots.mpp
    if spots.layout.shape == "circle" and abs(mpp_x / mpp_y - 1) < _ROUND:
        radius_px = spots.layout.diameter_um / (mpp_x + mpp_y)
        return ShapesModel.parse(
            spots.xy_px, geometry=0, radius=np.full(len(spots), radius_px), index=names
        )
    rings = spots.xy_px[:, None, :] + outline(spots.layout, spots.mpp)
    return ShapesModel.parse(GeoDataFrame({"geometry": polygons(rings)}, index=names))


def _tiles(chosen: Chosen) -> GeoDataFrame:
    from geopandas import GeoDataFrame
    from shapely import box
    from spatialdata.models import ShapesModel

    spots = chosen.spots
    size = np.asarray(_tile_px(chosen))
    left, top = (spots.xy_px - size / 2).T
    return ShapesModel.parse(
        GeoDataFrame(
            {
                "tile_id": np.arange(len(spots)),
                "x": left,
                "y": top,
                "tissue_id": np.zeros(len(spots), dtype=np.int64),
                "spot": spots.names.astype(object),
                "geometry": box(left, top, left + size[0], top + size[1]),
            }
        )
    )


def _tile_px(chosen: Chosen) -> tuple[int, int]:
    """Width and height of the square around a spot, whole level-0 px as wsidata wants them."""
    width, height = (max(1, round(2 * chosen.spots.layout.reach_um / axis)) for axis in chosen.mpp)
    return width, height


def _table(chosen: Chosen) -> Any:
    """Return the table without matrices, annotating the spots."""
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    prediction = chosen.prediction
    obs = prediction.obs.copy()
    obs[REGION_KEY] = pd.Categorical([SPOTS] * len(obs))
    obs[INSTANCE_KEY] = chosen.spots.names.astype(object)
    obs["tile_id"] = np.arange(len(obs))
    return TableModel.parse(
        AnnData(
            obs=obs,
            var=prediction.var.loc[list(chosen.genes)].copy(),
            obsm=dict(prediction.obsm),
            uns=dict(prediction.uns),
        ),
        region=SPOTS,
        region_key=REGION_KEY,
        instance_key=INSTANCE_KEY,
    )


def _attrs(chosen: Chosen) -> dict[str, Any]:
    layout, mpp = chosen.spots.layout, chosen.mpp
    tile_width, tile_height = _tile_px(chosen)
    # The spots of a hexagonal lattice stand in every second cell of this one.
    hexagon = layout.lattice == "hexagon"
    across, down = (layout.pitch_um / 2, layout.pitch_um * math.sqrt(3) / 2) if hexagon else (
        layout.pitch_um, layout.pitch_um)  # fmt: skip
    width, height = chosen.size_px
    return {
        "hypergene": chosen.about,
        "tile_spec": {
            TILES: {
                "height": tile_height,
                "width": tile_width,
                "stride_height": max(1, round(down / mpp[1])),
                "stride_width": max(1, round(across / mpp[0])),
                "mpp": sum(mpp) / 2,
                "ops_level": 0,
                "ops_downsample": 1.0,
                "base_level": 0,
                "base_downsample": 1.0,
                "tissue_name": None,
            }
        },
        "slide_properties": {"shape": [height, width], "mpp": sum(mpp) / 2},
    }


def _write_matrices(chosen: Chosen, draft: Path) -> None:
    """Put the expression into the table, block by block."""
    import zarr

    root: Any = zarr.open_group(draft, mode="r+", zarr_format=ZARR_FORMAT, use_consolidated=False)
    table = root[f"tables/{TABLE}"]
    store = Store(table, {"shards": None})
    if "X" in table:
        del table["X"]
    shape, kind = (len(chosen), len(chosen.genes)), np.dtype(np.float32)
    expression = store.matrix("X", shape, kind)
    layers = {layer: store.matrix(f"layers/{layer}", shape, kind) for layer in chosen.layers}
    for rows, block in chosen.blocks(rows=CHUNK_ROWS):
        expression[rows] = block.X
        for layer, matrix in layers.items():
            matrix[rows] = block.layers[layer]
    zarr.consolidate_metadata(root.store)
