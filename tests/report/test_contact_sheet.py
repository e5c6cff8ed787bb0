from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from layouts.made import MPP, SIZE_PX, made_section
from PIL import Image

from hypergene.report import contact_sheet
from hypergene.report.contact_sheet import (
    Card,
    draw_contact_sheet,
    draw_section,
    panel_size_px,
)
from hypergene.slide import Slide, TissueMask, open_slide
from hypergene.spots import Layout, Spots

SIZE = 200
GREY = (205, 205, 205)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slide]:
    picture = made_section().save_picture(tmp_path_factory.mktemp("picture"))
    with open_slide(picture, mpp=MPP) as opened:
        yield opened


@pytest.fixture(scope="module")
def mask() -> TissueMask:
    tissue = np.zeros(SIZE_PX[::-1], np.bool_)
    tissue[30:330, 30:370] = True
    return TissueMask(tissue, (1.0, 1.0), "painted")


def spots_at(xy_px: Any, diameter_um: float = 100.0, shape: Any = "circle") -> Spots:
    xy = np.asarray(xy_px, np.float64)
    return Spots(
        xy_px=xy,
        array_row=np.full(len(xy), -1),
        array_col=np.full(len(xy), -1),
        names=np.arange(len(xy)).astype(str),
        layout=Layout("given", "given", diameter_um, 200.0, shape),
        mpp=(MPP, MPP),
    )


GRID = np.stack(np.meshgrid(np.arange(60, 350, 50), np.arange(60, 310, 50)), -1).reshape(-1, 2)


def halves(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(picture).astype(int)
    return pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :]


def yellow(pixels: np.ndarray) -> int:
    return int(((pixels[..., 0] - pixels[..., 2] > 90) & (pixels[..., 1] > 150)).sum())


def blue(pixels: np.ndarray) -> int:
    return int((pixels[..., 2] - pixels[..., 0] > 90).sum())


def draw(slide: Slide, mask: TissueMask, spots: Spots, counts: Any = None) -> Image.Image:
    totals = np.arange(len(spots)) + 10 if counts is None else np.asarray(counts)
    return draw_section(slide, mask, spots, totals, size_px=SIZE)


def test_a_section_is_drawn_twice_side_by_side(slide: Slide, mask: TissueMask) -> None:
    picture = draw(slide, mask, spots_at(GRID))
    assert picture.width == 2 * SIZE + 7
    assert picture.height == pytest.approx(SIZE * SIZE_PX[1] / SIZE_PX[0], abs=15)


def test_spots_on_tissue_are_yellow_and_beside_it_blue(slide: Slide, mask: TissueMask) -> None:
    left, _ = halves(draw(slide, mask, spots_at(GRID)))
    assert yellow(left) > 100
    assert blue(left) == 0
    left, _ = halves(draw(slide, mask, spots_at([[10, 10], [390, 350]])))
    assert yellow(left) == 0
    assert blue(left) > 10


def test_colours_follow_the_counts(slide: Slide, mask: TissueMask) -> None:
    spots = spots_at([[100, 180], [300, 180]])
    _, few_left = halves(draw(slide, mask, spots, [10, 10_000]))
    _, many_left = halves(draw(slide, mask, spots, [10_000, 10]))
    middle = few_left.shape[1] // 2
    # viridis: few is dark violet, many is bright yellow.
    assert yellow(few_left[:, middle:]) > 50 > yellow(few_left[:, :middle]) == 0
    assert yellow(many_left[:, :middle]) > 50 > yellow(many_left[:, middle:]) == 0


def test_one_depth_everywhere_is_drawn_too(slide: Slide, mask: TissueMask) -> None:
    draw(slide, mask, spots_at(GRID), np.full(len(GRID), 7))


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_a_single_spot_is_drawn_large(slide: Slide, mask: TissueMask, shape: Any) -> None:
    picture = draw(slide, mask, spots_at([[200, 180]], shape=shape))
    assert max(picture.size) <= 2 * SIZE + 7
    assert picture.height > 10


