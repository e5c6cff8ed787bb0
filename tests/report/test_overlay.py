from __future__ import annotations

import numpy as np
import pytest

from hypergene.report.overlay import Overlay, draw_overlay
from hypergene.spots import Spots, lay_spots, layout_named

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


def test_a_turned_square_is_drawn_turned() -> None:
    grid = layout_named("grid", diameter_um=100, orientation_deg=45)
    spots = lay_spots(grid, (300, 300), (0.5, 0.5))
    assert len(spots) == 1
    picture = np.asarray(
        draw_overlay(WHITE[:150, :150], 0.5, spots, np.ones(1, np.float32), min_tissue=0)
    )
    # 100 px across on the picture, 141 from corner to corner.
    assert painted(picture) == pytest.approx((4, 4, 146, 146), abs=5)
    corner, edge = picture[5:20, 5:20], picture[30:50, 30:50]
    assert (corner == 255).all() and (edge < 250).any()


def test_small_spots_tint_what_they_cover_and_tissue_wins() -> None:
    grid = layout_named("grid", diameter_um=4)
    spots = lay_spots(grid, (2000, 1000), (0.5, 0.5))
    left = (spots.xy_px[:, 0] < 1000).astype(np.float32)
    picture = np.asarray(draw_overlay(WHITE[:100, :200], 0.1, spots, left, min_tissue=0.5))
    assert (picture[:, :99] == picture[0, 0]).all() and picture[0, 0, 2] < 200, "all yellow"
    assert (picture[:, 101:] == picture[0, -1]).all() and picture[0, -1, 0] < 200, "all blue"


def test_blocks_draw_the_same_picture_as_the_whole() -> None:
    for layout in (layout_named("visium"), layout_named("visium-hd-16")):
        spots = lay_spots(layout, (1200, 800), (0.5, 0.5))
        fraction = np.linspace(0, 1, len(spots), dtype=np.float32)
        picture = WHITE[:160, :240]
        overlay = Overlay(picture, 0.2, layout, (0.5, 0.5), min_tissue=0.5)
        for rows in (slice(0, 7), slice(7, None)):
            overlay.add(spots.subset(rows), fraction[rows])
        whole = draw_overlay(picture, 0.2, spots, fraction, min_tissue=0.5)
        assert np.array_equal(np.asarray(overlay.image()), np.asarray(whole))
