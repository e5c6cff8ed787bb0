"""Tiled TIFF and OME-TIFF, decoded tile by tile: only what a read touches is ever in memory."""

from __future__ import annotations

import logging
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.reader import MAX_PIECE_BYTES, Level, pyramid
from hypergene.slide.resolution import Mpp, from_ome, from_tiff
from hypergene.slide.rgb import WHITE, as_rgb
from hypergene.slide.tiff_plane import JPEGS, WHITE_IS_ZERO, Plane, area, truncated

#: Decoded tiles kept for the next read, in bytes, so that neighbours decode a tile once.
CACHE_BYTES = 64 * 2**20

# Values of the TIFF tags Compression and PhotometricInterpretation.
_JPEG2000S = {33003, 33004, 33005, 34712}
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
    ) -> None:
        self._path = path
        self._planes = planes
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self._cache: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0
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
                if not all(plane.is_whole for level in planes for plane in level):
                    raise truncated(path)
                warnings = (*_refuse(series, planes, path), *planes[0][0].warn_of_lost(path))
                ome = tif.ome_metadata
                resolutions = (
                    *_ome_resolution(ome, tif.series.index(series), len(tif.series)),
                    *_tag_resolution(series.keyframe),
                )
        except SlideError:
            raise
        except Exception as error:
            raise SlideError(
                f"{path} is a damaged TIFF ({error}).", hint="Copy or export it again."
            ) from error
        return cls(path, planes, "ome-tiff" if ome else "tiff", resolutions, warnings)

    def read(self, level: int, column: int, row: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle inside the level (px of that level) as uint8 (height, width, 3)."""
        parts = [
            self._read_plane(level, index, sample, column, row, width, height)
            for index, plane in enumerate(self._planes[level])
            for sample in range(plane.sets)
        ]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        plane = self._planes[level][0]
        if plane.inverted:
            pixels = WHITE - pixels
        # TIFF 6.0, ExtraSamples: 1 = premultiplied alpha, 2 = alpha, else not a transparency.
        if pixels.shape[-1] in (2, 4) and not plane.extra_samples & {1, 2}:
            pixels = pixels[..., :-1]
        return as_rgb(pixels, premultiplied=1 in plane.extra_samples)

    def reopen(self) -> TiffReader:
        """Open the same file once more, for another thread; the structure is shared."""
        return TiffReader(self._path, self._planes, self.vendor, self.resolutions, self.warnings)

    def close(self) -> None:
        """Close the file and forget the decoded tiles."""
        self._file.close()
        self._cache.clear()
        self._cached_bytes = 0

    def _read_plane(
        self, level: int, index: int, sample: int, column: int, row: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        plane = self._planes[level][index]
        result = np.full((height, width, plane.samples), WHITE, np.uint8)
        for down in range(row // plane.tile_height, -(-(row + height) // plane.tile_height)):
            for across in range(
                column // plane.tile_width, -(-(column + width) // plane.tile_width)
            ):
                number = (sample * plane.down + down) * plane.across + across
                tile = self._tile(level, index, number)
                if tile is None:
                    continue
                left, top = across * plane.tile_width, down * plane.tile_height
                x0, x1 = max(column, left), min(column + width, left + tile.shape[1])
                y0, y1 = max(row, top), min(row + height, top + tile.shape[0])
                result[y0 - row : y1 - row, x0 - column : x1 - column] = tile[
                    y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return result

    def _tile(self, level: int, index: int, number: int) -> NDArray[np.uint8] | None:
        """One decoded tile; None where the file has none, as scanners do for bare glass."""
        where = level, index, number
        if where in self._cache:
            self._cache.move_to_end(where)
            return self._cache[where]
        plane = self._planes[level][index]
        try:
            offset, count = plane.offsets[number], plane.counts[number]
            if not count:
                return None
            if offset + count > self._size:
                raise SlideError("the file ends there")
            self._file.seek(offset)
            tile = plane.decode(self._file.read(count), number)
        except Exception as error:
            # Each codec has its own exceptions; whichever it is, this tile cannot be decoded.
            raise self._undecodable(level, plane, number, error) from error
        self._cache[where] = tile
        self._cached_bytes += tile.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _undecodable(self, level: int, plane: Plane, number: int, error: Exception) -> SlideError:
        down, across = divmod(number % (plane.across * plane.down), plane.across)
        x_scale, y_scale = self.levels[level].downsample
        x, y = across * plane.tile_width * x_scale, down * plane.tile_height * y_scale
        return SlideError(
            f"{self._path} cannot be decoded at x {x:.0f}, y {y:.0f} px ({error}).",
            hint="The file is damaged there; copy or export it again.",
        )


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
    largest = max(p.tile_width * p.tile_height * channels for level in planes for p in level)
    if largest > MAX_PIECE_BYTES:
        raise SlideError(
            f"{path} is not tiled, and too large to decode in one piece.", hint=_CONVERT
        )
    if "C" in axes:
        return ("The three channels of the file are taken as red, green and blue.",)
    return ()


def _tag_resolution(page: Any) -> Iterator[Mpp]:
    def tag(name: str) -> Any:
        found = page.tags.get(name)
        return None if found is None else found.value

    unit = tag("ResolutionUnit")
    mpp = from_tiff(tag("XResolution"), tag("YResolution"), 2 if unit is None else int(unit))
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
