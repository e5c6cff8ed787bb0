"""Slides in the formats that OpenSlide knows the vendor of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from hypergene.errors import SlideError
from hypergene.slide.aperio import direct_planes
from hypergene.slide.file_tiles import FileTiles
from hypergene.slide.reader import Level, pyramid
from hypergene.slide.resolution import Mpp, from_text, from_tiff
from hypergene.slide.rgb import as_rgb
from hypergene.slide.tiff_plane import LostTiles

_UNITS = {"inch": 2, "centimeter": 3}


def vendor_of(path: Path) -> str | None:
    """Name the vendor OpenSlide recognises; None for plain TIFF and for what it does not know."""
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:
        return None
    return None if vendor == "generic-tiff" else vendor


class OpenSlideReader:
    """A :class:`~hypergene.slide.reader.Reader` over one OpenSlide handle.

    Of an Aperio SVS, OpenSlide says what there is and the tiles are decoded without it, several
    times as fast; what fails there is asked of OpenSlide.

    ``openslide.OpenSlide`` and never ``openslide.open_slide``: the latter hands a damaged slide
    silently to Pillow, which keeps a page and loses the resolution.
    """

    def __init__(
        self,
        path: Path,
        vendor: str,
        lost: LostTiles | None = None,
        tiles: FileTiles | None = None,
    ) -> None:
        self._path = path
        self._lost = lost or LostTiles()
        self._handle = _open(path)
        self.vendor = vendor
        self.warnings = self._lost.warnings
        self.levels: tuple[Level, ...] = pyramid(list(self._handle.level_dimensions))
        self.resolutions: tuple[Mpp, ...] = _resolutions(self._handle)
        if tiles is None and vendor == "aperio":
            tiles = FileTiles(path, direct_planes(path, self.levels))
        self._tiles = tiles

    def shrinks(self, level: int) -> tuple[int, ...]:
        """How many times smaller on each side a level can be read at less cost."""
        if self._tiles is None or level not in self._tiles:
            return (1,)
        return self._tiles.shrinks(level)

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle inside the level (px of it, shrunk) as uint8 (height, width, 3)."""
        if self._tiles is not None and level in self._tiles:
            try:
                return self._tiles.read(level, column, row, width, height, shrink)
            except SlideError:
                pass  # OpenSlide may know better, and says so of what is damaged
        place = (length * shrink for length in (column, row, width, height))
        pixels = self._read(level, *place)
        return pixels if shrink == 1 else np.asarray(Image.fromarray(pixels).reduce(shrink))

    def reopen(self) -> OpenSlideReader:
        """Open the same file once more, for another thread."""
        tiles = None if self._tiles is None else self._tiles.reopen()
        return OpenSlideReader(self._path, self.vendor, self._lost, tiles)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
        if self._tiles is not None:
            self._tiles.close()

    def _read(
        self, level: int, column: int, row: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        # OpenSlide wants level-0 px and divides by its own downsample, so that one is used here.
        downsample = self._handle.level_downsamples[level]
        corner = round(column * downsample), round(row * downsample)
        box = column, row, column + width, row + height
        if self._lost.touched(self._handle.level_dimensions[level], box):
            raise self._undecodable(corner, "a tile lies beyond the end of the file")
        try:
            region = self._handle.read_region(corner, level, (width, height))
        except openslide.OpenSlideError as error:
            # An error latches: every later read of the same handle would fail too.
            self._handle.close()
            self._handle = _open(self._path)
            raise self._undecodable(corner, str(error)) from error
        return as_rgb(np.asarray(region))

    def _undecodable(self, corner: tuple[int, int], reason: str) -> SlideError:
        return SlideError(
            f"{self._path} cannot be decoded at x {corner[0]}, y {corner[1]} px ({reason}).",
            hint="The file is damaged there; copy or export it again.",
        )


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise SlideError(
            f"{path} is damaged or truncated: OpenSlide cannot open it ({error}).",
            hint="Copy or download it again, with the files beside it that belong to it, if any.",
        ) from error


def _resolutions(handle: openslide.OpenSlide) -> tuple[Mpp, ...]:
    say = handle.properties
    tiff_x, tiff_y = (_number(say.get(f"tiff.{axis}Resolution")) for axis in "XY")
    found = (
        from_text(say.get("openslide.mpp-x"), say.get("openslide.mpp-y"), "openslide.mpp-x"),
        from_text(say.get("aperio.MPP"), None, "aperio.MPP"),
        from_tiff(tiff_x, tiff_y, _UNITS.get(say.get("tiff.ResolutionUnit", ""))),
    )
    return tuple(mpp for mpp in found if mpp is not None)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
