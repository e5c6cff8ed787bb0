"""The map of a page: spots at their true size over the slide, drawn by Bokeh in the browser."""

from __future__ import annotations

import math
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    BoxZoomTool,
    Circle,
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    PanTool,
    Range1d,
    Rect,
    SaveTool,
    WheelZoomTool,
)
from bokeh.models.annotations import ColorBar, ScaleBar
from bokeh.plotting import figure
from bokeh.resources import Resources


def map_scripts() -> list[str]:
    """Return Bokeh's own scripts, which the page needs before its own."""
    return list(Resources(mode="inline", components=["bokeh", "bokeh-gl"]).js_raw)


def spot_map(
    *,
    image: str | None,
    slide_mm: tuple[float, float],
    shape: str,
    diameter_mm: float,
    orientation_deg: float,
) -> dict[str, Any]:
    """Return the map without its spots, as Bokeh's JSON; the page's script brings them.

    The script knows the parts by their names: ``spots`` (the data: x, y in mm and the value),
    ``spots-glyph``, ``colours`` (the mapper), ``slide`` (the picture) and ``bar``.

    Parameters
    ----------
    image
        Address of the slide's picture; None = none.
    slide_mm
        Width and height of what the picture shows, mm.
    shape
        ``"circle"`` or ``"square"``.
    diameter_mm
        Of a spot, or its side, mm: spots grow as the map is zoomed.
    orientation_deg
        By how much squares are turned, clockwise.
    """
    width, height = slide_mm
    plot = figure(
        x_range=Range1d(start=0, end=width),
        y_range=Range1d(start=height, end=0),  # rows run downwards
        tools=[PanTool(), WheelZoomTool(zoom_on_axis=False), BoxZoomTool(match_aspect=True)],
        active_scroll="auto",
        sizing_mode="stretch_both",
        output_backend="webgl",
        min_border=0,
        toolbar_location="above",
        title="predicted, not measured",  # of the first gene in a moment: keeps the room for it
        lod_threshold=100_000,  # without WebGL: fewer spots while the map is dragged, all after
        lod_factor=5,
        lod_timeout=300,
        name="plot",
    )
    plot.add_tools(SaveTool(name="save"))
    plot.toolbar.logo = None
    plot.axis.visible = False
    plot.grid.visible = False
    plot.outline_line_color = None
    if image is not None:
        plot.image_url(url=[image], x=0, y=0, w=width, h=height, anchor="top_left", name="slide")
    colours = LinearColorMapper(
        palette=["#000", "#fff"], low=0, high=1, nan_color="#8888", name="colours"
    )
    source = ColumnDataSource({"x": [], "y": [], "value": []}, name="spots")
    paint: Any = {"field": "value", "transform": colours}
    glyph = (
        Rect(
            x="x",
            y="y",
            width=diameter_mm,
            height=diameter_mm,
            angle=-math.radians(orientation_deg),
            fill_color=paint,
            line_color=None,
        )
        if shape == "square"
        else Circle(x="x", y="y", radius=diameter_mm / 2, fill_color=paint, line_color=None)
    )
    spots = plot.add_glyph(source, glyph, name="spots-drawn")
    spots.nonselection_glyph = spots.selection_glyph = spots.muted_glyph = None
    plot.add_tools(HoverTool(renderers=[spots], tooltips=[("spot", "$index")], name="hover"))
    bar = ColorBar(
        color_mapper=colours, ticker=BasicTicker(desired_num_ticks=5), height=12, padding=4,
        title="predicted", title_text_font_style="normal", background_fill_color=None, name="bar",
    )  # fmt: skip
    plot.add_layout(bar, "below")
    plot.add_layout(
        ScaleBar(
            range=plot.x_range, unit="mm", location="bottom_left", bar_length=0.12,
            length_sizing="adaptive", border_line_color=None, background_fill_alpha=0.8,
            padding=5, margin=5,
        )
    )  # fmt: skip
    return dict(json_item(plot))
