"""A decoded tile is kept for whoever wants it next, within bounds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest

from hypergene.slide.file_tiles import TileCache

TILE = np.zeros((10, 10, 3), np.uint8)


def key(number: int) -> tuple[int, int, int, int]:
    return 0, 0, number, 1


def test_threads_that_want_one_tile_at_once_get_the_same() -> None:
    cache, together, calls = TileCache(), Barrier(4), []

    def decode() -> np.ndarray:
        calls.append(1)
        Event().wait(0.05)
        return TILE.copy()

    def want(_: int) -> np.ndarray:
        together.wait()
        return cache.get(key(0), decode)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(want, range(4)))
    assert len(calls) == 1
    assert all(tile is found[0] for tile in found)


def test_the_tiles_used_longest_ago_go_first() -> None:
    cache, decoded = TileCache(3 * TILE.nbytes), []

    def get(number: int) -> None:
        cache.get(key(number), lambda: decoded.append(number) or TILE.copy())

    for number in (0, 1, 2, 0, 3, 0, 2, 1):
        get(number)
    assert decoded == [0, 1, 2, 3, 1]


def test_a_tile_larger_than_the_cache_is_kept_alone() -> None:
    cache, decoded = TileCache(1), []
    for number in (0, 0, 1, 1):
        cache.get(key(number), lambda n=number: decoded.append(n) or TILE)
    assert decoded == [0, 1]


def test_what_fails_is_tried_again() -> None:
    cache = TileCache()

    def fail() -> np.ndarray:
        raise ValueError("bad tile")

    for _ in range(2):
        with pytest.raises(ValueError, match="bad tile"):
            cache.get(key(0), fail)
    assert cache.get(key(0), lambda: TILE) is TILE


def test_who_waits_for_a_tile_that_fails_is_told() -> None:
    cache, begun, go_on = TileCache(), Event(), Event()

    def fail() -> np.ndarray:
        begun.set()
        go_on.wait(2)
        raise ValueError("bad tile")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, key(0), fail)
        assert begun.wait(2)
        second = pool.submit(cache.get, key(0), fail)
        Event().wait(0.05)
        go_on.set()
        for waiting in (first, second):
            with pytest.raises(ValueError, match="bad tile"):
                waiting.result(2)
