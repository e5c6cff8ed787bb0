"""Draw the pictures of docs/method.md from hypergene's own functions, without any data.

    python docs/images/make_method.py docs/images

Discs are Poincaré's picture of the hyperbolic plane: the point of the Lorentz model with space part
x and time t lies at x / (1 + t), for curvature -1. The tissue is painted.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from hypergene import hyperbolic
from hypergene.pipeline.painted import paint_tissue
from hypergene.spots import lay_spots, layout_named

C = 1.0
BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#9a9a9a", "#222222"

Array = NDArray[np.float64]


def lift(radius: float | Array, degrees: float | Array) -> torch.Tensor:
    """Return points at a hyperbolic radius and an angle: space parts, (..., 2) float64."""
    angle = np.deg2rad(degrees)
    tangent = np.stack(np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle)), -1)
    return hyperbolic.exp0(torch.from_numpy(tangent), C)


def in_disc(points: torch.Tensor) -> Array:
    """Return places in the Poincaré disc."""
    return (points / (1 + hyperbolic.time(points, C).unsqueeze(-1))).numpy()


def from_disc(places: Array) -> torch.Tensor:
    """Return space parts of points of the disc; the inverse of :func:`in_disc`."""
    squared = (places**2).sum(-1, keepdims=True)
    return torch.from_numpy(2 * places / (1 - squared))


def disc(axes: Axes, title: str) -> None:
    """Draw an empty disc with rings at whole radii."""
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(-1.03, 1.03)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=1.2))
    for radius in (1, 2, 3):
        at = float(in_disc(lift(float(radius), 0.0))[0])
        axes.add_patch(Circle((0, 0), at, fill=False, edgecolor=GREY, linewidth=0.5, ls=":"))
        axes.text(
            0, -at - 0.01, str(radius), fontsize=7, color=GREY, ha="center", va="top", clip_on=True
        )
    axes.plot(0, 0, marker="+", color=INK)


def geodesic(start: torch.Tensor, end: torch.Tensor) -> Array:
    """Return the shortest way between two points, in the disc: (100, 2)."""
    share = torch.linspace(0, 1, 100, dtype=torch.float64)
    ends = torch.stack([start, end])
    # Every weighted centroid of two points lies on the geodesic between them.
    weights = torch.stack([1 - share, share], -1)
    return in_disc(hyperbolic.centroid(ends, weights, C))


def cone(axes: Axes, apex: torch.Tensor, colour: str, eta: float = 1.0) -> None:
    """Shade where a point's cone does not complain, by ``cone_violation`` itself."""
    axis = np.linspace(-1, 1, 801)
    places = np.stack(np.meshgrid(axis, axis), -1)
    inside = (places**2).sum(-1) < 0.9995
    points = from_disc(np.where(inside[..., None], places, 0.0))
    violation = hyperbolic.cone_violation(apex.expand_as(points), points, C, eta).numpy()
    kept = np.where(inside & (violation <= 0), 1.0, np.nan)
    axes.contourf(axis, axis, np.nan_to_num(kept), levels=[0.5, 1.5], colors=[colour], alpha=0.22)


def dot(
    axes: Axes, point: torch.Tensor, colour: str, label: str = "",
    shift: tuple[float, float] = (8, -3), side: str = "left",
) -> None:  # fmt: skip
    """Mark a point of the space; the label is `shift` points off, its `side` towards the point."""
    x, y = in_disc(point)
    axes.plot(x, y, "o", color=colour, markersize=6, zorder=5)
    axes.annotate(label, (x, y), xytext=shift, textcoords="offset points", fontsize=8,
                  color=colour, ha=side)  # fmt: skip


