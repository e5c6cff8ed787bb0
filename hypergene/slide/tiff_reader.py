"""Tiled TIFF and OME-TIFF, decoded tile by tile: only what a read touches is ever in memory."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.file_tiles import FileTiles
from hypergene.slide.reader import MAX_PIECE_BYTES, Level, pyramid
from hypergene.slide.resolution import Mpp, from_imagej, from_ome, from_tiff
from hypergene.slide.rgb import WHITE, as_rgb
from hypergene.slide.tiff_plane import JPEGS, WHITE_IS_ZERO, Plane, area, truncated

# Values of the TIFF tags Compression and PhotometricInterpretation.
_JPEG2000S = {33003, 33004, 33005, 34712}
#: Not compressed, LZW, deflate, PackBits, LZMA and Zstandard, which stop where the tile is full;
#: and JPEG, JPEG 2000 and WebP, of which we know beforehand what they will fill.
_BOUNDED = {1, 5, 8, 32946, 32773, 34925, 34926, 50000, 34927, 50001} | JPEGS | _JPEG2000S
_COLOURS = {WHITE_IS_ZERO, 1, 2, 6}  # and black is zero, RGB, YCbCr
_PLAIN_AXES = {"YX", "YXS", "SYX", "CYX"}
_CONVERT = "Convert it to a tiled 8-bit RGB TIFF (vips tiffsave --tile --pyramid)."

# tifffile reports damage on its logger, which prints on stderr when nobody has set logging up;
# what matters of it is said in our own errors.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TiffReader:
    """A :class:`~hypergene.slide.reader.Reader` over the pages of a TIFF."""

    def __init__(
        self,
        path: Path,
        planes: tuple[tuple[Plane, ...], ...],
        vendor: str,
        resolutions: tuple[Mpp, ...],
        warnings: tuple[str, ...],
        tiles: FileTiles | None = None,
    ) -> None:
        self._path = path
        self._planes = planes
        self._tiles = tiles or FileTiles(path, dict(enumerate(planes)))
        self.vendor = vendor
        self.resolutions = resolutions
        self.warnings = warnings
        self.levels: tuple[Level, ...] = pyramid([(p[0].width, p[0].height) for p in planes])

    @classmethod
    def open(cls, path: Path) -> TiffReader:
        """Read the structure of a TIFF; no pixels yet.

        Raises
        ------
        SlideError
            If it is truncated, or not one 8-bit grey or RGB image.
        """
        # tifffile raises its own error, ValueError, struct.error, KeyError, ... on damaged tags.
        try:
            with tifffile.TiffFile(path) as tif:
                if not len(tif.pages) or _is_cut(tif):
                    raise truncated(path)
                series = max(tif.series, key=lambda one: area(one.keyframe))
                planes = tuple(
                    tuple(Plane.of(page) for page in level.pages) for level in series.levels
                )
                # Where its page cannot be read, a level of the pyramid has none.
                if not all(level and all(plane.is_whole for plane in level) for level in planes):
                    raise truncated(path)
                warnings = (*_refuse(series, planes, path), *planes[0][0].warn_of_lost(path))
                ome = tif.ome_metadata
                resolutions = (
                    *_ome_resolution(ome, tif.series.index(series), len(tif.series)),
                    *_tag_resolution(series.keyframe, tif.imagej_metadata or {}),
                )
        except SlideError:
            raise
        except Exception as error:
            raise SlideError(
                f"{path} is a damaged TIFF ({error}).", hint="Copy or export it again."
            ) from error
        return cls(path, planes, "ome-tiff" if ome else "tiff", resolutions, warnings)

    def shrinks(self, level: int) -> tuple[int, ...]:
        """How many times smaller on each side a level can be read at less cost."""
        return self._tiles.shrinks(level)

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle inside the level (px of it, shrunk) as uint8 (height, width, 3)."""
        pixels = self._tiles.read(level, column, row, width, height, shrink)
        plane = self._planes[level][0]
        if plane.inverted:
            pixels = WHITE - pixels
        # TIFF 6.0, ExtraSamples: 1 = premultiplied alpha, 2 = alpha, else not a transparency.
        if pixels.shape[-1] in (2, 4) and not plane.extra_samples & {1, 2}:
            pixels = pixels[..., :-1]
        return as_rgb(pixels, premultiplied=1 in plane.extra_samples)

    def reopen(self) -> TiffReader:
        """Open the same file once more, for another thread; the structure is shared."""
        return TiffReader(
            self._path,
            self._planes,
            self.vendor,
            self.resolutions,
            self.warnings,
            self._tiles.reopen(),
        )

    def close(self) -> None:
        """Close the file and forget the decoded tiles."""
        self._tiles.close()


