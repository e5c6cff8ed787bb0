"""What a model has learnt of hierarchy: radii by level and by richness, archetypes on tissue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hypergene.report.palette import COLOURS, INK, NAMED, OTHER

_PLAIN = "#606060"
_IMAGE, _GENE = "#0072B2", "#D55E00"
_COLUMNS = 5
_MOST_SECTIONS = 20
_BAR_UM = 1000.0
_BINS = 10


@dataclass(frozen=True, eq=False)
class SectionHierarchy:
    """Where the spots of a section lie in the learned space.

    Attributes
    ----------
    name
        The sample.
    xy_um
        (n, 2) float64, spot centres, µm.
    radius
        Level -> (n,) float32, distances to the origin: ``image niche``, ``image spot``, ``gene
        niche``, ``gene spot``.
    genes_detected
        (n,) int64, genes with a count, of all that were measured.
    archetype
        (n,) int64, the archetype that each spot is most like; None = the model has none.
    """

    name: str
    xy_um: NDArray[np.float64]
    radius: Mapping[str, NDArray[np.float32]]
    genes_detected: NDArray[np.int64]
    archetype: NDArray[np.int64] | None


def draw_hierarchy_figure(
    sections: Sequence[SectionHierarchy],
    *,
    archetypes: int,
    pitch_um: float,
    shape: Literal["circle", "square"],
    unit: str,
    title: str,
) -> Figure:
    """Draw the learned hierarchy on one page; no pixel of a slide gets into it.

    Above, the radii of all levels, and the radii of gene and image spots against the number of
    genes detected; below, the archetypes over each section (the first twenty). Archetypes after
    the first eight, those with the most tissue, are grey.

    Parameters
    ----------
    sections
        At least one.
    archetypes
        How many the model has; with 0 the lower part is left out.
    pitch_um, shape
        Distance of neighbouring spots, µm, which are drawn so large that they nearly touch.
    unit
        Of the radius, in words.
    title
        A line over the whole picture.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas; save it with ``savefig``.
    """
    mapped = sections[:_MOST_SECTIONS] if archetypes else []
    rows = math.ceil(len(mapped) / _COLUMNS)
    heights = [4.3] + [2.5 * rows + 0.8] * bool(mapped)
    figure = Figure(figsize=(13.5, sum(heights)))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=13)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    levels, genes, images = parts[0].subplots(1, 3, width_ratios=(1, 1.15, 1.15))
    _radius_by_level(levels, sections, unit)
    _radius_by_richness(genes, sections, "gene spot", unit)
    _radius_by_richness(images, sections, "image spot", unit)
    _name_sections(parts[0], sections)
    if mapped:
        _map_archetypes(parts[1], mapped, sections, archetypes, pitch_um, shape)
    return figure


def _radius_by_level(axes: Axes, sections: Sequence[SectionHierarchy], unit: str) -> None:
    """Draw a violin a level with its quartiles, and write its median above."""
    names = list(sections[0].radius)
    values = [np.concatenate([section.radius[name] for section in sections]) for name in names]
    drawn = axes.violinplot(values, range(len(names)), widths=0.8, showextrema=False)
    bodies: Any = drawn["bodies"]
    for body, name in zip(bodies, names, strict=True):
        body.set(facecolor=_IMAGE if name.startswith("image") else _GENE, alpha=0.55)
    for place, radii in enumerate(values):
        low, middle, high = np.percentile(radii, [25, 50, 75])
        axes.plot([place, place], [low, high], color=INK, linewidth=3)
        axes.plot(place, middle, "o", color="white", markeredgecolor=INK, markersize=6)
        across = axes.get_xaxis_transform()
        axes.text(place, 0.99, f"{middle:.2f}", transform=across, ha="center", va="top")
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    _frame_radius(axes, values, unit)
    axes.set_title("Radius by level (above: median)", fontsize=11)


def _radius_by_richness(
    axes: Axes, sections: Sequence[SectionHierarchy], level: str, unit: str
) -> None:
    """Draw spots by genes detected and radius, and a section's medians as a line."""
    found = []
    for number, section in enumerate(sections):
        radius, genes = section.radius[level], section.genes_detected
        colour = _section_colour(number, len(sections))
        axes.scatter(genes, radius, s=5, color=colour, alpha=0.25, linewidths=0)
        axes.plot(*_medians(genes, radius), color=colour, linewidth=2)
        if len(genes) > 2 and np.ptp(genes) > 0 and np.ptp(radius) > 0:
            found.append(float(spearmanr(genes, radius).statistic))
    _frame_radius(axes, [section.radius[level] for section in sections], unit)
    axes.set_xlabel("genes detected in the spot")
    within = f": Spearman ρ = {_signed(np.mean(found))} within sections" if found else ""
    axes.set_title(f"{level.capitalize()}{within}", fontsize=11)


