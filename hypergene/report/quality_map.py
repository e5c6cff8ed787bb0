"""How well each spot of a slide can be seen, as maps over the slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

_PANEL_INCHES = 4.5
_DPI = 120
# Corners, and the distance of one from the centre in halves of the spot's diameter or side.
_ROUND = 24, 1.0
_SQUARE = 4, 2**0.5
_PALE = 0.5
# Okabe and Ito's vermilion: no colour of H&E, of viridis or of its grey for unknown.
_PEN = "#D55E00"
_UNKNOWN = "#999999"


def draw_quality(adata: AnnData) -> Figure:
    """Draw focus, ink, saturation and brightness of every spot at its true size, a panel each.

    Colours run from the 1st to the 99th percentile. Spots under ink are filled in vermilion in
    their own panel and outlined in it in the others; those that cannot be read are grey.

    Parameters
    ----------
    adata
        n spots with the columns of ``--qc`` in ``obs``, ``obsm["spatial"]`` (level-0 px) and
        hypergene's ``uns["spatial"]`` and ``uns["hypergene"]``.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas; save it with ``savefig``.
    """
    library = next(iter(adata.uns["spatial"].values()))
    picture: NDArray[np.uint8] = library["images"]["hires"]
    height, width = picture.shape[:2]
    tall = min(2.0, max(0.5, height / width))
    figure = Figure(figsize=(2 * (_PANEL_INCHES + 0.8), 2 * (_PANEL_INCHES * tall + 0.4)))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    outlines = _outlines(adata, library["scalefactors"])
    pale = np.rint(255 - _PALE * (255.0 - picture)).astype(np.uint8)
    panels = figure.subplots(2, 2)
    for axes in panels.ravel():
        axes.imshow(pale)
        axes.set_axis_off()
    pen = adata.obs["pen"].to_numpy(bool)
    panels[0, 1].add_collection(PolyCollection([*outlines[pen]], facecolors=_PEN))
    panels[0, 1].set_title(f"pen: ink over {pen.sum():,} of {len(pen):,} spots", fontsize=10)
    for axes, name, units in (
        (panels[0, 0], "focus", "grey levels² at 1 µm/px"),
        (panels[1, 0], "saturation", "0 to 1"),
        (panels[1, 1], "brightness", "0 to 1"),
    ):
        _draw_values(axes, outlines, adata.obs[name].to_numpy(np.float64), pen)
        axes.set_title(f"{name}, {units}", fontsize=10)
    return figure


def save_quality_map(adata: AnnData, path: Path) -> None:
    """Write the picture of :func:`draw_quality` as PNG, whatever the name of the file."""
    draw_quality(adata).savefig(path, format="png", dpi=_DPI)


def _draw_values(
    axes: Axes, outlines: NDArray[np.float64], values: NDArray[np.float64], pen: NDArray[np.bool_]
) -> None:
    known = np.isfinite(values)
    axes.add_collection(PolyCollection([*outlines[~known]], facecolors=_UNKNOWN))
    shown = PolyCollection([*outlines[known]], cmap="viridis", linewidths=0)
    shown.set_array(values[known])
    if known.any():
        low, high = np.percentile(values[known], [1, 99])
        shown.set_clim(low, high if high > low else low + 1e-6)
    axes.add_collection(shown)
    axes.add_collection(PolyCollection([*outlines[pen]], facecolors="none", edgecolors=_PEN))
    axes.figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)


def _outlines(adata: AnnData, scalefactors: dict[str, float]) -> NDArray[np.float64]:
    """Return the corners of every spot in px of the picture, (n, corners, 2)."""
    corners, reach = _ROUND if adata.uns["hypergene"]["layout"]["shape"] == "circle" else _SQUARE
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    ring = ring * reach * scalefactors["spot_diameter_fullres"] / 2
    xy = np.asarray(adata.obsm["spatial"], np.float64)
    return (xy[:, None] + ring) * scalefactors["tissue_hires_scalef"]
