"""The tiles of one file: each is decoded once, whichever threads want it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from hypergene.errors import SlideError
from hypergene.slide.rgb import WHITE
from hypergene.slide.tiff_plane import Plane

#: Decoded tiles kept for the next read, in bytes, so that neighbours decode a tile once.
CACHE_BYTES = 128 * 2**20

#: Level, plane within the level, number of the tile, how many times smaller it was decoded.
_Key = tuple[int, int, int, int]
_Tile = NDArray[np.uint8]


class TileCache:
    """The decoded tiles that were used last, for all threads that read one file.

    A tile that two threads want at once is decoded by one of them while the other waits.
    """

    def __init__(self, capacity_bytes: int = CACHE_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._tiles: OrderedDict[_Key, _Tile] = OrderedDict()
        self._underway: dict[_Key, Future[_Tile]] = {}
        self._lock = Lock()

    def get(self, key: _Key, decode: Callable[[], _Tile]) -> _Tile:
        """Return a tile, decoded now if nobody has done it; what `decode` raises is not kept."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
            theirs = self._underway.get(key)
            if theirs is None:
                ours = self._underway[key] = Future()
        if theirs is not None:
            return theirs.result()
        try:
            tile = decode()
        except BaseException as error:
            with self._lock:
                del self._underway[key]
            ours.set_exception(error)
            raise
        with self._lock:
            del self._underway[key]
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self._capacity_bytes and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        ours.set_result(tile)
        return tile


class FileTiles:
    """One open handle on the tiles of some levels of a TIFF.

    Parameters
    ----------
    path
        The file.
    planes
        Per level the planes that make up its samples.
    cache
        Decoded tiles, shared with the other handles of the file.
    """

    def __init__(
        self, path: Path, planes: Mapping[int, tuple[Plane, ...]], cache: TileCache | None = None
    ) -> None:
        self._planes = planes
        self._path = path
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self._cache = cache or TileCache()

    def __contains__(self, level: int) -> bool:
        """Tell whether a level can be read."""
        return level in self._planes

    def shrinks(self, level: int) -> tuple[int, ...]:
        """How many times smaller on each side a level can be read at less cost."""
        return min(plane.shrinks for plane in self._planes[level])

    def read(
        self, level: int, column: int, row: int, width: int, height: int, shrink: int = 1
    ) -> NDArray[np.uint8]:
        """Read a rectangle inside a level, white where the file has no tiles.

        All lengths are in px of the level made `shrink` times smaller.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, samples), in the colours of the file.

        Raises
        ------
        SlideError
            If a tile cannot be decoded.
        """
        box = column, row, column + width, row + height
        parts = [
            self._read_plane(level, index, sample, box, shrink)
            for index, plane in enumerate(self._planes[level])
            for sample in range(plane.sets)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def reopen(self) -> FileTiles:
        """Open the same file once more, for another thread; the decoded tiles are shared."""
        return FileTiles(self._path, self._planes, self._cache)

    def close(self) -> None:
        """Close the file; the decoded tiles go with the last handle."""
        self._file.close()
        self._cache = TileCache()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def _read_plane(
        self, level: int, index: int, sample: int, box: tuple[int, int, int, int], shrink: int
    ) -> NDArray[np.uint8]:
        plane = self._planes[level][index]
        tile_width, tile_height = plane.tile_width // shrink, plane.tile_height // shrink
        left, top, right, bottom = box
        result = np.empty((bottom - top, right - left, plane.samples), np.uint8)
        for down in range(top // tile_height, -(-bottom // tile_height)):
            for across in range(left // tile_width, -(-right // tile_width)):
                number = (sample * plane.down + down) * plane.across + across
                tile_left, tile_top = across * tile_width, down * tile_height
                x0, x1 = max(left, tile_left), min(right, tile_left + tile_width)
                y0, y1 = max(top, tile_top), min(bottom, tile_top + tile_height)
                place = result[y0 - top : y1 - top, x0 - left : x1 - left]
                tile = self._tile(level, index, number, shrink)
                found = tile[y0 - tile_top : y1 - tile_top, x0 - tile_left : x1 - tile_left]
                if found.shape != place.shape:  # there is no tile, or it is smaller than its place
                    place[:] = WHITE
                place[: found.shape[0], : found.shape[1]] = found
        return result

    def _tile(self, level: int, index: int, number: int, shrink: int) -> NDArray[np.uint8]:
        """One decoded tile; of no height where the file has none, as scanners do for glass."""
        plane = self._planes[level][index]
        try:
            if not plane.counts[number]:
                return np.empty((0, 0, plane.samples), np.uint8)
            key = level, index, number, shrink
            return self._cache.get(key, lambda: self._decode(plane, number, shrink))
        except Exception as error:
            # Each codec has its own exceptions; whichever it is, this tile cannot be decoded.
            raise self._undecodable(level, plane, number, error) from error

    def _decode(self, plane: Plane, number: int, shrink: int) -> NDArray[np.uint8]:
        offset, count = plane.offsets[number], plane.counts[number]
        if offset + count > self._size:
            raise SlideError("the file ends there")
        self._file.seek(offset)
        return plane.decode(self._file.read(count), number, shrink)

    def _undecodable(self, level: int, plane: Plane, number: int, error: Exception) -> SlideError:
        down, across = divmod(number % (plane.across * plane.down), plane.across)
        full = self._planes[0][0] if 0 in self._planes else plane
        x = across * plane.tile_width * full.width / plane.width
        y = down * plane.tile_height * full.height / plane.height
        return SlideError(
            f"{self._path} cannot be decoded at x {x:.0f}, y {y:.0f} px ({error}).",
            hint="The file is damaged there; copy or export it again.",
        )
