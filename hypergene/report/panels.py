"""What a figure of a prediction is put together from: one panel a gene, column or histogram."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.sparse import issparse

from hypergene.report.palette import INK, NAMED, OTHER, UNKNOWN
from hypergene.report.spot_axes import SpotAxes

Panel = Callable[[Axes], None]
Layer = Literal["mean", "std"]

_PANEL_INCHES = 3.4
# What fits over and under a panel, in the sizes of their type.
_TITLE_LETTERS, _NOTE_LETTERS = 45, 62
_BINS = 40
_COLUMNS = {
    "ood_score": "share of held-out spots less unusual, 0 to 1",
    "archetype_ood": "share of training spots nearer to an archetype, 0 to 1",
    "tissue_fraction": "share of the spot's area on tissue, 0 to 1",
    "radius": "distance to the origin of the embedding",
    "focus": "grey levels² at 1 µm/px",
    "saturation": "0 to 1",
    "brightness": "0 to 1",
}
"""Units of the columns of ``obs``."""
_SHARES = frozenset({"ood_score", "archetype_ood", "tissue_fraction"})


def draw_panels(
    panels: Sequence[Panel], *, tallness: float, title: str | None, note: str | None = None
) -> Figure:
    """Draw panels, up to three side by side, then as square as can be.

    Parameters
    ----------
    panels
        At least one.
    tallness
        Height of a panel over its width.
    title
        A line over the whole picture.
    note
        A line under it.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas; save it with ``savefig``.
    """
    columns = len(panels) if len(panels) <= 3 else math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    width = _PANEL_INCHES + 0.7
    height = _PANEL_INCHES * min(2.0, max(0.5, tallness)) + 0.4
    lines = 0.4 * bool(title) + 0.3 * bool(note)
    figure = Figure(figsize=(columns * width, rows * height + lines))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    if title:
        figure.suptitle(textwrap.fill(title, int(columns * _TITLE_LETTERS)), fontsize=11)
    if note:
        figure.supxlabel(textwrap.fill(note, int(columns * _NOTE_LETTERS)), fontsize=8, color=INK)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel, place in zip(panels, axes, strict=False):
        panel(place)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    return figure


def gene_panel(
    adata: AnnData,
    spots: SpotAxes,
    gene: str,
    *,
    layer: Layer = "mean",
) -> Panel:
    """Draw a gene's predicted expression, or with the layer ``"std"`` its spread, over tissue.

    Colours run from the 1st to the 99th percentile, so that a single spot does not set the scale.
    """

    def draw(axes: Axes) -> None:
        cmap = "viridis" if layer == "mean" else "cividis"
        values = _column(adata, gene, layer)
        shown = spots.draw(axes, array=values, cmap=_with_unknown(cmap))
        shown.set_clim(*limits(values))
        axes.set_title(heading(adata, gene, layer), fontsize=10)
        units = str(adata.uns.get("hypergene", {}).get("units", "expression"))
        kind = "predicted" if layer == "mean" else "predicted standard deviation of"
        colour_bar(axes, shown, f"{kind} {units}")

    return draw


def column_panel(adata: AnnData, spots: SpotAxes, column: str) -> Panel:
    """Draw a column of ``obs`` over tissue; numbers by a colour bar, categories by a legend."""
    values = adata.obs[column]
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return _category_panel(values, spots, column)

    def draw(axes: Axes) -> None:
        numbers = values.to_numpy(np.float64)
        shown = spots.draw(axes, array=np.ma.masked_invalid(numbers), cmap=_with_unknown("viridis"))
        shown.set_clim(*((0, 1) if column in _SHARES else limits(numbers)))
        axes.set_title(column, fontsize=10)
        colour_bar(axes, shown, units_of(column))

    return draw


def histogram_panel(adata: AnnData, spots: SpotAxes, column: str) -> Panel:
    """Draw how often the values of a numeric column occur, with their median, as wide as a map."""

    def draw(axes: Axes) -> None:
        values = adata.obs[column].to_numpy(np.float64)
        values = values[np.isfinite(values)]
        axes.hist(values, bins=_BINS, color=NAMED[0])
        middle = float(np.median(values))
        axes.axvline(middle, color=NAMED[1], linewidth=2, label=f"median {middle:.3g}")
        axes.set_xlabel(units_of(column), fontsize=8)
        axes.set_ylabel("spots", fontsize=8)
        axes.set_title(f"{column} of {len(values):,} spots", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.set_box_aspect(min(2.0, max(0.5, spots.tallness)))
        axes.spines[["top", "right"]].set_visible(False)

    return draw


def heading(adata: AnnData, gene: str, layer: Layer = "mean") -> str:
    """Name the gene and, where it is known, how well it was predicted on held-out patients."""
    name = gene if layer == "mean" else f"{gene}, spread"
    if "heldout_pcc" in adata.var:
        pcc = float(adata.var.loc[gene, "heldout_pcc"])
        if math.isfinite(pcc):
            known = "reliability" in adata.var
            grade = f"class {adata.var.loc[gene, 'reliability']}, " if known else ""
            return f"{name}  ({grade}held-out r = {pcc:.2f})"
    return name


def colours_of(adata: AnnData, name: str) -> tuple[NDArray[Any], str, Sequence[Line2D]]:
    """Return what spots are coloured by: a gene, or a column of ``obs``.

    Returns
    -------
    values : numpy.ndarray
        float64 (n,), numbers, or text (n,), colours of categories.
    label : str
        With units.
    handles : sequence
        Of the legend of categories; empty for numbers.
    """
    if name not in adata.obs:
        units = str(adata.uns.get("hypergene", {}).get("units", "expression"))
        return _column(adata, name, "mean"), f"{name}, predicted {units}", ()
    values = adata.obs[name]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.to_numpy(np.float64), f"{name}: {units_of(name)}", ()
    colours, handles = _category_colours(values)
    return colours, name, handles


def units_of(column: str) -> str:
    """Return the units of a column of ``obs``, or its name if it has none that are known."""
    if column.startswith("archetype_") and column not in _COLUMNS:
        return "likeness to the archetype, 0 to 1"
    return _COLUMNS.get(column, column)


def _category_panel(values: pd.Series, spots: SpotAxes, name: str) -> Panel:
    def draw(axes: Axes) -> None:
        colours, handles = _category_colours(values)
        spots.draw(axes, facecolors=colours)
        axes.set_title(name, fontsize=10)
        axes.legend(
            handles=handles, title="share of spots", loc="upper left", bbox_to_anchor=(1.0, 1.0),
            frameon=False, fontsize=8, title_fontsize=8, handletextpad=0.2,
        )  # fmt: skip

    return draw


def _category_colours(values: pd.Series) -> tuple[NDArray[np.str_], list[Line2D]]:
    """Return a colour a spot, and the legend; categories beyond the eighth are grey."""
    kinds = values.astype("category").cat
    codes, names = kinds.codes.to_numpy(), [str(name) for name in kinds.categories]
    shares = np.bincount(codes[codes >= 0], minlength=len(names)) / max(1, len(codes))
    palette = np.array([*NAMED[: len(names)], *[OTHER] * (len(names) - len(NAMED)), UNKNOWN])
    entries = [
        (palette[k], f"{name} ({shares[k]:.0%})")
        for k, name in enumerate(names[: len(NAMED)])
        if shares[k] > 0
    ]
    if shares[len(NAMED) :].sum() > 0:
        entries.append((OTHER, f"others ({shares[len(NAMED) :].sum():.0%})"))
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=7, color=colour, label=label)
        for colour, label in entries
    ]
    return palette[codes], handles


def _column(adata: AnnData, gene: str, layer: Layer) -> NDArray[np.float64]:
    values = adata[:, [gene]]
    stored = values.X if layer == "mean" else values.layers[layer]
    dense = stored.toarray() if issparse(stored) else stored
    return np.asarray(dense, dtype=np.float64).ravel()


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 1st and 99th percentile of what is known, so that one spot sets no scale."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1e-6)


def _with_unknown(name: str) -> Colormap:
    return colormaps[name].with_extremes(bad=UNKNOWN)


def colour_bar(axes: Axes, shown: ScalarMappable, label: str) -> None:
    """Draw a colour bar beside a panel, its label in short lines."""
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(textwrap.fill(label, 36), fontsize=7)
    bar.ax.tick_params(labelsize=8)
