from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from hypergene.pipeline.checks.platform import guess_platform
from hypergene.spots import lay_spots, layout_named
from hypergene.st.lattice import lattice_of


def section(
    xy_px: np.ndarray,
    row: np.ndarray | None = None,
    column: np.ndarray | None = None,
    **about: Any,
) -> AnnData:
    unknown = np.full(len(xy_px), -1, dtype=np.int32)
    obs = pd.DataFrame(
        {
            "array_row": unknown if row is None else row,
            "array_col": unknown if column is None else column,
        },
        index=[f"s{i}" for i in range(len(xy_px))],
    )
    return AnnData(obs=obs, obsm={"spatial": xy_px}, uns={"hypergene": about})


def laid(layout: str, *, numbered: bool, pitch_um: float | None = None) -> AnnData:
    """Spots of a layout on 6 x 5 mm, 2 µm/px."""
    diameter_um = pitch_um if layout == "grid" else None
    size_px = tuple(int(side * (pitch_um or 100) / 200) for side in (3000, 2500))
    spots = lay_spots(
        layout_named(layout, diameter_um=diameter_um, pitch_um=pitch_um), size_px, (2.0, 2.0)
    )
    place = (spots.array_row, spots.array_col) if numbered else (None, None)
    pitch_px = spots.layout.pitch_um / 2
    return section(spots.xy_px, *place, pitch_px=pitch_px)


@pytest.mark.parametrize("numbered", [True, False], ids=["array known", "positions only"])
@pytest.mark.parametrize(
    ("layout", "pitch_um", "name"),
    [
        ("visium", None, "visium"),
        ("st", None, "st"),
        ("grid", 2.0, "visium-hd-2"),
        ("grid", 8.0, "visium-hd-8"),
        ("grid", 16.0, "visium-hd-16"),
        ("grid", 50.0, "grid"),
    ],
)
def test_a_platform_is_known_by_its_lattice(
    layout: str, pitch_um: float | None, name: str, numbered: bool
) -> None:
    found = guess_platform(laid(layout, numbered=numbered, pitch_um=pitch_um), 2.0)
    assert found.name.removesuffix(" 6.5 mm") == name
    assert found.reason


def test_visiums_numbering_needs_no_resolution() -> None:
    spots = laid("visium", numbered=True)
    assert guess_platform(spots, None).name == "visium 6.5 mm"
    spots.obs["array_col"] += 130
    assert guess_platform(spots, None).name == "visium 11 mm"


def test_the_reader_knows_the_capture_area_better_than_the_spots_that_are_left() -> None:
    spots = laid("visium", numbered=True)
    spots.uns["hypergene"] |= {"platform": "visium", "capture_area_mm": 11, "format": "spaceranger"}
    found = guess_platform(spots, 2.0)
    assert (found.name, found.reason) == ("visium 11 mm", "as the reader of spaceranger says")


def test_hexagons_of_another_pitch_are_nobodys() -> None:
    found = guess_platform(laid("visium", numbered=False), 3.0)
    assert (found.name, found.reason) == ("unknown", "a hexagonal lattice, 150 µm apart")


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({"platform": "xenium", "layout": {"name": "grid", "pitch_um": 55.0}}, "xenium"),
        ({"platform": "visium-hd", "layout": {"name": "grid", "pitch_um": 8.0}}, "visium-hd-8"),
        ({"layout": {"name": "st", "pitch_um": 200.0}}, "st"),
    ],
)
def test_what_the_data_say_of_themselves_is_believed(stated: dict[str, Any], name: str) -> None:
    spots = laid("visium", numbered=False)
    spots.uns["hypergene"] |= stated
    assert guess_platform(spots, 2.0).name == name


def test_scattered_positions_are_no_platform() -> None:
    scattered = np.random.default_rng(0).uniform(0, 1000, (300, 2))
    assert guess_platform(section(scattered), 0.5).name == "unknown"


def test_a_small_square_array_without_a_resolution_is_legacy_st() -> None:
    assert guess_platform(laid("st", numbered=True), None).name == "st"
    assert guess_platform(laid("st", numbered=False), None).name == "grid"


@given(
    kind=st.sampled_from(["visium", "st"]),
    angle=st.floats(0, 2 * np.pi),
    pitch_px=st.floats(3, 500),
    jitter=st.floats(0, 0.03),
    mirrored=st.booleans(),
)
def test_a_lattice_is_known_however_it_is_turned(
    kind: str, angle: float, pitch_px: float, jitter: float, mirrored: bool
) -> None:
    spots = lay_spots(layout_named(kind), (1500, 1500), (2.0, 2.0))
    xy = spots.xy_px / (spots.layout.pitch_um / 2) * pitch_px
    if mirrored:
        xy = xy[:, ::-1]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    xy = xy @ turn + np.random.default_rng(0).normal(0, jitter * pitch_px, xy.shape)
    assert lattice_of(xy) == ("hexagon" if kind == "visium" else "square")


@pytest.mark.parametrize("number", [1, 2, 11])
def test_few_spots_are_on_no_lattice(number: int) -> None:
    assert lattice_of(np.column_stack([np.arange(number), np.zeros(number)])) is None
