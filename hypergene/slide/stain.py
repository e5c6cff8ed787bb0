"""The colours of a slide's two dyes, as optical density."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hypergene.slide.slide import Slide
from hypergene.slide.tissue import TissueMask

_OVERVIEW_MPP = 8.0
_MOST_PX = 16_000_000
_SAMPLE = 100_000
_LEAST_PX = 100
# Macenko's own: what is paler than this is glass; extremes of the angle that are left out.
_PALE, _EXTREME = 0.15, 1.0


def stain_vectors(slide: Slide, mask: TissueMask) -> NDArray[np.float64] | None:
    """Estimate the colours of haematoxylin and eosin of a slide, about 8 µm/px (Macenko 2009).

    Optical densities of tissue lie, noise aside, in the plane of the two dyes, between them: the
    plane is that of the two leading eigenvectors, the dyes are its extreme directions.

    Parameters
    ----------
    slide
        The slide.
    mask
        Its tissue.

    Returns
    -------
    ndarray or None
        (2, 3) float64, unit vectors of optical density in red, green, blue: first the dye that
        takes more red (haematoxylin), then the other. None where there is too little tissue.

    References
    ----------
    M. Macenko et al., A method for normalizing histology slides for quantitative analysis, ISBI
    2009, 1107-1110.
    """
    full = np.array(slide.dimensions, np.float64)
    size = full * np.minimum(1.0, np.array([slide.mpp.x, slide.mpp.y]) / _OVERVIEW_MPP)
    size /= max(1.0, math.sqrt(size.prod() / _MOST_PX))
    width, height = (max(1, round(side)) for side in size)
    pixels = slide.overview(width, height)
    rows = (np.arange(height) * mask.mask.shape[0] // height).clip(0, mask.mask.shape[0] - 1)
    columns = (np.arange(width) * mask.mask.shape[1] // width).clip(0, mask.mask.shape[1] - 1)
    tissue = pixels[mask.mask[np.ix_(rows, columns)]]
    return vectors_of(tissue)


def vectors_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Estimate the dyes of pixels of tissue (n, 3), RGB; as :func:`stain_vectors`."""
    if len(pixels) > _SAMPLE:
        chosen = np.random.default_rng(0).choice(len(pixels), _SAMPLE, replace=False)
        pixels = pixels[chosen]
    density = -np.log((pixels.astype(np.float64) + 1) / 256)
    density = density[(density > _PALE).all(axis=1)]
    if len(density) < _LEAST_PX:
        return None
    _, basis = np.linalg.eigh(np.cov(density.T))
    plane = basis[:, :0:-1]  # the two of greatest variance, the greatest first
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    at = density @ plane
    angle = np.arctan2(at[:, 1], at[:, 0])
    ends = np.percentile(angle, [_EXTREME, 100 - _EXTREME])
    dyes = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    dyes = np.abs(dyes) / np.linalg.norm(dyes, axis=1, keepdims=True)
    found: NDArray[np.float64] = dyes[np.argsort(-dyes[:, 0], kind="stable")]
    return found
