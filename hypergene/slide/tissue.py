"""Where the tissue is: found on the slide, or taken to be everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import filters, morphology

from hypergene.errors import TissueError
from hypergene.slide.ink import find_ink, glass_colour
from hypergene.slide.pieces import large_pieces
from hypergene.slide.resolution import Mpp
from hypergene.slide.slide import Slide

#: Largest mask, in px, whatever the slide: 32 x 32 mm at 8 µm/px. Of a larger slide the mask is
#: coarser, so that finding it needs no more memory.
MAX_MASK_PX = 16_000_000

#: Tissue smaller than this is dust, and a hole smaller than this is part of the tissue, in µm²
#: (a disc of 160 µm, so three Visium spots or one and a half of legacy ST).
SMALLEST_UM2 = 20_000.0

# What follows was set on the five HER2ST sections, CMU-1-Small-Region and faded, darkened and
# cropped copies of them (see the tests). Distances are in px of the overview, grain is the standard
# deviation of the optical density (natural logarithm).
_WINDOW = 5
_GRAIN_RANGE = (0.002, 2.0)
_GLASS_GRAIN = 0.006
_ROUGH_GRAIN = 0.012
_TWO_KINDS = 4.0
_CLOSING = 4
_HALO = 2
_OPENING = 2
_INK_RIM = 4
_GREY = 12
_COLOURLESS = 0.001
_STRIP_PX = 2**20
_DARKEST_OD = 5.6
_SUBSAMPLES = (2, 32)
_CELL = 4


@dataclass(frozen=True, eq=False)
class TissueMask:
    """Which parts of a slide are tissue.

    Attributes
    ----------
    mask
        bool (height, width); covers the whole slide.
    scale
        Level-0 px per px of the mask, along x and along y.
    source
        ``"auto"``, ``"none"`` (everything counts), or the file or plugin it comes from.
    """

    mask: NDArray[np.bool_]
    scale: tuple[float, float]
    source: str

    def fraction(
        self,
        xy_px: ArrayLike,
        diameter_um: float,
        mpp: Mpp,
        shape: Literal["circle", "square"] = "circle",
        orientation_deg: float = 0.0,
    ) -> NDArray[np.float32]:
        """Find the share of each spot's area that lies on tissue.

        Each spot is probed on a regular grid of points, two for every px of the mask; where the
        mask is all tissue or none around it, the answer is known without.

        Parameters
        ----------
        xy_px
            Spot centres (n, 2) in level-0 px, x first.
        diameter_um
            Diameter of a circle, or side of a square, in µm.
        mpp
            Resolution of the slide.
        shape
            Shape of the spots.
        orientation_deg
            By how much squares are turned, degrees, clockwise as one looks at the slide.

        Returns
        -------
        numpy.ndarray
            float32 (n,) in 0..1; what lies outside the slide is not tissue.
        """
        xy = np.asarray(xy_px, np.float64).reshape(-1, 2)
        side = np.array([diameter_um / mpp.x, diameter_um / mpp.y])
        least, most = _SUBSAMPLES
        count = int(np.clip(np.ceil(2 * (side / self.scale).max()), least, most))
        at = (np.arange(count) + 0.5) / count - 0.5
        points = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        if shape == "circle":
            points = points[np.hypot(*points.T) <= 0.5]
        elif orientation_deg:
            turned = (points[:, 0] + 1j * points[:, 1]) * np.exp(1j * np.radians(orientation_deg))
            points = np.column_stack([turned.real, turned.imag])
        reach = np.abs(points).max(axis=0) * side
        tissue, known = self._around(xy - reach, xy + reach)
        result = tissue.astype(np.float32)
        edge = np.flatnonzero(~known)
        height, width = self.mask.shape
        rows = max(1, 4_000_000 // len(points))
        for start in range(0, len(edge), rows):
            block = edge[start : start + rows]
            where = np.floor((xy[block, None] + points * side) / self.scale).astype(np.int64)
            column, row = where[..., 0], where[..., 1]
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            hit = self.mask[np.where(inside, row, 0), np.where(inside, column, 0)] & inside
            result[block] = hit.mean(axis=1)
        return result

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Tissue px above and to the left of the corners of cells of `_CELL` x `_CELL` px."""
        height, width = (-(-side // _CELL) for side in self.mask.shape)
        padded = np.zeros((height * _CELL, width * _CELL), np.bool_)
        padded[: self.mask.shape[0], : self.mask.shape[1]] = self.mask
        cells = padded.reshape(height, _CELL, width, _CELL).sum(axis=(1, 3))
        return np.pad(cells.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def _around(
        self, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether all of each box (level-0 px) is tissue, and whether all or none of it is."""
        counts = self._counts
        most = np.array(counts.shape[::-1]) - 1
        cell = np.array(self.scale) * _CELL
        first, last = np.floor(low / cell).astype(int), np.floor(high / cell).astype(int) + 1
        left, top = first.clip(0, most).T
        right, bottom = last.clip(0, most).T
        found = (
            counts[bottom, right] - counts[top, right] - counts[bottom, left] + counts[top, left]
        )
        every = found == (last - first).prod(axis=1) * _CELL**2
        return every, every | (found == 0)


def find_tissue(slide: Slide, *, mpp: float = 8.0) -> TissueMask:
    """Find the tissue by how its colour varies, and by its saturation.

    Bare glass is smooth however tinted it is; tissue, at the scale of cells, is not. So the mask
    starts from the local standard deviation of the optical density (40 µm wide), split by Otsu's
    threshold on its logarithm. That keeps pale and dark slides alike, since a logarithm turns
    fading and exposure into shifts, and it rejects stain that has run onto the glass and grids
    printed under it. Smooth tissue (blood, colloid) is added where saturation is above Otsu's
    threshold and density is that of the tissue found already. Holes and objects smaller than
    :data:`SMALLEST_UM2` are removed. Pen ink and black patches larger than that are left out first
    (:func:`~hypergene.slide.ink.find_ink`), also where they hide tissue; on a grey slide, where
    colour cannot tell them, they are not.

    On a slide without glass nothing is smooth, and all of it is tissue; on one without tissue
    everything is smooth, and the mask is empty.

    Parameters
    ----------
    slide
        The slide.
    mpp
        Resolution of the mask in µm per px; never finer than the slide itself.

    Returns
    -------
    TissueMask
        With source ``"auto"``; its mask may be empty.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on
    Systems, Man, and Cybernetics 9(1), 62-66, 1979.
    """
    (width, height), scale = mask_size(slide, mpp)
    overview = slide.overview(width, height)
    smallest_px = SMALLEST_UM2 / (scale[0] * slide.mpp.x * scale[1] * slide.mpp.y)
    # In this order, as the pieces of ink and the features are too much to be held at once.
    ink = _ink(overview, smallest_px)
    features = _features(overview)
    del overview
    mask = _rough(*features, ink)
    del features
    mask = _tidy(mask, smallest_px)
    mask &= ~ink
    return TissueMask(mask, scale, "auto")


def mask_size(slide: Slide, mpp: float = 8.0) -> tuple[tuple[int, int], tuple[float, float]]:
    """Size of a slide's mask at `mpp` µm/px or coarser, and its scale.

    Returns
    -------
    size : tuple of int
        Width and height in px, at most :data:`MAX_MASK_PX` in all.
    scale : tuple of float
        Level-0 px per px of the mask, along x and along y.
    """
    full = np.array(slide.dimensions, np.float64)
    per_px = np.maximum(np.array([slide.mpp.x, slide.mpp.y]), mpp)
    size = full * (slide.mpp.x, slide.mpp.y) / per_px
    size /= max(1.0, float(np.sqrt(size.prod() / MAX_MASK_PX)))
    width, height = (max(1, round(side)) for side in size)
    return (width, height), (float(full[0] / width), float(full[1] / height))


def whole_slide(slide: Slide) -> TissueMask:
    """Take the whole slide for tissue, as with ``--tissue none``."""
    width, height = slide.dimensions
    return TissueMask(np.ones((1, 1), np.bool_), (float(width), float(height)), "none")


def mask_scale(mask: NDArray[np.bool_], slide: Slide, origin: str) -> tuple[float, float]:
    """Scale of a mask of unknown scale, of which only the shape tells whether it is the slide's.

    Parameters
    ----------
    mask
        bool (height, width).
    slide
        The slide.
    origin
        Where the mask comes from, for the message.

    Returns
    -------
    tuple of float
        Level-0 px per px of the mask, along x and along y.

    Raises
    ------
    TissueError
        If it has not the slide's aspect ratio.
    """
    height, width = mask.shape
    full_width, full_height = slide.dimensions
    scale = full_width / width, full_height / height
    # A px more or less is rounding, however small the mask.
    if abs(width - full_width / scale[1]) > 1 + 0.01 * width:
        raise TissueError(
            f"The tissue mask {origin} is {width} x {height} px, but the slide {slide.path} is "
            f"{full_width} x {full_height} px: not the same shape.",
            hint="Give a mask of the whole slide, at any scale.",
        )
    return scale


def _features(
    overview: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Grain, optical density and saturation of each px, all as uint8 on fixed scales.

    In strips, and one byte each, so that the memory is that of the overview itself.
    """
    height, width = overview.shape[:2]
    grain, density, saturation = (np.empty((height, width), np.uint8) for _ in range(3))
    to_od = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
    low, high = np.log(_GRAIN_RANGE)
    margin = _WINDOW // 2
    for rows in _strips(overview.shape):
        top, bottom = rows.start, rows.stop
        first, last = max(top - margin, 0), min(bottom + margin, height)
        rgb = overview[first:last]
        red, green, blue = np.moveaxis(rgb, 2, 0)
        od = (to_od[red] + to_od[green] + to_od[blue]) / 3
        mean = ndimage.uniform_filter(od, _WINDOW, mode="nearest")
        square = ndimage.uniform_filter(od * od, _WINDOW, mode="nearest")
        spread = np.sqrt(np.maximum(square - mean * mean, 0)).clip(*_GRAIN_RANGE)
        own = slice(top - first, bottom - first)
        grain[rows] = np.rint((np.log(spread) - low) / (high - low) * 255)[own]
        density[rows] = np.rint((od / _DARKEST_OD).clip(0, 1) * 255)[own]
        saturation[rows] = _saturation(rgb[own])
    return grain, density, saturation


def _saturation(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    red, green, blue = np.moveaxis(rgb, 2, 0)
    highest: NDArray[np.uint8] = np.maximum(np.maximum(red, green), blue)
    return highest - np.minimum(np.minimum(red, green), blue)


def _strips(shape: tuple[int, ...]) -> list[slice]:
    """Rows of a picture (height, width, ...) in strips of about `_STRIP_PX` px."""
    height, width = shape[:2]
    rows = max(1, _STRIP_PX // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def _ink(overview: NDArray[np.uint8], smallest_px: float) -> NDArray[np.bool_]:
    """Large pieces of ink, with the rim in which ink and glass mix; nothing on a grey slide."""
    strips = _strips(overview.shape)
    coloured = sum(int((_saturation(overview[rows]) > _GREY).sum()) for rows in strips)
    if coloured < _COLOURLESS * overview.shape[0] * overview.shape[1]:
        return np.zeros(overview.shape[:2], np.bool_)
    ink = large_pieces(find_ink(overview, glass_colour(overview)), smallest_px)
    return ndimage.binary_dilation(ink, morphology.disk(_INK_RIM)) if ink.any() else ink


def _rough(
    grain: NDArray[np.uint8],
    density: NDArray[np.uint8],
    saturation: NDArray[np.uint8],
    ink: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Tissue px by px, before holes and specks are dealt with; ink has no say in it.

    All thresholds come from how often grain and density occur together, and saturation.
    """
    strips = _strips(ink.shape)
    together, saturations = np.zeros(256 * 256, np.int64), np.zeros(256, np.int64)
    for rows in strips:
        clean = ~ink[rows]
        both = grain[rows][clean].astype(np.int64) * 256 + density[rows][clean]
        together += np.bincount(both, minlength=256 * 256)
        saturations += np.bincount(saturation[rows][clean], minlength=256)
    above = _thresholds(together.reshape(256, 256), saturations)
    mask = np.empty(ink.shape, np.bool_)
    for rows in strips:
        mask[rows] = grain[rows] > above.grain
        mask[rows] |= (saturation[rows] > above.saturation) & (density[rows] > above.density)
    mask &= ~ink
    return mask


class _Above(NamedTuple):
    """Tissue has more grain than this, or more saturation and density."""

    grain: float
    saturation: float = 255.0
    density: float = 255.0


def _thresholds(together: NDArray[np.int64], saturations: NDArray[np.int64]) -> _Above:
    """Find the thresholds of px of which (grain, density) and saturation occur so often."""
    grains, densities = together.sum(axis=1), together.sum(axis=0)
    split = _otsu(grains)
    glass, tissue = (
        _median_grain(grains[: split + 1]),
        _median_grain(grains[split + 1 :], split + 1),
    )
    # On a dark slide one grey level more or less, which is noise, is a large change of density.
    grey_level = np.exp(_median(together[: split + 1].sum(axis=0)) / 255 * _DARKEST_OD) / 256
    rough = max(_ROUGH_GRAIN, float(grey_level))
    if glass > rough:
        return _Above(-1.0)
    if tissue < _TWO_KINDS * glass:
        # One kind of px, and a smooth one: what stands out from it is at most a speck of tissue.
        return _Above(_grain_step(max(3 * glass, rough)))
    least = max(split, _grain_step(_GLASS_GRAIN))
    grained = together[math.floor(least) + 1 :].sum(axis=0)
    if not grained.any():
        return _Above(least)
    return _Above(least, _otsu(saturations), max(_otsu(densities), _median(grained)))


def _tidy(mask: NDArray[np.bool_], smallest_px: float) -> NDArray[np.bool_]:
    """Close gaps between fibres, take back the window's halo, drop specks, scratches and holes."""
    if mask.all() or not mask.any():
        return mask
    pad = 2 * _CLOSING
    mask = np.pad(mask, pad, mode="edge")
    mask = ndimage.binary_closing(mask, morphology.disk(_CLOSING))
    mask = ndimage.binary_erosion(mask, morphology.disk(_HALO), border_value=1)
    mask = ndimage.binary_opening(mask, morphology.disk(_OPENING))[pad:-pad, pad:-pad]
    mask = large_pieces(mask, smallest_px)
    return ~large_pieces(~mask, smallest_px)


def _otsu(counts: NDArray[np.int64]) -> int:
    if np.count_nonzero(counts) < 2:
        return int(counts.argmax())
    return int(filters.threshold_otsu(hist=(counts, np.arange(256))))


def _median(counts: NDArray[np.int64]) -> float:
    """Median of values 0, 1, 2, ..., of which there are so many; 0 if there are none."""
    reached = counts.cumsum()
    number = reached[-1] if reached.size else 0
    if not number:
        return 0.0
    middle = [(number - 1) // 2, number // 2]
    return float(np.searchsorted(reached, middle, side="right").mean())


def _median_grain(counts: NDArray[np.int64], first: int = 0) -> float:
    """Typical standard deviation of the optical density, of steps `first`, `first` + 1, ..."""
    if not counts.any():
        return 0.0
    low, high = np.log(_GRAIN_RANGE)
    return float(np.exp(low + (first + _median(counts)) / 255 * (high - low)))


def _grain_step(spread: float) -> float:
    low, high = np.log(_GRAIN_RANGE)
    return float((np.log(spread) - low) / (high - low) * 255)
