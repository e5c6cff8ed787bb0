from __future__ import annotations

import threading

import numpy as np
import pytest

from hypergene.slide import open_slide, read_tiles


@pytest.fixture
def slide(save_pyramid, painted):
    with open_slide(save_pyramid(painted)) as slide:
        yield slide


@pytest.fixture
def xy():
    return np.random.default_rng(0).uniform((0, 0), (1200, 1000), (101, 2))


def gather(slide, xy, **options):
    order, tiles = zip(*read_tiles(slide, xy, width_um=112, size_px=32, **options), strict=True)
    return np.concatenate(order), np.concatenate(tiles)


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 7), (1, 64), (2, 1), (3, 16), (2, 1000)])
def test_tiles_do_not_depend_on_workers_or_batches(slide, xy, workers, batch_size):
    want_rows, want = gather(slide, xy, workers=0, batch_size=64)
    rows, tiles = gather(slide, xy, workers=workers, batch_size=batch_size)
    np.testing.assert_array_equal(rows, want_rows)
    np.testing.assert_array_equal(tiles, want)


def test_every_row_comes_once_and_is_its_own_tile(slide, xy):
    rows, tiles = gather(slide, xy)
    assert rows.dtype == np.int64 and tiles.dtype == np.uint8
    assert sorted(rows) == list(range(101))
    for row, tile in list(zip(rows, tiles, strict=True))[::10]:
        np.testing.assert_array_equal(tile, slide.read_um(*xy[row], 112, 32))


def test_neighbours_come_together(slide, xy):
    rows, _ = gather(slide, xy)
    band = np.floor(xy[rows, 1] / 512)
    assert (np.diff(band) >= 0).all()
    assert all((np.diff(xy[rows][band == b, 0]) >= 0).all() for b in np.unique(band))


def test_no_spots_give_no_batches(slide):
    assert list(read_tiles(slide, np.empty((0, 2)), width_um=112, size_px=32)) == []


def test_a_reader_that_stops_half_way_leaves_no_thread_and_no_open_file(slide, xy, monkeypatch):
    opened = []
    reopen = type(slide._reader).reopen

    def counted(reader):
        opened.append(reopen(reader))
        return opened[-1]

    monkeypatch.setattr(type(slide._reader), "reopen", counted)
    stream = read_tiles(slide, xy, width_um=112, size_px=32, batch_size=4, workers=2)
    next(stream)
    stream.close()
    assert len(opened) == 2 and all(reader._file.closed for reader in opened)
    assert not [t for t in threading.enumerate() if t.name.startswith("hypergene-tiles")]


def test_reading_ahead_is_bounded(slide, xy, monkeypatch):
    read = []
    original = type(slide).read_um

    def counted(self, *args):
        read.append(1)
        return original(self, *args)

    monkeypatch.setattr(type(slide), "read_um", counted)
    stream = read_tiles(slide, xy, width_um=112, size_px=32, batch_size=2, workers=2)
    next(stream)
    threading.Event().wait(0.2)
    assert len(read) <= 2 * 4
    stream.close()