def _is_cut(tif: tifffile.TiffFile) -> bool:
    """Whether a page or a level of the pyramid is announced that the file ends before."""
    size = tif.filehandle.size
    if any(offset >= size for page in tif.pages for offset in (page.subifds or ())):
        return True
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    data = tif.filehandle.read(tif.tiff.offsetsize)
    if len(data) < tif.tiff.offsetsize:
        return True
    (following,) = struct.unpack(tif.tiff.offsetformat, data)
    return bool(following >= size)


def _refuse(series: Any, planes: tuple[tuple[Plane, ...], ...], path: Path) -> tuple[str, ...]:
    """Raise for what is not one 8-bit colour image; warn of what is taken on trust."""
    key = series.keyframe
    if key.dtype != np.uint8:
        bits = key.bitspersample
        raise SlideError(f"{path} has {bits} bits a channel; slides have 8.", hint=_CONVERT)
    pairs = zip(series.axes, series.shape, strict=True)
    axes = "".join(axis for axis, length in pairs if length > 1 or axis in "YX")
    if axes not in _PLAIN_AXES:
        raise SlideError(
            f"{path} holds a stack of images (axes {series.axes}), not one slide.",
            hint="Export the one plane that matters.",
        )
    channels = len(series.levels[0].pages) * key.samplesperpixel
    # Only the JPEG codecs turn YCbCr into RGB while they decode.
    raw_ycbcr = key.photometric == 6 and key.compression not in JPEGS | _JPEG2000S
    odd = channels > 4 or (channels != 3 and "C" in axes)
    if key.photometric not in _COLOURS or raw_ycbcr or odd:
        raise SlideError(
            f"{path} is neither a grey nor an RGB picture "
            f"({channels} channels, photometric {int(key.photometric)}).",
            hint=_CONVERT,
        )
    if key.compression not in _BOUNDED:
        raise SlideError(
            f"{path} is compressed in a way that hypergene does not read "
            f"({getattr(key.compression, 'name', key.compression)}).",
            hint=_CONVERT,
        )
    largest = max(p.tile_width * p.tile_height * channels for level in planes for p in level)
    if largest > MAX_PIECE_BYTES:
        raise SlideError(
            f"{path} is not tiled, and too large to decode in one piece.", hint=_CONVERT
        )
    if "C" in axes:
        return ("The three channels of the file are taken as red, green and blue.",)
    return ()


def _tag_resolution(page: Any, imagej: dict[str, Any]) -> Iterator[Mpp]:
    def tag(name: str) -> Any:
        found = page.tags.get(name)
        return None if found is None else found.value

    per_x, per_y, unit = (tag(name) for name in ("XResolution", "YResolution", "ResolutionUnit"))
    mpp = from_tiff(per_x, per_y, 2 if unit is None else int(unit))
    if imagej.get("unit"):
        mpp = from_imagej(per_x, per_y, str(imagej["unit"]))
    if mpp is not None:
        yield mpp


def _ome_resolution(xml: str | None, index: int, count: int) -> Iterator[Mpp]:
    """OME describes the images in the order of the series; the first stands for all if not."""
    if not xml:
        return
    images = [item for item in ElementTree.fromstring(xml).iter() if item.tag.endswith("}Pixels")]
    if not images:
        return
    say = images[index if len(images) == count else 0].attrib
    mpp = from_ome(
        say.get("PhysicalSizeX"),
        say.get("PhysicalSizeY"),
        say.get("PhysicalSizeXUnit"),
        say.get("PhysicalSizeYUnit"),
    )
    if mpp is not None:
        yield mpp
