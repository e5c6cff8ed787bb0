"""Tiles around spots, as a stream of batches in the order in which they lie in the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypergene.errors import SlideError
from hypergene.slide.file_tiles import CACHE_BYTES
from hypergene.slide.patient import MAX_UNREADABLE
from hypergene.slide.rgb import WHITE
from hypergene.slide.slide import Slide

#: Spots are read band by band, each at least this high in px of the level that is read: about one
#: row of file tiles.
_BAND_PX = 512
#: No file tile is larger than this, in px; that of one that is costs a second decoding.
_FILE_TILE_PX = 512
#: A band is no wider than lets the file tiles that it touches stay decoded until the next band has
#: used them, too.
_BAND_BYTES = 0.75 * CACHE_BYTES

_Batch = tuple[NDArray[np.int64], NDArray[np.uint8], list[SlideError | None]]


def read_tiles(
    slide: Slide,
    xy_px: ArrayLike,
    *,
    width_um: float,
    size_px: int,
    batch_size: int = 64,
    workers: int = 2,
    unreadable: list[int] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Read a square tile around every spot.

    Spots are visited in the order in which they lie in the file, so that neighbours share decoded
    pixels: a tile of the file is decoded once, by whichever thread wants it first. At most
    ``workers + 1`` batches exist at a time beside the one handed out. A tile does not depend on
    `workers` or `batch_size`.

    Parameters
    ----------
    slide
        The slide; it stays open.
    xy_px
        Spot centres (n, 2) in level-0 px, x first.
    width_um
        Side of a tile in µm.
    size_px
        Side of a tile in px.
    batch_size
        Tiles a batch; the last may be smaller.
    workers
        Threads that read, each with its own handle; 0 reads in the calling thread.
    unreadable
        Rows whose tile could not be decoded are appended here; such a tile is white. Without it
        their number goes to the slide's warnings.

    Yields
    ------
    rows : numpy.ndarray
        int64 (b,), rows of `xy_px`; every row comes exactly once.
    tiles : numpy.ndarray
        uint8 (b, size_px, size_px, 3), RGB.

    Raises
    ------
    SlideError
        If more than 5 % of the tiles cannot be decoded.
    """
    xy = np.asarray(xy_px, np.float64).reshape(-1, 2)
    order = _file_order(slide, xy, width_um, size_px)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    bad = 0
    for rows, tiles, errors in _read_batches(slide, xy, batches, width_um, size_px, workers):
        for row, error in zip(rows, errors, strict=True):
            if error is None:
                continue
            bad += 1
            if bad > MAX_UNREADABLE * len(xy):
                raise SlideError(
                    f"{slide.path} is damaged: more than {MAX_UNREADABLE:.0%} of its {len(xy)} "
                    f"tiles cannot be decoded.",
                    hint="Copy or export the slide again.",
                ) from error
            if unreadable is not None:
                unreadable.append(int(row))
        yield rows, tiles
    if bad and unreadable is None:  # whoever asks for the rows says so in their own words
        slide.warnings.append(f"{bad} of {len(xy)} tiles cannot be decoded and count as white.")


def _file_order(
    slide: Slide, xy: NDArray[np.float64], width_um: float, size_px: int
) -> NDArray[np.int64]:
    """Rows by strip, by horizontal band in the strip, from left to right, from top to bottom.

    A strip is as high as the slide; only the widest slides have more than one.
    """
    across, down = slide.levels[slide.level_for(width_um / size_px)].downsample
    tile_px = width_um / slide.mpp.y / down
    band_px = max(_BAND_PX, tile_px)
    strip_px = _BAND_BYTES / 3 / (band_px + tile_px + 2 * _FILE_TILE_PX)
    strip, band = np.floor(xy[:, 0] / across / strip_px), np.floor(xy[:, 1] / down / band_px)
    return np.lexsort((xy[:, 1], xy[:, 0], band, strip))


def _read_batches(
    slide: Slide,
    xy: NDArray[np.float64],
    batches: list[NDArray[np.int64]],
    width_um: float,
    size_px: int,
    workers: int,
) -> Iterator[_Batch]:
    if workers < 1:
        for rows in batches:
            yield _read_batch(slide, xy, rows, width_um, size_px)
        return
    free: SimpleQueue[Slide] = SimpleQueue()

    def work(rows: NDArray[np.int64]) -> _Batch:
        handle = free.get()
        try:
            return _read_batch(handle, xy, rows, width_um, size_px)
        finally:
            free.put(handle)

    handles: list[Slide] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="hypergene-tiles")
    try:
        for _ in range(min(workers, len(batches))):
            handles.append(slide.reopen())
            free.put(handles[-1])
        pending: deque[Future[_Batch]] = deque()
        for rows in batches:
            pending.append(pool.submit(work, rows))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Also when the reader of the stream stops half way.
        pool.shutdown(cancel_futures=True)
        for handle in handles:
            handle.close()


def _read_batch(
    slide: Slide,
    xy: NDArray[np.float64],
    rows: NDArray[np.int64],
    width_um: float,
    size_px: int,
) -> _Batch:
    tiles = np.full((len(rows), size_px, size_px, 3), WHITE, np.uint8)
    errors: list[SlideError | None] = [None] * len(rows)
    for index, row in enumerate(rows):
        try:
            tiles[index] = slide.read_um(xy[row, 0], xy[row, 1], width_um, size_px)
        except SlideError as error:
            errors[index] = error
    return rows, tiles, errors
