"""Figures of an evaluation, as SVG or PNG that stand inside a page."""

from __future__ import annotations

import base64
import io
import re
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Okabe and Ito's colours, which colour-blind readers tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_COLOURS = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#E69F00", "#56B4E9", _GREY)
_ROUND_UM = (100, 200, 500, 1000, 2000, 5000)
_DPI = 110
_MOST_LABELS = 6


@dataclass(frozen=True, eq=False)
class GeneMap:
    """One gene on one slide.

    Attributes
    ----------
    sample, gene
        What is drawn.
    xy_um
        (n, 2) spot centres, µm.
    observed, predicted
        (n,) log1p CP10k.
    same_units
        Whether both may share one scale of colours.
    label
        What was observed is in.
    """

    sample: str
    gene: str
    xy_um: NDArray[np.float64]
    observed: NDArray[np.floating]
    predicted: NDArray[np.floating]
    same_units: bool
    label: str = "log1p CP10k"


def draw_maps(maps: Sequence[GeneMap], mark: str = "") -> str:
    """Draw observed beside predicted expression, a row a gene of one sample; return an image tag.

    Both share the colours of the observed gene (its 1st to 99th percentile), so that a prediction
    that is too flat looks flat; with other units each has its own, which the title says. `mark`,
    what flatters them, stands over all.
    """
    figure = _figure(7.2, 3.1 * len(maps))
    grid = np.atleast_2d(figure.subplots(len(maps), 2))
    for row, one in zip(grid, maps, strict=True):
        low, high = _limits(one.observed)
        size = _spot_size(one.xy_um)
        for axes, values, what in ((row[0], one.observed, "observed"),
                                   (row[1], one.predicted, "predicted")):  # fmt: skip
            shared = one.same_units or what == "observed"
            bounds = (low, high) if shared else _limits(values)
            points = axes.scatter(
                *one.xy_um.T, c=values, s=size, cmap="viridis", vmin=bounds[0], vmax=bounds[1],
                linewidths=0,
            )  # fmt: skip
            _tissue(axes, one.xy_um)
            axes.set_title(f"{one.gene}, {what}" + ("" if shared else " (own scale)"), fontsize=9)
            bar = figure.colorbar(points, ax=axes, shrink=0.85, pad=0.02)
            bar.ax.tick_params(labelsize=7)
            label = one.label if shared else "prediction's units"
            bar.set_label(textwrap.fill(label, 50), fontsize=7)
    samples = dict.fromkeys(one.sample for one in maps)
    title = f"Observed and predicted expression on {', '.join(samples)}"
    if mark:
        figure.suptitle(textwrap.fill(mark, 90), fontsize=9)
    return _png(figure, title + (f" [{mark}]" if mark else ""))


