"""The levels of an Aperio SVS that need no OpenSlide to be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from hypergene.slide.jpeg_tiles import COMPRESSION as JPEG
from hypergene.slide.reader import Level
from hypergene.slide.tiff_plane import Plane

# Values of the TIFF tags Compression, PhotometricInterpretation and PlanarConfiguration. Aperio's
# other JPEG 2000 (33003) is left out: its YCbCr is turned into RGB by a table of OpenSlide's own.
_PLAIN = {1, 5, 8, 32946, 33005}
_RGB, _YCBCR, _TOGETHER = 2, 6, 1


def direct_planes(path: Path, levels: tuple[Level, ...]) -> dict[int, tuple[Plane, ...]]:
    """Find the levels whose tiles can be decoded one by one, to the pixels OpenSlide would give.

    Parameters
    ----------
    path
        The file.
    levels
        The pyramid as OpenSlide sees it.

    Returns
    -------
    dict
        Level -> its one plane, for :class:`~hypergene.slide.file_tiles.FileTiles`; levels for
        which there is any doubt are left out.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            pages: list[Any] = list(tif.pages)
            return dict(_matched([page for page in pages if page.keyframe.is_tiled], levels))
    except Exception:
        # Whatever tifffile does not understand, OpenSlide may.
        return {}


def _matched(pages: list[Any], levels: tuple[Level, ...]) -> Iterator[tuple[int, tuple[Plane]]]:
    for index, level in enumerate(levels):
        size = level.width, level.height
        found = [p for p in pages if (p.keyframe.imagewidth, p.keyframe.imagelength) == size]
        if len(found) != 1 or not _is_plain(found[0]):
            continue
        plane = Plane.of(found[0])
        # What is missing in one level OpenSlide draws from the next.
        if plane.is_whole and all(plane.counts[: plane.across * plane.down]):
            yield index, (plane,)


def _is_plain(page: Any) -> bool:
    key = page.keyframe
    if key.dtype != np.uint8 or key.samplesperpixel != 3 or key.planarconfig != _TOGETHER:
        return False
    if key.compression == JPEG:
        # OpenSlide believes the page, libjpeg a JFIF segment that contradicts it.
        return key.photometric == _YCBCR or (key.photometric == _RGB and not page.is_jfif)
    return key.compression in _PLAIN and key.photometric == _RGB