def test_spots_outside_the_image_are_shown_and_the_image_ends_in_grey(
    slide: Slide, mask: TissueMask
) -> None:
    # The image is a thumbnail: positions are ten times as large.
    left, right = halves(draw(slide, mask, spots_at(GRID * 10.0, diameter_um=1000)))
    grey = (left == GREY).all(axis=-1)
    assert grey.mean() > 0.5
    assert blue(left) > 100
    assert yellow(right) > 0


def test_tissue_near_the_spots_is_shown_and_what_is_far_away_is_not(
    slide: Slide, mask: TissueMask
) -> None:
    corner = spots_at([[40, 40], [60, 40], [40, 60], [60, 60]], diameter_um=40)
    near, _ = halves(draw(slide, mask, corner))
    whole, _ = halves(draw(slide, mask, spots_at(GRID, diameter_um=40)))
    # Spots of one size are drawn larger where less is shown.
    assert yellow(near) / 4 > 5 * yellow(whole) / len(GRID)


def test_many_spots_do_not_hide_the_image(slide: Slide, mask: TissueMask) -> None:
    fine = np.stack(np.meshgrid(np.arange(40, 360, 2), np.arange(40, 320, 2)), -1).reshape(-1, 2)
    left, right = halves(draw(slide, mask, spots_at(fine, diameter_um=8, shape="square")))
    assert 0.005 < yellow(left) / left[..., 0].size < 0.3
    # But their counts cover the tissue.
    assert (np.ptp(right, axis=-1) > 20).mean() > 0.4


def card(number: int, level: Any = "ok", picture: Image.Image | None = None) -> Card:
    return Card(picture, f"S{number}", "300 spots", "FAIL: swapped axes" if level else "ok", level)


@pytest.mark.parametrize("number", [0, 1, 2, 5, 7, 20, 23, 100])
def test_every_section_has_its_place_whatever_their_number(number: int) -> None:
    size = panel_size_px(number)
    assert size <= 500
    colours = [(i, 255 - i, (7 * i) % 255) for i in range(number)]
    cards = [
        card(i, picture=Image.new("RGB", (2 * size + 7, size // 2 + i % 3 * 10), colour))
        for i, colour in enumerate(colours)
    ]
    sheet = draw_contact_sheet(cards)
    assert max(sheet.size) < 6000
    drawn = dict((colour, count) for count, colour in sheet.getcolors(1 << 24))
    for one, colour in zip(cards, colours, strict=True):
        assert one.picture is not None
        assert drawn[colour] >= one.picture.width * one.picture.height


def test_the_larger_the_cohort_the_smaller_a_section() -> None:
    sizes = [panel_size_px(number) for number in range(200)]
    assert sizes == sorted(sizes, reverse=True)


def test_what_failed_is_red_and_what_could_not_be_drawn_has_a_caption() -> None:
    def red(sheet: Image.Image) -> int:
        pixels = np.asarray(sheet).astype(int)
        return int(((pixels[..., 0] > 150) & (pixels[..., 1] < 80)).sum())

    assert red(draw_contact_sheet([card(0, "fail")])) > 50
    assert red(draw_contact_sheet([card(0, "ok")])) == 0


def test_a_long_caption_stays_in_its_place() -> None:
    long = Card(None, "n" * 500, "f " * 500, "verdict " * 200, "warn")
    lone, pair = draw_contact_sheet([long]), draw_contact_sheet([long, card(1)])
    assert lone.width < pair.width
    margin = np.asarray(lone)[:, -10:]
    assert (margin == 255).all()


def test_the_picture_read_is_bounded_however_large_the_slide(
    slide: Slide, mask: TissueMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    overview = Slide.overview

    def remember(self: Slide, width: int, height: int) -> np.ndarray:
        sizes.append(max(width, height))
        return overview(self, width, height)

    monkeypatch.setattr(Slide, "overview", remember)
    monkeypatch.setattr(contact_sheet, "_LARGEST_OVERVIEW_PX", 100)
    picture = draw(slide, mask, spots_at([[190, 170], [210, 190]], diameter_um=20))
    assert sizes == [100]
    assert picture.width == 2 * SIZE + 7
