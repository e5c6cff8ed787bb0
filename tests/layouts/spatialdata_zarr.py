"""SpatialData stores, built with spatialdata as its readers build them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from hypergene.st import Sample
from layouts.anndata_files import DIAMETER_PX, visium_anndata
from layouts.made import MPP, MadeSection

REGION, INSTANCE = "region", "spot_id"


def table(adata: anndata.AnnData, region: str | list[str]) -> anndata.AnnData:
    """Tie an AnnData to shapes by the numbers of its rows; positions are kept in the shapes."""
    from spatialdata.models import TableModel

    adata = adata.copy()
    for place in (adata.obsm, adata.uns):
        place.pop("spatial", None)
    if isinstance(region, str):
        adata.obs[REGION] = pd.Categorical([region] * adata.n_obs)
    adata.obs[INSTANCE] = np.arange(adata.n_obs)
    return TableModel.parse(adata, region=region, region_key=REGION, instance_key=INSTANCE)


def circles(xy: np.ndarray, radius: float, transformations: Mapping[str, Any]) -> Any:
    """Make circles around (x, y)."""
    from spatialdata.models import ShapesModel

    return ShapesModel.parse(
        xy, geometry=0, radius=radius, index=np.arange(len(xy)), transformations=transformations
    )


def squares(xy: np.ndarray, side: float, transformations: Mapping[str, Any]) -> Any:
    """Make squares around (x, y), as for the bins of Visium HD."""
    from geopandas import GeoDataFrame
    from shapely import box
    from spatialdata.models import ShapesModel

    (x, y), half = xy.T, side / 2
    frame = GeoDataFrame(geometry=box(x - half, y - half, x + half, y + half))
    return ShapesModel.parse(frame, transformations=transformations)


def image(picture: np.ndarray, transformations: Mapping[str, Any], **options: Any) -> Any:
    """Make an image of (height, width, 3)."""
    from spatialdata.models import Image2DModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image2DModel.parse(
            picture.transpose(2, 0, 1), dims=("c", "y", "x"), transformations=transformations,
            **options,
        )  # fmt: skip


def write(path: Path, **elements: Any) -> None:
    """Write a store."""
    from spatialdata import SpatialData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SpatialData(**elements).write(path)


def _sample(folder: Path, section: MadeSection) -> Sample:
    slide, data = section.save_picture(folder), folder / f"{section.name}.zarr"
    return Sample(section.name, section.patient, slide, data, "spatialdata", MPP, None)


def visium(folder: Path, section: MadeSection) -> Sample:
    """Write what spatialdata-io makes of Visium without the full image: circles in its pixels."""
    from spatialdata.transformations import Identity, Scale

    sample = _sample(folder, section)
    adata = visium_anndata(section)
    name, hires = section.name, f"{section.name}_downscaled_hires"
    half = {name: Identity(), hires: Scale([0.5, 0.5], axes=("x", "y"))}
    write(
        sample.data,
        shapes={name: circles(adata.obsm["spatial"], DIAMETER_PX / 2, half)},
        images={f"{name}_hires_image": image(section.picture[::2, ::2], {hires: Identity()})},
        tables={"table": table(adata, name)},
    )
    return sample


def micrometres(folder: Path, section: MadeSection) -> Sample:
    """Write circles in µm, and the whole slide and a copy of it placed among them by scales."""
    from spatialdata.transformations import Identity, Scale

    sample = _sample(folder, section)
    adata = visium_anndata(section)
    um = {"global": Identity()}
    full, small = (Scale([step, step], axes=("x", "y")) for step in (MPP, 2 * MPP))
    write(
        sample.data,
        shapes={"spots": circles(adata.obsm["spatial"] * MPP, 32.5, um)},
        images={
            "slide": image(section.picture, {"global": full}, scale_factors=[2]),
            "small": image(section.picture[::2, ::2], {"global": small}),
        },
        tables={"table": table(adata, "spots")},
    )
    return sample


def bins(folder: Path, section: MadeSection) -> Sample:
    """Write touching squares of 100 µm that lie aslant in the pixels of the slide."""
    from spatialdata.transformations import Affine

    sample = _sample(folder, section)
    row, column = np.divmod(np.arange(30), 6)
    xy = np.column_stack([column, row]) + 0.5  # in bins
    angle, side = np.deg2rad(10), 100 / MPP
    turn = side * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([110.0, 80.0])
    xy_px = xy @ turn.T + shift
    matrix = np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])
    adata = visium_anndata(section)
    adata = anndata.AnnData(
        section.draw(xy_px), obs=pd.DataFrame(index=adata.obs_names), var=adata.var
    )
    to_px = {"global": Affine(matrix, input_axes=("x", "y"), output_axes=("x", "y"))}
    from spatialdata.transformations import Identity

    write(
        sample.data,
        shapes={"bins": squares(xy, 1.0, to_px)},
        images={"slide": image(section.picture, {"global": Identity()})},
        tables={"square_100um": table(adata, "bins")},
    )
    return sample


WRITERS: dict[str, Callable[[Path, MadeSection], Sample]] = {
    "spatialdata-visium": visium,
    "spatialdata-micrometres": micrometres,
    "spatialdata-bins": bins,
}
