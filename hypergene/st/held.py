"""Spot centres and outlines of tissue that objects of other packages hold.

The objects are known by what they have; their packages are not imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from hypergene.errors import DataError, SpotsError, TissueError, UsageError
from hypergene.slide import TissueOutlines, holder_of
from hypergene.slide.polygons import Polygon
from hypergene.spots import Layout
from hypergene.st.centres import SpotCentres
from hypergene.st.coordinates import stored_layout
from hypergene.st.formats.h5ad import tissue_flags

_AXES = ("x", "y")


def centres_of_anndata(adata: AnnData) -> SpotCentres:
    """Return the spots of an AnnData in memory, as :func:`hypergene.st.read_coords` of its file.

    Parameters
    ----------
    adata
        With ``obsm["spatial"]``: centres (x, y) in level-0 px. Its names, ``array_row``,
        ``array_col`` and ``in_tissue`` are taken where it has them; a prediction's layout, too,
        whose ``in_tissue`` is found anew.

    Raises
    ------
    SpotsError
        There is no ``obsm["spatial"]``, or what is there are no numbers (n, 2).
    """
    origin = f"the AnnData of {adata.n_obs:,} spots"
    if "spatial" not in adata.obsm:
        raise SpotsError(
            f'{origin[0].upper()}{origin[1:]} has no obsm["spatial"].',
            hint="It must hold spot centres (x, y) in pixels of the full-resolution image.",
        )
    obs, about = adata.obs, adata.uns.get("hypergene", {})
    layout = stored_layout(origin, about["layout"]) if "layout" in about else None
    try:
        xy_px = np.asarray(adata.obsm["spatial"], np.float64)
        row, column = (
            obs[name].to_numpy().astype(np.int32) if name in obs else None
            for name in ("array_row", "array_col")
        )
        flags = tissue_flags(obs["in_tissue"], origin) if "in_tissue" in obs else None
    except DataError as reason:
        raise SpotsError(reason.message, hint=reason.hint) from None
    except (TypeError, ValueError):
        raise SpotsError(f"The coordinates in {origin} are not all numbers.") from None
    if xy_px.shape != (adata.n_obs, 2):
        raise SpotsError(
            f'obsm["spatial"] of {origin} has shape {xy_px.shape}, not ({adata.n_obs}, 2).',
            hint="It must hold spot centres (x, y) in pixels.",
        )
    return SpotCentres(
        origin,
        xy_px,
        row,
        column,
        adata.obs_names.to_numpy().astype(np.str_),
        None if flags is None or layout is not None else flags > 0,
        layout,
    )


def centres_of_shapes(
    held: Any, name: str, *, image: str | None, mpp: tuple[float, float]
) -> SpotCentres:
    """Return the centroids of shapes (circles, tiles) as spots.

    Parameters
    ----------
    held
        A WSIData or SpatialData.
    name
        Of the shapes.
    image
        The image of a SpatialData that is the slide; shapes are brought into its px. Those of a
        WSIData (None) are in level-0 px.
    mpp
        µm per level-0 px along x and y.

    Returns
    -------
    SpotCentres
        Named after the shapes' index. Tiles of LazySlide, which have a tile specification, are
        squares of their size and stride.

    Raises
    ------
    UsageError
        There are no such shapes.
    SpotsError
        They share no coordinate system with the image.
    """
    element = _shapes(held, name)
    matrix = _to_px(held, name, image)
    centroid = element.geometry.centroid
    xy = np.column_stack([centroid.x, centroid.y, np.ones(len(element))])
    return SpotCentres(
        f"shapes {name!r}",
        (xy @ matrix.T)[:, :2],
        names=element.index.astype(str).to_numpy().astype(np.str_),
        layout=_tile_layout(held, name, mpp),
    )


def outlines_of_shapes(held: Any, name: str, *, image: str | None) -> TissueOutlines:
    """Return polygons as outlines of tissue.

    Parameters
    ----------
    held, name, image
        As in :func:`centres_of_shapes`.

    Raises
    ------
    UsageError
        There are no such shapes.
    TissueError
        They are no polygons, or share no coordinate system with the image.
    """
    element = _shapes(held, name)
    try:
        matrix = _to_px(held, name, image)
    except SpotsError as reason:
        raise TissueError(reason.message, hint=reason.hint) from None
    parts = element.geometry.explode(index_parts=False)
    if not len(parts) or not (parts.geom_type == "Polygon").all():
        raise TissueError(
            f"The shapes {name!r} are no polygons, so they outline no tissue.",
            hint='Give tissue="auto", "none" or a file.',
        )
    return TissueOutlines(
        tuple(
            Polygon("", tuple(_ring(ring, matrix) for ring in (shape.exterior, *shape.interiors)))
            for shape in parts
        ),
        f"shapes {name!r}",
    )


def _ring(ring: Any, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    corners = np.asarray(ring.coords, np.float64)[:, :2]
    return (np.column_stack([corners, np.ones(len(corners))]) @ matrix.T)[:, :2]


def _shapes(held: Any, name: str) -> Any:
    if name not in held.shapes:
        listed = ", ".join(map(repr, held.shapes)) or "none"
        raise UsageError(f"There are no shapes {name!r}.", hint=f"There are {listed}.")
    return held.shapes[name]


def _to_px(held: Any, name: str, image: str | None) -> npt.NDArray[np.float64]:
    """Return the affine map (3, 3) from shapes to level-0 px."""
    if image is None:
        return np.eye(3)
    from spatialdata.transformations import get_transformation

    ours = get_transformation(held.shapes[name], get_all=True)
    theirs = get_transformation(held.images[image], get_all=True)
    found = [
        np.linalg.inv(theirs[system].to_affine_matrix(_AXES, _AXES))
        @ ours[system].to_affine_matrix(_AXES, _AXES)
        for system in sorted(set(ours) & set(theirs))
    ]
    if not found:
        raise SpotsError(
            f"The shapes {name!r} and the image {image!r} share no coordinate system.",
            hint="Set their transformations to one.",
        )
    if any(not np.allclose(matrix, found[0], rtol=1e-6, atol=1e-6) for matrix in found):
        raise SpotsError(
            f"The shapes {name!r} lie on the image {image!r} in two ways, by two coordinate "
            "systems.",
            hint="Correct their transformations.",
        )
    return np.asarray(found[0], np.float64)


def _tile_layout(held: Any, name: str, mpp: tuple[float, float]) -> Layout | None:
    """Return the layout of LazySlide's tiles; None for other shapes."""
    spec = held.tile_spec(name) if holder_of(held) == "wsidata" else None
    if spec is None:
        return None
    px = float(np.mean(mpp))
    return Layout("tiles", "given", spec.base_width * px, spec.base_stride_width * px, "square")
