"""Tables of tiles are believed no further than the file reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hypergene.slide.tiff_plane import Plane


def plane(offsets: Sequence[int], counts: Sequence[int]) -> Plane:
    """Two by two tiles of 16 px."""
    return Plane(
        width=32,
        height=32,
        tile_width=16,
        tile_height=16,
        samples=3,
        sets=1,
        inverted=False,
        extra_samples=frozenset(),
        offsets=offsets,
        counts=counts,
        _decode=lambda data, index: (np.zeros((1, 16, 16, 3), np.uint8),),
    )


def test_tiles_beyond_the_end_of_the_file_are_lost() -> None:
    found = plane([8, 108, 950, 10**19], [100, 100, 100, 100]).lost(1000)
    assert found.tolist() == [False, False, True, True]


@pytest.mark.parametrize(("offsets", "counts"), [(4, 65535), (65535, 4), (9, 9)])
def test_tables_longer_than_there_are_tiles_say_nothing_more(offsets: int, counts: int) -> None:
    table = plane([8] * offsets, [100] * counts)
    assert table.is_whole
    assert table.lost(1000).tolist() == [False] * 4


def test_a_table_that_is_too_short_leaves_the_plane_incomplete() -> None:
    assert not plane([8, 108, 208], [100] * 4).is_whole