def draw_space() -> Figure:
    """Draw the hyperboloid, distances, and cones."""
    figure = Figure(figsize=(10.5, 3.7), layout="constrained")
    sheet, far, cones = figure.subplots(1, 3)

    x = torch.linspace(-3.2, 3.2, 200, dtype=torch.float64).unsqueeze(-1)
    sheet.plot(x[:, 0], hyperbolic.time(x, C), color=INK)
    for radius in (0.0, 0.5, 1.0, 1.5):
        point = hyperbolic.exp0(torch.tensor([radius], dtype=torch.float64), C)
        at, high = float(point[0]), float(hyperbolic.time(point, C))
        sheet.plot(at, high, "o", color=BLUE)
        sheet.plot([at, radius], [high, 1], color=GREY, linewidth=0.7, ls="--")
        sheet.plot(radius, 1, "|", color=ORANGE, markersize=9)
        sheet.annotate(f"r = {radius:g}", (at, high), xytext=(8, -3),
                       textcoords="offset points", fontsize=8, color=BLUE)  # fmt: skip
    sheet.plot([-2.2, 2.2], [1, 1], color=ORANGE, linewidth=1)
    sheet.text(-2.2, 0.72, "tangent space at the origin", fontsize=8, color=ORANGE)
    sheet.set(xlabel="space  x", ylabel="time  xₜ", ylim=(0.5, 3.4))
    sheet.set_title("The sheet:  xₜ² − |x|² = 1/c", fontsize=10)
    sheet.spines[["top", "right"]].set_visible(False)

    disc(far, "Distance grows towards the edge")
    for radius, colour in ((0.6, GREEN), (1.3, BLUE), (2.6, ORANGE)):
        one, other = lift(radius, 90 - 28.0), lift(radius, 90 + 28.0)
        way = geodesic(one, other)
        far.plot(*way.T, color=colour, linewidth=1.6)
        dot(far, one, colour)
        dot(far, other, colour)
        length = float(hyperbolic.distance(one, other, C))
        far.annotate(f"d = {length:.1f}", way[50], xytext=(0, 4), ha="center",
                     textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    far.text(0, -0.36, "each pair is 56° apart,\nseen from the origin", fontsize=8, ha="center")

    disc(cones, "Cones: wide near the origin, narrow outside")
    for radius, degrees, colour in ((0.45, 90.0, GREEN), (1.0, 210.0, BLUE), (2.0, 330.0, ORANGE)):
        apex = lift(radius, degrees)
        cone(cones, apex, colour)
        half = math.degrees(float(hyperbolic.half_aperture(apex, C)))
        label = f"r = {radius:g}: ±{half:.0f}°"
        shift, side = ((-4, 8), "right") if radius > 1.5 else ((8, -3), "left")
        dot(cones, apex, colour, label, shift, side)
    return figure


#: Points of the hierarchy: radius, degrees, colour, where the label stands.
PLACES = {
    "image niche": (0.30, 62.0, GREEN, (8, -8), "left"),
    "image spot": (0.75, 65.0, BLUE, (-8, 0), "right"),
    "gene niche": (0.90, 59.0, "#aa4499", (9, -4), "left"),
    "gene spot": (2.10, 62.0, ORANGE, (9, -8), "left"),
}
#: Parent, child, factor on the parent's cone: the default recipe's.
ENTAILED = (
    ("image niche", "image spot", 1.2),
    ("gene niche", "gene spot", 1.2),
    ("image niche", "gene niche", 0.7),
    ("image spot", "gene spot", 0.7),
)


def draw_hierarchy() -> Figure:
    """Draw who entails whom: niches above spots, images above genes."""
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    asked = {name: lift(radius, degrees) for name, (radius, degrees, *_) in PLACES.items()}
    astray = {**asked, "gene spot": lift(1.5, 24.0)}
    titles = ("Costs: genes of another picture", "Costs nothing: each child in its parents' cones")
    for axes, title, points in zip(figure.subplots(1, 2), titles, (astray, asked), strict=True):
        disc(axes, title)
        axes.set_xlim(-0.25, 0.95)
        axes.set_ylim(-0.2, 1.03)
        cone(axes, points["image spot"], BLUE, 0.7)
        cone(axes, points["gene niche"], "#aa4499", 1.2)
        outside = []
        for parent, child, eta in ENTAILED:
            axes.plot(*geodesic(points[parent], points[child]).T, color=INK, lw=0.8, alpha=0.6)
            angle = hyperbolic.cone_violation(points[parent], points[child], C, eta)
            if angle > 0:
                outside.append(f"{math.degrees(float(angle)):.0f}° outside the cone of {parent}")
        for name, point in points.items():
            dot(axes, point, PLACES[name][2], name, *PLACES[name][3:])
        axes.text(0.93, -0.16, "\n".join(outside), fontsize=8, ha="right", color=ORANGE)
        assert bool(outside) == (points is astray)
    return figure


def draw_streams() -> Figure:
    """Draw what a spot sees, and what becomes of it when its expression is predicted."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    seen, streams = figure.subplots(1, 2, width_ratios=[1, 1.75])
    mpp, size = 1.0, 1400
    seen.imshow(paint_tissue(size, mpp=mpp, seed=5).image, extent=(0, size, size, 0))
    spots = lay_spots(layout_named("visium"), (size, size), (mpp, mpp))
    centre = spots.xy_um[np.argmin(np.hypot(*(spots.xy_um - size / 2).T))]
    distance = np.hypot(*(spots.xy_um - centre).T)
    for (x, y), far in zip(spots.xy_um, distance, strict=True):
        ring = int(np.searchsorted([50, 125, 225, 325], far))
        if ring < 4:
            colour = (INK, BLUE, GREEN, ORANGE)[ring]
            seen.add_patch(Circle((x, y), 27.5, fill=ring > 0, facecolor=colour, alpha=0.6))
    for width in (112, 300):
        corner = centre - width / 2
        seen.add_patch(Rectangle(tuple(corner), width, width, fill=False, ec=INK, lw=1.6))
        seen.annotate(f"{width} µm", corner, xytext=(0, 2), textcoords="offset points", fontsize=8,
                      bbox={"fc": "white", "ec": "none", "pad": 0.8})  # fmt: skip
    seen.set_xlim(centre[0] - 380, centre[0] + 380)
    seen.set_ylim(centre[1] + 380, centre[1] - 380)
    seen.set_axis_off()
    seen.set_title("What a spot sees: two crops, three rings", fontsize=10)

    streams.set_xlim(-2, 102)
    streams.set_ylim(0, 60)
    streams.set_axis_off()
    streams.set_title("When expression is predicted there are only pictures", fontsize=10)
    box(streams, 0, 24, 15, 12, "crops of the\nspot and of its\nneighbours")
    box(streams, 20, 24, 14, 12, "image encoder\n(features)")
    box(streams, 39, 24, 14, 12, "minus the\nslide's mean")
    box(streams, 58, 42, 18, 12, "hyperbolic space:\nspot, niche,\ndistances", BLUE)
    box(streams, 58, 24, 18, 12, "trained head", INK)
    box(streams, 58, 6, 18, 12, "ridge on features\nand ring means", GREEN)
    box(streams, 82, 24, 18, 12, "½ + ½: gene\nmodules → genes,\nspread", ORANGE)
    box(streams, 20, 42, 14, 12, "ood_score:\nhow far from\ntraining", GREY)
    arrows = (
        *(((15, 30), (20, 30)), ((34, 30), (39, 30)), ((53, 30), (58, 30)), ((76, 30), (82, 30))),
        *(((53, 33), (58, 46)), ((53, 27), (58, 14)), ((76, 14), (84, 24))),
        *(((67, 42), (67, 36)), ((27, 36), (27, 42))),
    )
    for one, other in arrows:
        streams.annotate("", other, one, arrowprops={"arrowstyle": "->", "color": INK})
    return figure


def box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str = INK
) -> None:
    """Draw one step."""
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.4", fc="white",
                                  ec=colour, lw=1.3))  # fmt: skip
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8)


def main(folder: Path) -> None:
    """Write every picture."""
    for name, figure in (
        ("method-space", draw_space()),
        ("method-hierarchy", draw_hierarchy()),
        ("method-streams", draw_streams()),
    ):
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=110, metadata={"Software": None})
        colours = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        colours.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
