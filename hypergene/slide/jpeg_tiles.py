"""JPEG tiles of a TIFF, which keeps their tables and their colour space apart from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

#: Value of the TIFF tag Compression for the JPEG of TIFF Technical Note 2.
COMPRESSION = 7

#: How many times smaller, on each side, libjpeg can make a picture while it decodes it.
SHRINKS = (1, 2, 4)

# Values of the TIFF tags PhotometricInterpretation.
_GREYS, _RGB, _YCBCR = {0, 1}, 2, 6

_START, _END, _MARKER_BYTES = b"\xff\xd8", b"\xff\xd9", 2
#: Writers pad tiles; more bytes than this that no px needed mean that the px are wrong.
_MAX_PADDING = 16
_PADDED = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
#: An Adobe segment, whose last byte says which colour space it is (ITU-T T.872, 6.5.3).
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_TRANSFORM = {_RGB: b"\x00", _YCBCR: b"\x01"}


@dataclass(frozen=True)
class JpegTiles:
    """What makes a tile of one page a JPEG that stands alone, and its decoder.

    libjpeg-turbo decodes, as in OpenSlide and tifffile, so that pixels are the same; and it is
    strict, as in OpenSlide: where imagecodecs and Pillow paint the rest of a broken tile grey,
    this raises.
    """

    _head: bytes
    _colours: str

    @classmethod
    def of(cls, page: Any) -> JpegTiles | None:
        """Take what is needed of a page of tifffile's; None if its tiles are not such JPEGs.

        Sources: TIFF Technical Note 2 (JPEGTables); ITU-T T.81, B.2.4 (abbreviated formats).
        """
        key = page.keyframe
        apart = key.planarconfig == 2 or key.samplesperpixel == 1
        coloured = key.samplesperpixel == 3 and key.photometric in _TRANSFORM
        if key.compression != COMPRESSION or key.bitspersample != 8 or key.jpegheader:
            return None
        if not (coloured or (apart and key.photometric in {*_GREYS, *_TRANSFORM})):
            return None
        # A JFIF segment says YCbCr, whatever the page says; libjpeg believes it before Adobe's.
        adobe = b"" if apart else _ADOBE + _TRANSFORM[key.photometric]
        tables = (page.jpegtables or b"")[_MARKER_BYTES:-_MARKER_BYTES]
        return cls(_START + adobe + tables, "GRAY" if apart else "RGB")

    def decode(self, data: bytes, size: tuple[int, int], shrink: int = 1) -> NDArray[np.uint8]:
        """Decode one tile, uint8 (height, width, 1 or 3).

        Parameters
        ----------
        data
            The tile as it lies in the file.
        size
            Width and height in px that it claims.
        shrink
            One of :data:`SHRINKS`: both sides are divided by it, by transforming only the lower
            frequencies of each block back, close to the mean of the px.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        # With an end of its own: a tile that only lacks it is whole, one that is cut is told.
        jpeg = self._head + data[_MARKER_BYTES:] + _END
        width, height = size
        decode = partial(
            simplejpeg.decode_jpeg,
            jpeg,
            self._colours,
            min_height=-(-height // shrink),
            min_width=-(-width // shrink),
            min_factor=shrink,
        )
        try:
            return np.asarray(decode(strict=True))
        except ValueError as error:
            padded = _PADDED.search(str(error))
            if padded is None or int(padded[1]) > _MAX_PADDING:
                raise
            return np.asarray(decode(strict=False))
