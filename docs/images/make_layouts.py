"""Draw the pictures of docs/layouts.md: every layout to scale, from no data at all.

python docs/images/make_layouts.py docs/images/layouts
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle

from hypergene.spots import Layout, Spots, lay_spots, layout_named

MPP = (0.5, 0.5)
FILL, LINE, FRAME = "#56b4e9", "#1b3a57", "#b0b0b0"
#: Name -> side of the picture in µm; whole capture areas have room around them.
SIDES = {
    "visium": 620, "visium-6.5": 8000, "visium-11": 13_000, "st": 1200, "xenium": 360,
    "visium-hd-2": 36, "visium-hd-8": 36, "visium-hd-16": 36, "grid": 620,
}  # fmt: skip


def draw(axes: Axes, spots: Spots, side_um: float, title: str, *, numbered: bool = True) -> None:
    """Draw spots on an image of `side_um`, with the numbers of the first ones."""
    layout = spots.layout
    axes.add_patch(Rectangle((0, 0), side_um, side_um, fill=False, edgecolor=FRAME))
    for x, y in spots.xy_um:
        axes.add_patch(outline(layout, x, y, thin=len(spots) > 500))
    if len(spots) < 200:
        for (x, y), row, column in zip(spots.xy_um, spots.array_row, spots.array_col, strict=True):
            if numbered and row < 2 and column < 4:
                size = min(
                    8.0, (45 if layout.shape == "circle" else 60) * layout.diameter_um / side_um
                )
                axes.text(x, y, f"{row},{column}", ha="center", va="center", fontsize=size)
    margin = 0.02 * side_um
    axes.set_xlim(-margin, side_um + margin)
    axes.set_ylim(side_um + margin, -margin)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)


def outline(layout: Layout, x: float, y: float, *, thin: bool) -> Circle | Polygon:
    """Return the shape of one spot."""
    style = {"facecolor": FILL, "edgecolor": LINE, "linewidth": 0.0 if thin else 0.8}
    if layout.shape == "circle":
        return Circle((x, y), layout.diameter_um / 2, **style)
    angles = [math.radians(layout.orientation_deg + 45 + 90 * corner) for corner in range(4)]
    reach = layout.diameter_um / math.sqrt(2)
    return Polygon([(x + reach * math.cos(a), y + reach * math.sin(a)) for a in angles], **style)


def save(figure: Figure, path: Path) -> None:
    """Write a picture that is the same on every machine with the same matplotlib."""
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})


def main(folder: Path) -> None:
    """Draw one picture a layout, and one of orientation and offset."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, side_um in SIDES.items():
        layout = layout_named(name, diameter_um=100 if name == "grid" else None)
        pixels = round(side_um / MPP[0])
        figure = Figure(figsize=(2.4, 2.5))
        spots = lay_spots(layout, (pixels, pixels), MPP)
        draw(figure.subplots(), spots, side_um, f"{side_um:,} µm")
        save(figure, folder / f"{name}.png")
    figure = Figure(figsize=(9.6, 2.5))
    shown = (
        ("centred", 0.0, None),
        ("--offset 150,80", 0.0, (150.0, 80.0)),
        ("--orientation 20", 20.0, None),
        ("--orientation 20 --offset 150,80", 20.0, (150.0, 80.0)),
    )
    for axes, (title, degrees, offset_um) in zip(figure.subplots(1, 4), shown, strict=True):
        layout = layout_named("visium", orientation_deg=degrees)
        spots = lay_spots(layout, (1600, 1600), MPP, offset_um=offset_um)
        draw(axes, spots, 800, title, numbered=False)
    save(figure, folder / "turned.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
