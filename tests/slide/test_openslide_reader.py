from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hypergene.errors import SlideError
from hypergene.slide import Mpp, open_slide, read_tiles


@pytest.fixture
def svs(shared_data):
    return shared_data / "slides" / "CMU-1-Small-Region.svs"


def test_a_real_svs_says_its_resolution(svs):
    with open_slide(svs) as slide:
        assert slide.vendor == "aperio"
        assert slide.dimensions == (2220, 2967)
        assert slide.mpp == Mpp(0.499, 0.499, "openslide.mpp-x")
        assert slide.warnings == []


def test_another_mpp_wins_and_is_said(svs):
    with open_slide(svs, mpp=0.25) as slide:
        assert slide.mpp == Mpp(0.25, 0.25, "--mpp")
        assert "0.499" in slide.warnings[0] and "--mpp" in slide.warnings[0]


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.5, 0.8, 0.9, 0.99])
def test_a_truncated_svs_is_damaged_and_not_without_mpp(svs, tmp_path, share):
    data = svs.read_bytes()
    path = tmp_path / "a.svs"
    path.write_bytes(data[: int(share * len(data))])
    for mpp in (None, 0.5):
        with pytest.raises(SlideError, match="damaged") as caught:
            open_slide(path, mpp=mpp)
        assert "--mpp" not in str(caught.value)


def test_a_truncated_svs_whose_directory_comes_first_is_damaged(save_pyramid, painted):
    about = "Aperio Image Library v11\n1200x1000 (128x128) Q=90|AppMag = 20|MPP = 2.0"
    path = save_pyramid(painted, "a.svs", levels=1, mpp=None, description=about)
    with open_slide(path) as slide:
        assert slide.vendor == "aperio" and slide.mpp.x == 2.0
        np.testing.assert_array_equal(slide.read(100, 200, 300, 400), painted[200:600, 100:400])
    data = path.read_bytes()
    path.write_bytes(data[: int(0.8 * len(data))])
    with pytest.raises(SlideError, match="does not hold all the tiles"):
        open_slide(path)


@pytest.fixture
def blemished(svs, tmp_path):
    """The real slide with one tile overwritten: column 4, row 5 of 240 px tiles."""
    with tifffile.TiffFile(svs) as tif:
        page = tif.pages[0]
        at = 5 * page.chunked[1] + 4
        offset, count = page.dataoffsets[at], page.databytecounts[at]
    data = bytearray(svs.read_bytes())
    data[offset : offset + count] = bytes(count)
    path = tmp_path / "blemished.svs"
    path.write_bytes(data)
    return path


def test_an_error_does_not_latch(svs, blemished):
    with open_slide(blemished) as slide, open_slide(svs) as sound:
        with pytest.raises(SlideError, match="cannot be decoded at x 1000, y 1250 px"):
            slide.read(1000, 1250, 50, 50)
        np.testing.assert_array_equal(slide.read(0, 0, 200, 200), sound.read(0, 0, 200, 200))


def test_one_bad_tile_does_not_lose_the_slide(blemished):
    xy = np.stack(np.meshgrid(np.arange(60, 2220, 120), np.arange(60, 2967, 120)), -1)
    xy = xy.reshape(-1, 2).astype(float)
    with open_slide(blemished) as slide:
        unreadable: list[int] = []
        white = np.zeros(len(xy), bool)
        stream = read_tiles(slide, xy, width_um=40, size_px=16, unreadable=unreadable)
        for rows, tiles in stream:
            white[rows] = (tiles == 255).all(axis=(1, 2, 3))
        assert 1 <= len(unreadable) <= 9 and white[unreadable].all()
        assert np.hypot(*(xy[unreadable] - (1080, 1320)).T).max() < 300
        assert not slide.warnings  # whoever asks for the rows reports them
        for _ in read_tiles(slide, xy, width_um=40, size_px=16):
            pass
        assert f"{len(unreadable)} of {len(xy)} tiles" in slide.warnings[-1]
        around = xy[np.hypot(*(xy - (1080, 1320)).T) < 400]
        with pytest.raises(SlideError, match="more than 5%"):
            list(read_tiles(slide, around, width_um=40, size_px=16))
