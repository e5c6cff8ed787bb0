from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hypergene.errors import SpotsError, TissueError, UsageError
from hypergene.pipeline.placement import place_spots, spot_table
from hypergene.slide import Slide, open_slide
from hypergene.spots import layout_named

VISIUM = layout_named("visium")


@pytest.fixture
def half_tissue(tmp_path: Path) -> Iterator[Slide]:
    """A slide of 1,000 × 800 µm whose left half a mask calls tissue (tissue.png beside it)."""
    path = tmp_path / "slide.png"
    Image.new("RGB", (500, 400), (230, 180, 210)).save(path)
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[:, :25] = 255
    Image.fromarray(mask).save(tmp_path / "tissue.png")
    with open_slide(path, mpp=2.0) as slide:
        yield slide


def given(folder: Path, text: str) -> Path:
    path = folder / "coords.csv"
    path.write_text(text)
    return path


def test_laid_spots_off_the_tissue_are_dropped(half_tissue: Slide) -> None:
    mask = str(half_tissue.path.with_name("tissue.png"))
    every = place_spots(half_tissue, VISIUM, tissue="none")
    kept = place_spots(half_tissue, VISIUM, tissue=mask)
    assert 0.3 < len(kept.spots) / len(every.spots) < 0.7
    assert kept.spots.xy_px[:, 0].max() < 265
    assert kept.fraction.dtype == np.float32
    assert kept.fraction.min() >= 0.25
    assert set(kept.spots.names) < set(every.spots.names)


def test_a_least_fraction_of_zero_keeps_every_spot(half_tissue: Slide) -> None:
    mask = str(half_tissue.path.with_name("tissue.png"))
    every = place_spots(half_tissue, VISIUM, tissue="none")
    placed = place_spots(half_tissue, VISIUM, tissue=mask, min_tissue=0)
    assert np.array_equal(placed.spots.names, every.spots.names)
    assert placed.fraction.min() == 0


def test_given_spots_are_all_kept_and_marked(half_tissue: Slide, tmp_path: Path) -> None:
    coords = given(tmp_path, "x,y,name\n60,60,on\n440,60,off\n")
    placed = place_spots(
        half_tissue, layout_named("st"), coords=coords, tissue=str(tmp_path / "tissue.png")
    )
    assert placed.spots.names.tolist() == ["on", "off"]
    assert placed.fraction == pytest.approx([1.0, 0.0], abs=0.02)
    assert placed.spots.layout.diameter_um == 100
    table = spot_table(placed, min_tissue=0.25)
    assert table.loc["on", "in_tissue"] == 1
    assert table.loc["off", "in_tissue"] == 0


def test_given_spots_outside_the_slide_are_refused(half_tissue: Slide, tmp_path: Path) -> None:
    coords = given(tmp_path, "x,y\n60,60\n60,900\n")
    with pytest.raises(SpotsError, match=r"1 of the 2 spots"):
        place_spots(half_tissue, VISIUM, coords=coords)


def test_no_tissue_is_an_error_with_its_numbers(half_tissue: Slide, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    Image.new("L", (50, 40), 0).save(empty)
    with pytest.raises(TissueError, match=r"slide\.png") as error:
        place_spots(half_tissue, VISIUM, tissue=str(empty))
    assert "--tissue" in (error.value.hint or "")


def test_too_little_tissue_under_every_spot_says_how_much_there_is(
    half_tissue: Slide, tmp_path: Path
) -> None:
    stripes = np.zeros((400, 500), dtype=np.uint8)
    stripes[:, ::4] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    with pytest.raises(TissueError, match=r"25\.0% of the slide .* less than the 90%"):
        place_spots(half_tissue, VISIUM, tissue=str(tmp_path / "stripes.png"), min_tissue=0.9)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_an_impossible_least_fraction_is_wrong_usage(half_tissue: Slide, share: float) -> None:
    with pytest.raises(UsageError, match="tissue fraction"):
        place_spots(half_tissue, VISIUM, min_tissue=share)


def test_a_grid_covers_the_slide_with_squares(half_tissue: Slide) -> None:
    placed = place_spots(half_tissue, layout_named("grid", diameter_um=200), tissue="none")
    assert len(placed.spots) == 5 * 4
    assert placed.spots.layout.shape == "square"


def test_a_turned_square_holds_the_tissue_that_its_turned_area_covers(half_tissue: Slide) -> None:
    # The mask ends at x = 500 µm; a square on its corner reaches over it by a triangle.
    grid = layout_named("grid", diameter_um=200, pitch_um=120, orientation_deg=45)
    mask = str(half_tissue.path.with_name("tissue.png"))
    placed = place_spots(half_tissue, grid, tissue=mask, min_tissue=0)
    reach = 100 * np.sqrt(2)
    depth = (500 - (placed.spots.xy_um[:, 0] - reach)).clip(0, 2 * reach)
    share = np.where(depth <= reach, depth**2, 2 * reach**2 - (2 * reach - depth) ** 2) / (
        2 * reach**2
    )
    assert ((share > 0.05) & (share < 0.95)).any()
    np.testing.assert_allclose(placed.fraction, share, atol=0.05)


def test_an_offset_moves_the_lattice(half_tissue: Slide) -> None:
    grid = layout_named("grid", diameter_um=200)
    placed = place_spots(half_tissue, grid, tissue="none", offset_um=(100.0, 50.0))
    assert placed.spots.xy_um.min(axis=0).tolist() == [200, 150]


@pytest.mark.parametrize(
    "moved", [{"offset_um": (1.0, 2.0)}, {"layout": layout_named("st", orientation_deg=3)}]
)
def test_given_spots_are_neither_turned_nor_moved(
    half_tissue: Slide, tmp_path: Path, moved: dict[str, Any]
) -> None:
    coords = given(tmp_path, "x,y\n60,60\n")
    with pytest.raises(UsageError, match="stay where they are"):
        place_spots(half_tissue, **{"layout": VISIUM, "coords": coords, **moved})


def test_a_pitch_that_contradicts_the_slide_is_among_its_warnings(
    half_tissue: Slide, tmp_path: Path
) -> None:
    # A Visium lattice 30 px apart on a slide of 2 µm/px: 60 µm instead of 100.
    rows = [
        f"{60 + column * 15},{60 + row * 26},{row},{column}"
        for row in range(8)
        for column in range(row % 2, 16, 2)
    ]
    coords = given(tmp_path, "\n".join(["x,y,array_row,array_col", *rows]))
    place_spots(half_tissue, VISIUM, coords=coords, tissue="none")
    (said,) = [warning for warning in half_tissue.warnings if "px apart" in warning]
    assert "at 100 µm is 3.3" in said and str(coords) in said