def _frame_radius(axes: Axes, radii: Sequence[NDArray[np.float32]], unit: str) -> None:
    """Let the radius run from 0 to where all but a few spots are."""
    axes.set_ylim(0, 1.15 * max(float(np.percentile(some, 99.5)) for some in radii))
    axes.set_ylabel(f"radius ({unit})")
    axes.spines[["top", "right"]].set_visible(False)


def _signed(value: np.floating[Any]) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _medians(
    genes: NDArray[np.int64], radius: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of both over spots of rising richness, in at most ten groups of a size."""
    order = np.argsort(genes, kind="stable")
    groups = np.array_split(order, min(_BINS, len(order)))
    return (
        np.array([np.median(genes[group]) for group in groups]),
        np.array([np.median(radius[group]) for group in groups]),
    )


def _section_colour(number: int, count: int) -> str:
    return COLOURS[number] if count <= len(COLOURS) else _PLAIN


def _name_sections(part: SubFigure, sections: Sequence[SectionHierarchy]) -> None:
    if len(sections) <= len(COLOURS):
        handles = [
            Line2D([], [], color=_section_colour(number, len(sections)), label=section.name)
            for number, section in enumerate(sections)
        ]
        part.legend(
            handles=handles, loc="outside lower right", ncols=len(handles), frameon=False,
            title="section (dots: spots, lines: medians)", title_fontsize=9, fontsize=9,
        )  # fmt: skip


def _map_archetypes(
    part: SubFigure,
    mapped: Sequence[SectionHierarchy],
    sections: Sequence[SectionHierarchy],
    archetypes: int,
    pitch_um: float,
    shape: str,
) -> None:
    """Draw the sections at one scale, every spot in the colour of its archetype."""
    colours = (NAMED + (OTHER,) * archetypes)[:archetypes]
    some = f" (the first {len(mapped)} of {len(sections)} sections)"
    part.suptitle(
        "Most likely archetype of every spot" + some * (len(mapped) < len(sections)), fontsize=11
    )
    panels = part.subplots(math.ceil(len(mapped) / _COLUMNS), _COLUMNS, squeeze=False).ravel()
    extent = np.max([np.ptp(section.xy_um, axis=0) for section in mapped], axis=0) + pitch_um
    for axes, section in zip(panels, mapped, strict=False):
        shapes = [_spot(x, y, pitch_um, shape) for x, y in section.xy_um]
        assert section.archetype is not None
        axes.add_collection(
            PatchCollection(shapes, facecolors=[colours[k] for k in section.archetype])
        )
        middle = (section.xy_um.min(0) + section.xy_um.max(0)) / 2
        axes.set_xlim(middle[0] - 0.55 * extent[0], middle[0] + 0.55 * extent[0])
        axes.set_ylim(middle[1] + 0.55 * extent[1], middle[1] - 0.55 * extent[1])
        axes.set_aspect("equal")
        axes.set_title(section.name, fontsize=10)
    for axes in panels:
        axes.set_axis_off()
    _scale_bar(panels[0])
    _name_archetypes(part, sections, colours)


def _name_archetypes(
    part: SubFigure,
    sections: Sequence[SectionHierarchy],
    colours: Sequence[str],
) -> None:
    every = np.concatenate([section.archetype for section in sections])
    shares = np.bincount(every, minlength=len(colours)) / len(every)
    named = min(len(colours), len(NAMED))
    labels = [f"{k} ({shares[k]:.0%})" for k in range(named)]
    if named < len(colours):
        labels.append(f"{named}–{len(colours) - 1} ({shares[named:].sum():.0%})")
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=8, color=colour, label=label)
        for colour, label in zip(colours, labels, strict=False)
    ]
    part.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 13), frameon=False,
        title="archetype (share of all spots)", title_fontsize=9, fontsize=9,
        handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip


def _spot(x: float, y: float, pitch_um: float, shape: str) -> Circle | Rectangle:
    if shape == "square":
        return Rectangle((x - pitch_um / 2, y - pitch_um / 2), pitch_um, pitch_um)
    return Circle((x, y), 0.47 * pitch_um)


def _scale_bar(axes: Axes) -> None:
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    start = left + 0.05 * (right - left)
    axes.plot([start, start + _BAR_UM], [bottom, bottom], color="black", linewidth=2, clip_on=False)
    axes.annotate(
        "1 mm", (start + _BAR_UM / 2, bottom), (0, -3), textcoords="offset points", ha="center",
        va="top", fontsize=8, annotation_clip=False,
    )  # fmt: skip
