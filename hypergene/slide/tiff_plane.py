"""One image of a TIFF: where its tiles lie, which of them are lost, and how to decode one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.encoded_size import encoded_size
from hypergene.slide.jpeg_tiles import SHRINKS, JpegTiles
from hypergene.slide.reader import MAX_PIECE_BYTES

#: A file that has lost more than this share of the tiles of its largest page is damaged.
MAX_LOST = 0.05

#: Within which the header of a JPEG says its size, segments of a camera or a scanner before it.
_HEAD_BYTES = 2**17

#: The tag by which OpenSlide knows an NDPI (tifffile asks for the maker's name, too).
_NDPI = 65420

# Values of the TIFF tags Compression, PlanarConfiguration and PhotometricInterpretation.
JPEGS = {6, 7, 33007, 34892}
_APART = 2
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Plane:
    """Where the tiles (or strips) of one image lie, and how to decode one.

    All of it is read while tifffile has the file open, so that any thread can use it later.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    #: Samples a tile holds, and how many such sets of tiles follow each other in the page.
    samples: int
    sets: int
    inverted: bool
    extra_samples: frozenset[int]
    offsets: Sequence[int]
    counts: Sequence[int]
    _decode: Callable[..., tuple[Any, ...]]
    _jpeg: JpegTiles | None = None

    @classmethod
    def of(cls, page: Any) -> Plane:
        """Take what is needed of a page of tifffile's."""
        key = page.keyframe
        options: dict[str, Any] = {"_fullsize": key.is_tiled}
        if key.compression in JPEGS:
            options |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        apart = key.planarconfig == _APART
        return cls(
            width=key.imagewidth,
            height=key.imagelength,
            tile_width=key.tilewidth if key.is_tiled else key.imagewidth,
            tile_height=key.tilelength if key.is_tiled else min(key.rowsperstrip, key.imagelength),
            samples=1 if apart else key.samplesperpixel,
            sets=key.samplesperpixel if apart else 1,
            inverted=key.photometric == WHITE_IS_ZERO,
            extra_samples=frozenset(key.extrasamples),
            offsets=page.dataoffsets,
            counts=page.databytecounts,
            _decode=partial(key.decode, **options),
            _jpeg=JpegTiles.of(page) if key.is_tiled else None,
        )

    @property
    def across(self) -> int:
        """Tiles side by side."""
        return -(-self.width // self.tile_width)

    @property
    def down(self) -> int:
        """Tiles one below the other."""
        return -(-self.height // self.tile_height)

    @property
    def shrinks(self) -> tuple[int, ...]:
        """How many times smaller on each side its tiles can be decoded at less cost."""
        if self._jpeg is None or self.tile_width % SHRINKS[-1] or self.tile_height % SHRINKS[-1]:
            return (1,)
        return SHRINKS

    @property
    def is_whole(self) -> bool:
        """Whether the file says of every tile where it lies."""
        return min(len(self.offsets), len(self.counts)) >= self.across * self.down * self.sets

    def lost(self, file_bytes: int) -> NDArray[np.bool_]:
        """Tell which tiles a file of `file_bytes` cannot hold, bool (tiles,)."""
        # Damaged tables may differ in length, and hold more than there are tiles.
        said = min(len(self.offsets), len(self.counts), self.across * self.down * self.sets)
        # They hold numbers of any size and sign, too; floats bear them all.
        offsets, counts = (
            np.asarray(table[:said], np.float64) for table in (self.offsets, self.counts)
        )
        return (offsets < 0) | (counts < 0) | (offsets + counts > file_bytes)

    def warn_of_lost(self, path: Path) -> tuple[str, ...]:
        """Warn if a few of the tiles are lost.

        Raises
        ------
        SlideError
            If more than 5 % of them are.
        """
        lost = self.lost(path.stat().st_size)
        if not lost.size or lost.mean() > MAX_LOST:
            raise truncated(path)
        few = int(lost.sum())
        return (f"{few} of {lost.size} tiles lie beyond the end of the file.",) if few else ()

    def decode(self, data: bytes, index: int, shrink: int = 1) -> NDArray[np.uint8]:
        """Decode one tile, uint8 (tile height, tile width, samples).

        Parameters
        ----------
        data
            The tile as it lies in the file.
        index
            Its number.
        shrink
            One of :attr:`shrinks`, by which the sides are divided.

        Raises
        ------
        ValueError
            If the tile claims to be larger than its place, which decoders would believe.
        """
        claimed = encoded_size(data)
        if claimed and (claimed[0] > self.tile_width or claimed[1] > self.tile_height):
            raise ValueError(f"a tile claims to be {claimed[0]} x {claimed[1]} px")
        if self._jpeg is not None:
            if claimed is None:
                raise ValueError("a tile is not a JPEG")
            return self._jpeg.decode(data, claimed, shrink)
        return np.asarray(self._decode(data, index)[0])[0]


@dataclass(frozen=True)
class LostTiles:
    """The tiles of a TIFF that another library must not be asked for.

    A library that believes a tile's byte count allocates it before it reads: of a tile of 2 GB in
    a file of 2 MB, OpenSlide ends the process.

    Attributes
    ----------
    warnings
        A sentence if a few tiles of the largest page are lost.
    """

    warnings: tuple[str, ...] = ()
    _pages: tuple[tuple[Plane, NDArray[np.bool_]], ...] = ()

    @classmethod
    def of(cls, path: Path) -> LostTiles:
        """Look through the tables of tiles of all pages.

        Raises
        ------
        SlideError
            If the largest page has lost more than 5 % of its tiles, has fewer of them than its
            size needs, has tiles too large to decode, or is an NDPI with a JPEG larger than its
            page, for which OpenSlide would take memory unasked.
        """
        try:
            with tifffile.TiffFile(path) as tif:
                found: list[Any] = list(tif.pages)
                slide = Plane.of(max(found, key=area))
                pages = [Plane.of(page) for page in found if page.keyframe.is_tiled]
                is_ndpi = _NDPI in found[0].tags
                too_large = is_ndpi and any(_claims_more(tif, page) for page in found)
        except Exception:
            # Vendors bend TIFF in ways that tifffile need not know; the other library reads it.
            return cls()
        if too_large:
            raise SlideError(
                f"{path} is damaged: one of its pictures claims to be larger than its page.",
                hint="Copy or download it again.",
            )
        for plane in pages:
            tile_bytes = plane.tile_width * plane.tile_height * plane.samples
            if not plane.is_whole or tile_bytes > MAX_PIECE_BYTES:
                raise truncated(path)
        lost = [(plane, plane.lost(path.stat().st_size)) for plane in pages]
        return cls(slide.warn_of_lost(path), tuple(pair for pair in lost if pair[1].any()))

    def touched(self, size: tuple[int, int], box: tuple[int, int, int, int]) -> bool:
        """Tell whether a rectangle of the level of this size needs a lost tile.

        Parameters
        ----------
        size
            Width and height of the level in px.
        box
            Left, top, right and bottom in px of the level.
        """
        for plane, lost in self._pages:
            if (plane.width, plane.height) != size:
                continue
            grid = lost[: plane.across * plane.down].reshape(plane.down, plane.across)
            rows = slice(box[1] // plane.tile_height, -(-box[3] // plane.tile_height))
            columns = slice(box[0] // plane.tile_width, -(-box[2] // plane.tile_width))
            if grid[rows, columns].any():
                return True
        return False


def _claims_more(tif: tifffile.TiffFile, page: Any) -> bool:
    """Whether the JPEG of a page says a larger size than the page does."""
    tif.filehandle.seek(page.dataoffsets[0])
    claimed = encoded_size(tif.filehandle.read(_HEAD_BYTES))
    return claimed is not None and (claimed[0] > page.imagewidth or claimed[1] > page.imagelength)


def truncated(path: Path) -> SlideError:
    """Return the error of a file that does not hold the tiles it announces."""
    return SlideError(
        f"{path} is damaged: it does not hold all the tiles that it announces.",
        hint="It was probably cut off while copying; copy or download it again.",
    )


def area(page: Any) -> int:
    """Px of a page."""
    return int(page.keyframe.imagewidth) * int(page.keyframe.imagelength)
