"""Expression of one or several genes over the spots of a slide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Rectangle
from numpy.typing import NDArray
from scipy.sparse import issparse

from hypergene.errors import UsageError

_PANEL_INCHES = 3.4
# Scale bars people can read off at a glance.
_ROUND_UM = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def draw_gene_map(
    adata: AnnData,
    genes: Sequence[str],
    *,
    background: bool = False,
    title: str | None = None,
    colormap: str = "viridis",
) -> Figure:
    """Draw each gene's expression as spots of their true size, one panel a gene.

    The colours of a panel run from the gene's 1st to its 99th percentile, so that a single spot
    does not set the scale; viridis is even in lightness and safe for colour-blind readers.

    Parameters
    ----------
    adata
        Spots × genes with ``obsm["spatial"]`` (level-0 px) and hypergene's ``uns["spatial"]`` and
        ``uns["hypergene"]``, as ``hypergene predict`` writes it.
    genes
        Names of ``adata.var_names``, in the order of the panels.
    background
        Draw the tissue image under the spots. False draws the spots alone: no pixel of the slide
        gets into the picture.
    title
        A line over the whole picture.
    colormap
        A matplotlib colour map.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas; save it with ``savefig``.

    Raises
    ------
    UsageError
        If a gene is not in `adata`, or no gene is given.
    """
    unknown = [gene for gene in genes if gene not in adata.var_names]
    if unknown or not genes:
        raise UsageError(
            f"There is no {', '.join(unknown)} among the {adata.n_vars:,} genes of the table."
            if unknown
            else "No gene was named to draw.",
            hint=f"Known are, for example, {', '.join(adata.var_names[:5])}.",
        )
    # Up to three side by side, then as square as can be.
    columns = len(genes) if len(genes) <= 3 else math.ceil(math.sqrt(len(genes)))
    rows = math.ceil(len(genes) / columns)
    library = next(iter(adata.uns["spatial"].values()))
    xy = np.asarray(adata.obsm["spatial"], dtype=np.float64)
    left, top, right, bottom = window = _window(xy, library)
    panel = (
        _PANEL_INCHES + 0.7,
        _PANEL_INCHES * min(2.0, max(0.5, (bottom - top) / (right - left))) + 0.4,
    )
    figure = Figure(figsize=(columns * panel[0], rows * panel[1] + (0.4 if title else 0)))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    units = str(adata.uns.get("hypergene", {}).get("units", "expression"))
    shapes = _spot_shapes(adata, library, xy)
    for axes, gene in zip(panels, genes, strict=False):
        values = _column(adata, gene)
        if background:
            _draw_background(axes, library)
        low, high = np.percentile(values, [1, 99])
        spots = PatchCollection(
            shapes, cmap=colormap, linewidths=0, alpha=0.85 if background else 1.0
        )
        spots.set_array(values)
        spots.set_clim(low, high if high > low else low + 1e-6)
        axes.add_collection(spots)
        _frame(axes, window)
        _scale_bar(axes, adata)
        axes.set_title(_heading(adata, gene), fontsize=10)
        bar = figure.colorbar(spots, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label(textwrap.fill(units, 36), fontsize=7)
        bar.ax.tick_params(labelsize=8)
    for axes in panels[len(genes) :]:
        axes.set_axis_off()
    return figure


def most_reliable_genes(adata: AnnData, count: int) -> list[str]:
    """Return the `count` genes a model predicts best, by ``var["heldout_pcc"]``.

    Without that column, the genes whose prediction varies most over the spots. Ties go to the
    earlier gene, so the choice is the same every time.
    """
    if "heldout_pcc" in adata.var:
        score = adata.var["heldout_pcc"].to_numpy(dtype=np.float64)
    else:
        score = np.asarray(adata.to_df().var(axis=0), dtype=np.float64)
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    return [str(gene) for gene in adata.var_names[order[:count]]]


def _column(adata: AnnData, gene: str) -> NDArray[np.float64]:
    values = adata[:, [gene]].X
    dense = values.toarray() if issparse(values) else values
    return np.asarray(dense, dtype=np.float64).ravel()


def _heading(adata: AnnData, gene: str) -> str:
    """Name the gene and, where it is known, how well it was predicted on held-out patients."""
    if "heldout_pcc" in adata.var:
        pcc = float(adata.var.loc[gene, "heldout_pcc"])
        if math.isfinite(pcc):
            return f"{gene}  (held-out r = {pcc:.2f})"
    return gene


def _spot_shapes(adata: AnnData, library: dict[str, Any], xy: NDArray[np.float64]) -> list[Patch]:
    diameter = float(library["scalefactors"]["spot_diameter_fullres"])
    layout = adata.uns.get("hypergene", {}).get("layout", {})
    if isinstance(layout, dict) and layout.get("shape") == "square":
        half = diameter / 2
        return [Rectangle((x - half, y - half), diameter, diameter) for x, y in xy]
    return [Circle((x, y), diameter / 2) for x, y in xy]


def _window(xy: NDArray[np.float64], library: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what a panel shows: the spots, level-0 px."""
    margin = float(library["scalefactors"]["spot_diameter_fullres"])
    left, top = xy.min(axis=0) - margin
    right, bottom = xy.max(axis=0) + margin
    return float(left), float(top), float(right), float(bottom)


def _draw_background(axes: Axes, library: dict[str, Any]) -> None:
    image = library["images"]["hires"]
    scale = float(library["scalefactors"]["tissue_hires_scalef"])
    axes.imshow(image, extent=(0, image.shape[1] / scale, image.shape[0] / scale, 0))


def _frame(axes: Axes, window: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = window
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)  # rows of an image run downwards
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _scale_bar(axes: Axes, adata: AnnData) -> None:
    """Draw a bar of a round number of µm under the spots, where the resolution is known."""
    mpp = adata.uns.get("hypergene", {}).get("mpp", {})
    if not isinstance(mpp, dict) or "x" not in mpp:
        return
    left, right = axes.get_xlim()
    width_um = (right - left) * float(mpp["x"])
    length_um = max([um for um in _ROUND_UM if um <= width_um / 4], default=_ROUND_UM[0])
    start = 0.02
    share = length_um / width_um
    axes.plot(
        [start, start + share], [-0.02, -0.02], transform=axes.transAxes, color="black",
        linewidth=2, solid_capstyle="butt", clip_on=False,
    )  # fmt: skip
    label = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um} µm"
    axes.text(
        start + share / 2, -0.035, label, transform=axes.transAxes, ha="center", va="top",
        fontsize=8,
    )  # fmt: skip
