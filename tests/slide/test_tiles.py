from __future__ import annotations

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import openslide
import pytest
from slide import scanners

from hypergene.slide import open_slide, read_tiles, tiles
from hypergene.slide.tiff_plane import Plane


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
    assert len(opened) == 2 and all(reader._tiles.closed for reader in opened)
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


@pytest.fixture
def svs(tmp_path, painted):
    return scanners.aperio(tmp_path / "a.svs", painted, 0.5, "jpeg")


@pytest.mark.parametrize("width_um", [50, 400])
@pytest.mark.parametrize("workers", [0, 3])
def test_each_tile_of_the_file_is_decoded_once(svs, xy, monkeypatch, workers, width_um):
    decoded = []
    original = Plane.decode

    def counted(self, data, index, shrink):
        decoded.append(index)
        return original(self, data, index, shrink)

    monkeypatch.setattr(Plane, "decode", counted)
    monkeypatch.setattr(openslide.OpenSlide, "read_region", None)
    options = {"width_um": width_um, "size_px": 50, "batch_size": 5, "workers": workers}
    with open_slide(svs) as slide:
        for _ in read_tiles(slide, xy, **options):
            pass
    assert len(decoded) > 60 and len(set(decoded)) == len(decoded)


def test_a_slide_too_wide_for_a_band_is_read_in_strips(slide, xy, monkeypatch):
    _, want = gather(slide, xy[np.lexsort((xy[:, 1], xy[:, 0], xy[:, 1] // 512))])
    strip = 400
    monkeypatch.setattr(tiles, "_BAND_BYTES", strip * 3 * (512 + 56 + 2 * 512))
    rows, found = gather(slide, xy)
    assert sorted(rows) == list(range(101))
    assert (np.diff(xy[rows, 0] // strip) >= 0).all(), "one strip after the other"
    assert (np.diff(xy[rows, 1] // 512) < 0).sum() == 2, "three strips, each from the top"
    order = np.lexsort((xy[rows, 1], xy[rows, 0], xy[rows, 1] // 512))
    np.testing.assert_array_equal(found[order], want)


def test_many_slides_leave_no_open_file_and_no_memory(svs, save_pyramid, painted):
    paths = [svs, save_pyramid(painted[:256, :256], levels=2)]
    xy = np.array([[100.0, 100.0], [200.0, 60.0]])

    def read(times):
        for path in paths * times:
            with open_slide(path) as slide:
                for _ in read_tiles(slide, xy, width_um=60, size_px=32, workers=1):
                    pass
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), pages * resource.getpagesize()

    if not Path("/proc/self/statm").is_file():
        pytest.skip("counts open files and memory in /proc")
    files, memory = read(10)
    more_files, more_memory = read(25)
    assert more_files <= files
    assert more_memory - memory < 2e6, "what each decodes is 0.1 MB"
    assert not [t for t in threading.enumerate() if t.name.startswith("hypergene-tiles")]
