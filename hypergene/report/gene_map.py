"""Expression of one or several genes over the spots of a slide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.figure import Figure

from hypergene.errors import UsageError
from hypergene.report.panels import draw_panels, gene_panel
from hypergene.report.spot_axes import SpotAxes


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
    spots = SpotAxes.of(adata, background=background)
    return draw_panels(
        [gene_panel(adata, spots, gene, colormap=colormap) for gene in genes],
        tallness=spots.tallness,
        title=title,
    )


def most_reliable_genes(adata: AnnData, count: int) -> list[str]:
    """Return the `count` genes a model predicts best, by ``var["heldout_pcc"]``.

    Without that column, the genes whose prediction varies most over the spots. Ties go to the
    earlier gene, so the choice is the same every time.
    """
    if "heldout_pcc" in adata.var:
        return best_held_out(adata.var, count)
    return _highest(adata.var, np.asarray(adata.to_df().var(axis=0), dtype=np.float64), count)


def best_held_out(var: pd.DataFrame, count: int) -> list[str]:
    """Return the `count` genes with the highest ``heldout_pcc``; ties go to the earlier gene."""
    return _highest(var, var["heldout_pcc"].to_numpy(dtype=np.float64), count)


def _highest(var: pd.DataFrame, score: np.ndarray, count: int) -> list[str]:
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    return [str(gene) for gene in var.index[order[:count]]]