def draw_ceiling(genes: pd.DataFrame, title: str) -> str:
    """Draw each gene's Pearson correlation against its noise ceiling; return an image tag.

    Parameters
    ----------
    genes
        Columns gene, pearson, ceiling.
    title
        Over the figure.
    """
    known = genes.dropna(subset=["pearson", "ceiling"])
    figure = _figure(5.2, 4.6)
    axes = figure.subplots()
    axes.scatter(
        known["ceiling"], known["pearson"], s=8, c=_BLUE, alpha=0.35, linewidths=0, rasterized=True
    )
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, label="ceiling")
    axes.plot([0, 1], [0, 0.5], color=_GREY, linewidth=1, linestyle=":", label="half of it")
    axes.axhline(0, color="black", linewidth=0.6)
    for _, gene in known.nlargest(_MOST_LABELS, "pearson").iterrows():
        axes.annotate(
            gene["gene"], (gene["ceiling"], gene["pearson"]), fontsize=6.5,
            xytext=(3, 2), textcoords="offset points",
        )  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("noise ceiling (largest attainable Pearson correlation)")
    axes.set_ylabel("Pearson correlation over spots")
    axes.set_title(textwrap.fill(title, 64), fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    return _svg(figure, title)


def draw_coverage(curves: pd.DataFrame, title: str) -> str:
    """Draw how often intervals hold what was measured against how often they claim to.

    Parameters
    ----------
    curves
        Columns gene_set, level, covered.
    title
        Over the figure.
    """
    figure = _figure(4.6, 4.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, label="calibrated")
    for colour, (name, curve) in zip(
        _COLOURS, curves.groupby("gene_set", sort=False), strict=False
    ):
        axes.plot(
            curve["level"], curve["covered"], color=colour, marker="o", markersize=3, label=name
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("nominal level of the interval")
    axes.set_ylabel("share of spots inside it")
    axes.set_title(textwrap.fill(title, 64), fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    return _svg(figure, title)


def draw_differences(differences: pd.DataFrame, metric: str, title: str) -> str:
    """Draw paired differences to controls with their 95 % intervals; return an image tag.

    Parameters
    ----------
    differences
        Columns method, gene_set, metric, difference, low, high.
    metric
        Which is drawn.
    title
        Over the figure.
    """
    table = differences[differences["metric"] == metric]
    controls = list(dict.fromkeys(table["method"]))
    sets = list(dict.fromkeys(table["gene_set"]))
    figure = _figure(7.4, 1.2 + 0.42 * len(controls))
    axes = figure.subplots()
    for number, (name, colour) in enumerate(zip(sets, _COLOURS, strict=False)):
        part = table[table["gene_set"] == name].set_index("method").reindex(controls)
        at = np.arange(len(controls)) + (number - (len(sets) - 1) / 2) * 0.2
        axes.hlines(at, part["low"], part["high"], color=colour, linewidth=1.6)
        axes.plot(part["difference"], at, "o", color=colour, markersize=4, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(np.arange(len(controls)), controls, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric}, scored method less control (above 0: better than the control)")
    axes.set_title(textwrap.fill(title, 64), fontsize=9)
    axes.legend(fontsize=7, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    return _svg(figure, title)


def draw_slides(slides: pd.DataFrame, title: str) -> str:
    """Draw the scored method's Pearson correlation on each slide, with spot-block intervals.

    Parameters
    ----------
    slides
        Columns sample, gene_set, pearson, pearson_low, pearson_high.
    title
        Over the figure.
    """
    names = list(dict.fromkeys(slides["sample"]))
    sets = list(dict.fromkeys(slides["gene_set"]))
    figure = _figure(max(4.0, 1.8 + 0.7 * len(names)), 3.4)
    axes = figure.subplots()
    for number, (name, colour) in enumerate(zip(sets, _COLOURS, strict=False)):
        part = slides[slides["gene_set"] == name].set_index("sample").reindex(names)
        at = np.arange(len(names)) + (number - (len(sets) - 1) / 2) * 0.18
        axes.vlines(at, part["pearson_low"], part["pearson_high"], color=colour, linewidth=1.6)
        axes.plot(at, part["pearson"], "o", color=colour, markersize=4, label=name)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(np.arange(len(names)), names, rotation=45 if len(names) > 6 else 0, fontsize=8)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel("Pearson correlation, mean over genes")
    axes.set_title(textwrap.fill(title, 64), fontsize=9)
    axes.legend(fontsize=7, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    return _svg(figure, title)


def _figure(width_inches: float, height_inches: float) -> Figure:
    figure = Figure(figsize=(width_inches, height_inches))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    return figure


def _limits(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = (float(bound) for bound in np.percentile(values, [1, 99]))
    return low, high if high > low else low + 1e-6


def _spot_size(xy_um: NDArray[np.float64]) -> float:
    """Return the area of a marker (points squared) at which spots nearly touch."""
    width = float(np.ptp(xy_um, axis=0).max()) or 1.0
    across = (len(xy_um)) ** 0.5
    return float(np.clip((150 / across) ** 2 * 0.5, 2, 90)) if width else 20.0


def _tissue(axes: Axes, xy_um: NDArray[np.float64]) -> None:
    """Frame the spots as on the slide, with a bar of a round number of µm."""
    axes.set_aspect("equal")
    axes.margins(0.08)
    axes.invert_yaxis()
    axes.set_axis_off()
    width = float(np.ptp(xy_um[:, 0])) or 1.0
    bar = max([um for um in _ROUND_UM if um <= width / 3], default=_ROUND_UM[0])
    left, bottom = float(xy_um[:, 0].min()), float(xy_um[:, 1].max())
    below = bottom + 0.06 * (float(np.ptp(xy_um[:, 1])) or 1.0)
    axes.plot([left, left + bar], [below, below], color="black", linewidth=1.5)
    label = f"{bar / 1000:g} mm" if bar >= 1000 else f"{bar} µm"
    axes.text(left + bar * 1.1, below, label, fontsize=7, va="center")


def _png(figure: Figure, alt: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    code = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img alt="{_attribute(alt)}" src="data:image/png;base64,{code}">'


def _svg(figure: Figure, alt: str) -> str:
    """Return an SVG element: the same figure gives the same text, and asks nothing of the net."""
    data = io.StringIO()
    salt = re.sub(r"\W+", "-", alt)
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(data, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    text = data.getvalue()
    element = text[text.index("<svg") :]
    # Several figures share a page, so each needs names of its own.
    prefix = f"f{zlib.crc32(alt.encode()):x}-"
    element = re.sub(r'\bid="', f'id="{prefix}', element)
    element = re.sub(r'(xlink:href="#|href="#|url\(#)(?!f[0-9a-f]+-)', rf"\g<1>{prefix}", element)
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.S)
    return element.replace("<svg ", f'<svg role="img" aria-label="{_attribute(alt)}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
