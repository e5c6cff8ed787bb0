"""The picture of the hierarchy shows what it is given, to every kind of colour vision."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import spearmanr
from skimage.color import deltaE_ciede2000, rgb2lab

from hypergene.report import palette
from hypergene.report.hierarchy import SectionHierarchy, draw_hierarchy_figure

LEVELS = ("image niche", "image spot", "gene niche", "gene spot")


def section(name: str, seed: int, archetypes: int = 3, side: int = 6) -> SectionHierarchy:
    """A square of spots; their level sets how far out they lie, the number says the archetype."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(side * side), side)
    radius = {
        level: rng.normal(1.0 + place, 0.1, side * side).astype(np.float32)
        for place, level in enumerate(LEVELS)
    }
    return SectionHierarchy(
        name=name,
        xy_um=np.stack([column, row], 1) * 200.0,
        radius=radius,
        genes_detected=rng.integers(500, 5000, side * side),
        archetype=np.arange(side * side) % archetypes if archetypes else None,
    )


def drawn(*sections: SectionHierarchy, archetypes: int = 3, **more: Any) -> Figure:
    options = {"pitch_um": 200.0, "shape": "circle", "unit": "hyperbolic length", "title": "tiny"}
    return draw_hierarchy_figure(sections, archetypes=archetypes, **options | more)


def maps(figure: Figure) -> list[Axes]:
    return [
        axes
        for axes in figure.axes
        if any(isinstance(collection, PatchCollection) for collection in axes.collections)
    ]


def texts(figure: Figure) -> str:
    """All that is written outside the panels, legends included."""
    legends = [legend for part in figure.subfigs for legend in part.legends]
    found = [text.get_text() for legend in legends for text in legend.get_texts()]
    titles = [part.get_suptitle() for part in figure.subfigs]
    return " | ".join([figure.get_suptitle(), *titles, *found])


def test_levels_are_named_with_their_medians_and_units() -> None:
    one, two = section("A", 0), section("B", 1)
    levels, *richness = drawn(one, two).axes[:3]
    assert (
        tuple(label.get_text().replace("\n", " ") for label in levels.get_xticklabels()) == LEVELS
    )
    medians = [np.median(np.concatenate([s.radius[n] for s in (one, two)])) for n in LEVELS]
    assert [text.get_text() for text in levels.texts] == [f"{median:.2f}" for median in medians]
    assert levels.get_ylabel() == "radius (hyperbolic length)"
    for axes in richness:
        assert axes.get_xlabel() == "genes detected in the spot"
        assert axes.get_ylabel() == "radius (hyperbolic length)"


def test_correlation_with_richness_is_that_within_sections() -> None:
    """A deep section with far spots, beside a shallow one with near spots, makes none."""
    one, two = section("A", 0), section("B", 1)
    two = SectionHierarchy(
        two.name,
        two.xy_um,
        {name: radius + 5 for name, radius in two.radius.items()},
        two.genes_detected + 50_000,
        two.archetype,
    )
    within = np.mean(
        [spearmanr(s.genes_detected, s.radius["gene spot"]).statistic for s in (one, two)]
    )
    axes = drawn(one, two).axes[1]
    assert axes.get_title() == f"Gene spot: Spearman ρ = {within:+.2f} within sections".replace(
        "-", "−"
    )
    spots = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
    expected = np.concatenate([s.genes_detected for s in (one, two)])
    assert sorted(spots[:, 0]) == sorted(expected)


def test_every_section_has_a_map_in_the_colours_of_its_archetypes() -> None:
    one, two = section("A", 0), section("B", 1)
    figure = drawn(one, two)
    panels = maps(figure)
    assert [axes.get_title() for axes in panels] == ["A", "B"]
    colours = panels[0].collections[0].get_facecolors()[:, :3]
    assert one.archetype is not None
    expected = np.array([to_rgb(palette.NAMED[k]) for k in one.archetype])
    np.testing.assert_allclose(colours, expected)
    assert "0 (33%) | 1 (33%) | 2 (33%)" in texts(figure)
    assert panels[0].yaxis_inverted(), "rows of an image run downwards"
    extents = {tuple(np.ptp(np.array([a.get_xlim(), a.get_ylim()]), axis=1)) for a in panels}
    assert len(extents) == 1, "all at one scale"


def test_the_scale_bar_is_a_millimetre() -> None:
    panel = maps(drawn(section("A", 0)))[0]
    (bar,) = panel.lines
    assert np.ptp(bar.get_xdata()) == 1000
    assert [text.get_text() for text in panel.texts] == ["1 mm"]


def test_bins_are_squares_as_wide_as_the_pitch() -> None:
    first = maps(drawn(section("A", 0), shape="square"))[0].collections[0].get_paths()[0]
    box = first.get_extents()
    assert (box.x0, box.x1, box.y0, box.y1) == (-100, 100, -100, 100)


def test_more_archetypes_than_colours_share_one_grey() -> None:
    figure = drawn(section("A", 0, archetypes=12), archetypes=12)
    assert "8–11 (33%)" in texts(figure)
    colours = maps(figure)[0].collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(colours[8:12], [to_rgb(palette.OTHER)] * 4)
    assert len(np.unique(colours, axis=0)) == 9


def test_without_archetypes_there_are_no_maps() -> None:
    figure = drawn(section("A", 0, archetypes=0), archetypes=0)
    assert maps(figure) == [] and len(figure.axes) == 3


def test_of_many_sections_some_are_mapped_and_that_is_said() -> None:
    figure = drawn(*(section(f"S{k}", k, side=2) for k in range(23)))
    assert len(maps(figure)) == 20
    assert "the first 20 of 23 sections" in texts(figure)


def test_a_section_of_one_spot_is_drawn() -> None:
    figure = drawn(section("A", 0, side=1))
    assert figure.axes[1].get_title() == "Gene spot", "one spot has no correlation"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert np.asarray(Image.open(buffer).convert("L")).min() < 100


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "trichromacy": np.eye(3).tolist(),
}


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_apart_for_every_kind_of_vision(vision: str) -> None:
    seen = []
    for colour in (*palette.NAMED, palette.OTHER, "#FFFFFF"):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        shown = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
        back = np.where(shown <= 0.0031308, shown * 12.92, 1.055 * shown ** (1 / 2.4) - 0.055)
        seen.append(rgb2lab(back))
    assert min(deltaE_ciede2000(a, b) for a, b in combinations(seen, 2)) > 10
