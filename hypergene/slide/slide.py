"""A slide: pixels of a pyramid at known microns per pixel, whatever file they come from."""

from __future__ import annotations

import errno
import os
from os import PathLike
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.patient import Patient, ReadLevel
from hypergene.slide.reader import Level, Reader
from hypergene.slide.resample import needed, resample
from hypergene.slide.resolution import Mpp, choose, given_mpp
from hypergene.slide.rgb import WHITE

#: A level this much coarser than wanted still counts as fine enough: mpp is not known better.
FINE_ENOUGH = 1.01

#: JPEG tiles are decoded smaller only as far as this many of their px are left for one of the
#: result on each side: the filter is then the triangle still, and not the decoder's. (Pillow's
#: ``reducing_gap`` for the same purpose.)
SHRUNK_LEFT = 2.0

#: Side in px of a level that is read in one piece when the whole slide is resampled.
BLOCK_PX = 2048

_HEAD_BYTES = 16
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_FORMATS = "Slides are SVS and what else OpenSlide reads, tiled TIFF, OME-TIFF, PNG and JPEG."


class Slide:
    """An open slide; a context manager. Made by :func:`open_slide`.

    Level-0 px are continuous: pixel i spans [i, i + 1), the corner of the slide is (0, 0), and
    x is the column.

    Attributes
    ----------
    path
        The file.
    mpp
        Microns per px of level 0 on both axes, with their source.
    dimensions
        Width and height in level-0 px.
    levels
        The pyramid, level 0 first.
    vendor
        Who wrote the file, or its format.
    warnings
        Sentences a user should see; reading may add to them.
    """

    def __init__(self, path: Path, reader: Reader, mpp: Mpp, warnings: list[str]) -> None:
        self.path = path
        self.mpp = mpp
        self.levels: tuple[Level, ...] = reader.levels
        self.dimensions = (self.levels[0].width, self.levels[0].height)
        self.vendor = reader.vendor
        self.warnings = warnings
        self._reader = reader

    def __enter__(self) -> Slide:
        """Return the open slide itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the slide."""
        self.close()

    def __repr__(self) -> str:
        """Name, size and resolution."""
        width, height = self.dimensions
        return f"Slide({str(self.path)!r}, {width} x {height} px, {self.mpp}, {self.vendor})"

    def read(self, x: int, y: int, width: int, height: int, level: int = 0) -> NDArray[np.uint8]:
        """Read a rectangle of one level.

        Parameters
        ----------
        x, y
            Top-left corner in level-0 px.
        width, height
            Size in px of `level`.
        level
            Index into :attr:`levels`.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB; white outside the slide.

        Raises
        ------
        SlideError
            If the pixels cannot be decoded; the slide stays usable.
        """
        across, down = self.levels[level].downsample
        return self._read_level(level, round(x / across), round(y / down), width, height)

    def read_um(
        self, center_x_px: float, center_y_px: float, width_um: float, size_px: int
    ) -> NDArray[np.uint8]:
        """Read a square of `width_um` micrometres at exactly the wanted resolution.

        Read from the level nearest above the wanted resolution (or level 0), which JPEG tiles
        give 2 or 4 times smaller if that leaves twice the wanted resolution; then resampled, on
        each axis by that axis' mpp.

        Parameters
        ----------
        center_x_px, center_y_px
            Centre of the square in level-0 px, fractions allowed.
        width_um
            Side of the square in µm.
        size_px
            Side of the result in px.

        Returns
        -------
        numpy.ndarray
            uint8 (size_px, size_px, 3), RGB; white outside the slide.

        Raises
        ------
        SlideError
            If the pixels cannot be decoded; the slide stays usable.
        """
        index = self.level_for(width_um / size_px)
        shrink = self._shrink_for(index, width_um / size_px)
        across, down = (factor * shrink for factor in self.levels[index].downsample)
        half_x, half_y = width_um / self.mpp.x / 2, width_um / self.mpp.y / 2
        box = (
            (center_x_px - half_x) / across,
            (center_y_px - half_y) / down,
            (center_x_px + half_x) / across,
            (center_y_px + half_y) / down,
        )
        return self._resampled(index, box, (size_px, size_px), shrink)

    def read_box(
        self, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle of the slide at any size.

        Read block by block from the coarsest level that has enough px (or level 0), so that beside
        the result only one block of about :data:`BLOCK_PX` px is held. What cannot be decoded is
        white.

        Parameters
        ----------
        box
            Left, top, right and bottom in level-0 px, fractions allowed.
        size
            Width and height of the result in px.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB; white outside the slide.

        Raises
        ------
        SlideError
            If more than 5 % of the slide cannot be decoded.
        """
        left, top, right, bottom = box
        factor = min((right - left) / size[0], (bottom - top) / size[1]) * FINE_ENOUGH
        index = max(
            i for i, level in enumerate(self.levels) if i == 0 or max(level.downsample) <= factor
        )
        across, down = self.levels[index].downsample
        place = (left / across, top / down, right / across, bottom / down)
        level = self.levels[index]
        read = Patient(self._read_level, (level.width, level.height), self.path)
        return self._in_blocks(index, place, size, read)

    def level_for(self, mpp: float) -> int:
        """Find the coarsest level that is still at least as fine as `mpp` on both axes.

        Parameters
        ----------
        mpp
            Wanted µm per px.

        Returns
        -------
        int
            Index into :attr:`levels`; 0 where even level 0 is coarser.
        """
        fine = [
            index
            for index in range(len(self.levels))
            if self._level_mpp(index) <= mpp * FINE_ENOUGH
        ]
        return fine[-1] if fine else 0

    def thumbnail(self, max_px: int) -> tuple[NDArray[np.uint8], float]:
        """Draw the whole slide small.

        Parameters
        ----------
        max_px
            Longest side of the result in px, at most; a slide is never enlarged.

        Returns
        -------
        picture : numpy.ndarray
            uint8 (height, width, 3), RGB.
        scale : float
            px of the picture per level-0 px, at most 1.
        """
        scale = min(1.0, max_px / max(self.dimensions))
        width, height = (max(1, round(side * scale)) for side in self.dimensions)
        return self.overview(width, height), scale

    def overview(self, width: int, height: int) -> NDArray[np.uint8]:
        """Resample the whole slide to `width` x `height` px, no larger than level 0.

        Read block by block from the coarsest level that has enough px, so that beside the result
        only one block of about :data:`BLOCK_PX` px is held. What cannot be decoded is white.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB.

        Raises
        ------
        SlideError
            If more than 5 % of the slide cannot be decoded.
        """
        index = max(
            i
            for i, level in enumerate(self.levels)
            if i == 0
            or (level.width * FINE_ENOUGH >= width and level.height * FINE_ENOUGH >= height)
        )
        level = self.levels[index]
        # The level may be cut a little short of the slide.
        box = (
            0.0,
            0.0,
            self.dimensions[0] / level.downsample[0],
            self.dimensions[1] / level.downsample[1],
        )
        read = Patient(self._read_level, (level.width, level.height), self.path)
        return self._in_blocks(index, box, (width, height), read)

    def reopen(self) -> Slide:
        """Open the slide once more, for another thread; plain images share their pixels."""
        return Slide(self.path, self._reader.reopen(), self.mpp, self.warnings)

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        self._reader.close()

    def _shrink_for(self, index: int, mpp: float) -> int:
        bearable = mpp * FINE_ENOUGH / (SHRUNK_LEFT * self._level_mpp(index))
        return max(s for s in self._reader.shrinks(index) if s == 1 or s <= bearable)

    def _level_mpp(self, index: int) -> float:
        """Microns per px of a level, along the coarser axis."""
        across, down = self.levels[index].downsample
        return max(self.mpp.x * across, self.mpp.y * down)

    def _in_blocks(
        self,
        index: int,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        read: ReadLevel,
    ) -> NDArray[np.uint8]:
        """Resample a box of a level in pieces of :data:`BLOCK_PX` px of this level."""
        width, height = size
        across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
        step_x, step_y = (max(1, int(BLOCK_PX / factor)) for factor in (across, down))
        result = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, step_y):
            bottom = min(top + step_y, height)
            for left in range(0, width, step_x):
                right = min(left + step_x, width)
                part = (
                    box[0] + left * across,
                    box[1] + top * down,
                    box[0] + right * across,
                    box[1] + bottom * down,
                )
                result[top:bottom, left:right] = self._resampled(
                    index, part, (right - left, bottom - top), read=read
                )
        return result

    def _resampled(
        self,
        index: int,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        shrink: int = 1,
        read: ReadLevel | None = None,
    ) -> NDArray[np.uint8]:
        level = self.levels[index]
        level_size = level.width // shrink, level.height // shrink
        left, top, right, bottom = needed(box, size, level_size)
        place = index, left, top, right - left, bottom - top
        pixels = self._read_level(*place, shrink) if read is None else read(*place)
        inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        return resample(pixels, inside, size)

    def _read_level(
        self, index: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        level = self.levels[index]
        left, right = max(column, 0), min(column + width, level.width // shrink)
        top, bottom = max(row, 0), min(row + height, level.height // shrink)
        if (left, top, right, bottom) == (column, row, column + width, row + height):
            return self._reader.read(index, column, row, width, height, shrink)
        result = np.full((height, width, 3), WHITE, np.uint8)
        if left < right and top < bottom:
            result[top - row : bottom - row, left - column : right - column] = self._reader.read(
                index, left, top, right - left, bottom - top, shrink
            )
        return result


def open_slide(path: str | PathLike[str], *, mpp: float | Mpp | None = None) -> Slide:
    """Open a slide file and settle its resolution.

    OpenSlide reads the formats it knows the vendor of; other TIFF and OME-TIFF are decoded tile by
    tile with tifffile; PNG and JPEG are decoded once, whole. The content decides, not the name.

    Parameters
    ----------
    path
        The file.
    mpp
        Microns per px of level 0, of a user or with who says so; wins over what the file says.

    Returns
    -------
    Slide
        Open; close it, or use it as a context manager.

    Raises
    ------
    SlideError
        If the file is missing, empty, damaged or not a slide.
    ResolutionError
        If `mpp` cannot be true, or neither it nor the file tells the resolution.
    """
    path = Path(path)
    head = _head(path)
    given = mpp if mpp is None or isinstance(mpp, Mpp) else given_mpp(mpp)
    reader = _reader_for(path, head)
    try:
        chosen, warnings = choose(reader.resolutions, given, path)
    except SlideError:
        reader.close()
        raise
    return Slide(path, reader, chosen, [*reader.warnings, *warnings])


def _head(path: Path) -> bytes:
    """First bytes of the file, once it is known to be one."""
    try:
        if path.is_dir():
            raise SlideError(
                f"{path} is a directory, not a slide.", hint="Give the slide files themselves."
            )
        if path.exists() and not path.is_file():
            raise SlideError(f"{path} is not a file.", hint="Give the slide files themselves.")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise SlideError(f"{path} does not exist.", hint="Check the path.") from error
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or errno.EIO) if isinstance(error, OSError) else error
        raise SlideError(f"{path} cannot be read: {reason}.") from error
    if not head:
        raise SlideError(f"{path} is empty.", hint="Copy or download it again.")
    return head


def _reader_for(path: Path, head: bytes) -> Reader:
    # Each backend is imported only when a file needs it: OpenSlide and tifffile take time to load.
    if head.startswith((_PNG_MAGIC, _JPEG_MAGIC)):
        from hypergene.slide.image_reader import ImageReader

        return ImageReader.open(path)
    from hypergene.slide.openslide_reader import OpenSlideReader, vendor_of

    is_tiff = head.startswith(_TIFF_MAGIC)
    vendor = vendor_of(path)
    if is_tiff:
        from hypergene.slide.tiff_plane import LostTiles
        from hypergene.slide.tiff_reader import TiffReader

        if vendor is None:
            return TiffReader.open(path)
        return OpenSlideReader(path, vendor, LostTiles.of(path))
    if vendor is None:
        raise SlideError(f"{path} is not a slide that hypergene can read.", hint=_FORMATS)
    return OpenSlideReader(path, vendor)
