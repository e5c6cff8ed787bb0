from __future__ import annotations

import numpy as np
import pytest

from hypergene.report.overlay import draw_overlay
from hypergene.spots import Spots, layout_named

WHITE = np.full((200, 300, 3), 255, dtype=np.uint8)


def spots_at(xy_px: list[tuple[float, float]], *, layout: str = "visium") -> Spots:
    count = len(xy_px)
    return Spots(
        xy_px=np.array(xy_px, dtype=np.float64),
        array_row=np.zeros(count, dtype=np.int32),
        array_col=np.arange(count, dtype=np.int32),
        names=np.array([f"s{i}" for i in range(count)]),
        layout=layout_named(layout, diameter_um=60, pitch_um=100),
        mpp=(0.5, 0.5),
    )


def painted(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of what is not white."""
    rows, columns = np.nonzero((picture < 250).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_spot_is_drawn_at_its_place_in_its_size() -> None:
    # 60 µm are 120 level-0 px and, at a tenth of the size, 12 px of the picture.
    picture = np.asarray(
        draw_overlay(WHITE, 0.1, spots_at([(1500, 1000)]), np.ones(1, np.float32), min_tissue=0.5)
    )
    assert painted(picture) == pytest.approx((144, 94, 156, 106), abs=1)


@pytest.mark.parametrize(("layout", "filled"), [("grid", True), ("visium", False)])
def test_squares_have_corners_and_circles_have_none(layout: str, filled: bool) -> None:
    picture = np.asarray(
        draw_overlay(
            WHITE, 0.5, spots_at([(300, 200)], layout=layout), np.ones(1, np.float32), min_tissue=0
        )
    )
    left, top, _, _ = map(int, painted(picture))
    assert (picture[top, left] < 250).any() == filled


def test_spots_off_the_tissue_have_another_colour() -> None:
    spots = spots_at([(500, 1000), (2500, 1000)])
    fraction = np.array([0.9, 0.1], dtype=np.float32)
    picture = np.asarray(draw_overlay(WHITE, 0.1, spots, fraction, min_tissue=0.5)).astype(int)
    on, off = picture[:, :150], picture[:, 150:]
    assert (on[..., 0] - on[..., 2]).max() > 100, "yellow"
    assert (on[..., 2] - on[..., 0]).max() < 50
    assert (off[..., 2] - off[..., 0]).max() > 100, "blue"
    assert (off[..., 0] - off[..., 2]).max() < 50


def test_the_picture_given_is_not_changed() -> None:
    draw_overlay(WHITE, 0.1, spots_at([(1500, 1000)]), np.ones(1, np.float32), min_tissue=0)
    assert (WHITE == 255).all()
