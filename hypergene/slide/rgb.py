"""Any 8-bit colour layout as opaque RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WHITE = 255


def as_rgb(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Lay grey, grey + alpha, RGB or RGBA pixels over white.

    Parameters
    ----------
    pixels
        uint8 (height, width, 1 | 2 | 3 | 4).
    premultiplied
        Whether the colours are already multiplied by alpha.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width, 3).
    """
    channels = pixels.shape[-1]
    colour = pixels[..., :3] if channels >= 3 else pixels[..., :1]
    if channels in (2, 4):
        share = pixels[..., -1:]
        if share.min(initial=WHITE) < WHITE:
            share = share.astype(np.uint16)
            # + 127 rounds to the nearest; the sum still fits 16 bits.
            lit = (
                colour + (WHITE - share)
                if premultiplied
                else (colour * share + (WHITE - share) * WHITE + 127) // WHITE
            )
            colour = np.minimum(lit, WHITE).astype(np.uint8)
    if colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, axis=-1)
    return np.ascontiguousarray(colour)
