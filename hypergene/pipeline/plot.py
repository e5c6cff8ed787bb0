"""``hypergene plot``: static figures of a prediction."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, get_args

import matplotlib as mpl
from anndata import AnnData
from matplotlib.figure import Figure

from hypergene.errors import DataError, UsageError
from hypergene.output import atomic_path, open_prediction
from hypergene.pipeline.keywords import PlotKeywords
from hypergene.pipeline.options import as_tuple, with_overrides
from hypergene.report.embedding import embedding_panel
from hypergene.report.gene_map import best_held_out
from hypergene.report.panels import Layer, Panel, column_panel, draw_panels, gene_panel
from hypergene.report.panels import histogram_panel as histogram
from hypergene.report.spot_axes import SpotAxes

GENES, ARCHETYPES, EMBEDDING, RADIUS = KINDS = ("genes", "archetypes", "embedding", "radius")
"""What can be drawn beside single genes and columns of ``obs``."""

_MOST_RELIABLE = 4
_MOST_PANELS = 36
_FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg"}
# Without the time of day in it, the same figure is the same file.
_UNDATED = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class PlotOptions:
    """Options of :func:`plot`, named as on the command line.

    Attributes
    ----------
    genes
        What ``"genes"`` draws; None = the four that the model predicts best on held-out data.
    layer
        ``"mean"``: predicted expression; ``"std"``: its predicted spread.
    color
        What ``"embedding"`` is coloured by, a gene or a column of ``obs``; None = the archetypes,
        or else the radius.
    image
        Draw the slide's picture under the spots. Without it no pixel of the slide gets into the
        figure.
    title
        A line over the figure; None = the slide's name.
    """

    genes: tuple[str, ...] | None = None
    layer: Layer = "mean"
    color: str | None = None
    image: bool = True
    title: str | None = None

    def __post_init__(self) -> None:
        """Take genes as any sequence of texts, or one; refuse what is no layer."""
        if self.genes is not None:
            object.__setattr__(self, "genes", as_tuple(self.genes))
            if not self.genes:
                raise UsageError("No gene is asked for.", hint="Leave the genes out to draw the "
                                 "most reliable.")  # fmt: skip
        if self.layer not in get_args(Layer):
            raise UsageError(f"There is no layer {self.layer!r}.", hint="Known: mean, std.")


def plot(
    prediction: str | Path | AnnData,
    *what: str,
    options: PlotOptions | None = None,
    **overrides: Unpack[PlotKeywords],
) -> Figure:
    """Draw a prediction: genes over tissue, columns of ``obs``, archetypes, embedding, radius.

    Parameters
    ----------
    prediction
        What ``hypergene predict`` wrote, of which only the wanted genes are read; or what
        :func:`hypergene.predict` returned.
    *what
        One or more of ``"genes"``, ``"archetypes"`` (the most likely one over tissue),
        ``"embedding"`` (the Poincaré disk), ``"radius"`` (over tissue, and a histogram), names of
        columns of ``obs`` (``"ood_score"``), and genes. Nothing = ``"genes"``.
    options
        See :class:`PlotOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a gene or column; save it with ``savefig``.

    Raises
    ------
    UsageError
        Something is asked for that the prediction has not, or too much of it.
    DataError
        It is no prediction of hypergene.

    Examples
    --------
    >>> import hypergene
    >>> adata = hypergene.predict("slide.svs", genes=("ERBB2", "CD3E"))
    >>> figure = hypergene.plot(adata, "ERBB2", "ood_score", "embedding", color="ERBB2")
    >>> figure.savefig("slide.pdf")
    """
    options = with_overrides(options or PlotOptions(), overrides)
    asked = _asked(what)
    # As in a notebook, of a prediction in memory; of a file only what is asked for is read.
    if isinstance(prediction, AnnData):
        _check(prediction)
        adata = prediction
        genes = _genes(asked, options, adata)
    else:
        found = open_prediction(prediction)
        empty = AnnData(obs=found.obs, var=found.var, uns=found.uns)
        genes = _genes(asked, options, empty)
        adata = found.read(genes, layers=("std",) if options.layer == "std" else ())
    spots = SpotAxes.of(adata, background=options.image)
    panels = [panel for item in asked for panel in _panels(item, adata, spots, genes, options)]
    if len(panels) > _MOST_PANELS:
        raise UsageError(
            f"{len(panels)} panels are too many for one figure.",
            hint=f"Ask for at most {_MOST_PANELS} at once, or see hypergene report.",
        )
    about = adata.uns["hypergene"]
    verdict = about.get("card", {}).get("verdict", "ok")
    doubt = "" if verdict == "ok" else f" The slide card's verdict: {verdict}."
    return draw_panels(
        panels,
        tallness=spots.tallness,
        title=str(about["slide"]) if options.title is None else options.title,
        note=f"Predicted from the picture by {_model(adata)}, not measured.{doubt}",
    )


def plot_to_file(
    prediction: str | Path,
    what: Sequence[str] = (),
    out: str | Path | None = None,
    options: PlotOptions | None = None,
    *,
    dpi: int = 200,
    overwrite: bool = False,
) -> Path:
    """Write the figure of :func:`plot` as PNG, PDF or SVG, whole or not at all.

    Parameters
    ----------
    prediction, what, options
        As of :func:`plot`.
    out
        The file; None = ``<stem>.<what>.png`` beside the prediction, of several things
        ``<stem>.figure.png``.
    dpi
        Dots per inch, of pictures in PDF and SVG, too.
    overwrite
        Replace a file that exists.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    HypergeneError
        As :func:`plot`, and if the file exists, has another ending or cannot be written.
    """
    prediction = Path(prediction)
    named = re.sub(r"[^\w.-]", "_", what[0] if len(what) == 1 else "figure" if what else GENES)
    path = prediction.with_name(f"{prediction.stem}.{named}.png") if out is None else Path(out)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"A figure cannot be written as {path.name}.",
            hint="Name a file that ends in .png, .pdf or .svg.",
        )
    kind = _FORMATS[path.suffix.lower()]
    figure = plot(prediction, *what, options=options)
    with (
        atomic_path(path, overwrite=overwrite) as draft,
        mpl.rc_context({"svg.hashsalt": "hypergene", "svg.fonttype": "none"}),
    ):
        figure.savefig(draft, format=kind, dpi=dpi, metadata=_UNDATED[kind])
    return path


def _asked(what: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(what)) or (GENES,)


def _check(adata: AnnData) -> None:
    about = adata.uns.get("hypergene")
    if not isinstance(about, dict) or "model" not in about or "spatial" not in adata.obsm:
        raise DataError(
            "The AnnData is no prediction of hypergene.",
            hint="Give what hypergene.predict returns or hypergene predict writes.",
        )


def _genes(asked: Sequence[str], options: PlotOptions, adata: AnnData) -> list[str]:
    """Return the genes that are needed, those of ``"genes"`` first; refuse what is not there."""
    known = set(adata.var_names)
    own = list(options.genes or (best_held_out(adata.var, _MOST_RELIABLE)))
    named = [*own] if GENES in asked else []
    named += [item for item in asked if item not in KINDS and item not in adata.obs]
    if options.color is not None and options.color not in adata.obs:
        named.append(options.color)
    for name in named:
        if name not in known:
            # Symbols of man are upper case, those of mouse are not.
            folded = {other.casefold(): other for other in [*known, *adata.obs, *KINDS]}
            near = difflib.get_close_matches(name.casefold(), folded, n=3)
            raise UsageError(
                f"There is nothing called {name} in the prediction.",
                hint=f"Close to it: {', '.join(folded[other] for other in near)}."
                if near
                else f"Draw {', '.join(KINDS)}, a gene ({', '.join(adata.var_names[:3])} ...), or "
                f"one of {', '.join(adata.obs)}.",
            )
    return list(dict.fromkeys(named))


def _panels(
    item: str, adata: AnnData, spots: SpotAxes, genes: Sequence[str], options: PlotOptions
) -> list[Panel]:
    if item == GENES:
        own = options.genes or tuple(genes[:_MOST_RELIABLE])
        return [gene_panel(adata, spots, gene, layer=options.layer) for gene in own]
    if item == ARCHETYPES:
        if "archetype" not in adata.obs:
            raise UsageError(
                f"The model {_model(adata)} has no archetypes.",
                hint="hypergene finetune --set geometry.archetypes=8 trains one that has.",
            )
        return [column_panel(adata, spots, "archetype")]
    if item == EMBEDDING:
        usual = "archetype" if "archetype" in adata.obs else "radius"
        return [embedding_panel(adata, options.color or usual)]
    if item == RADIUS:
        return [column_panel(adata, spots, RADIUS), histogram(adata, spots, RADIUS)]
    if item in adata.obs:
        return [column_panel(adata, spots, item)]
    return [gene_panel(adata, spots, item, layer=options.layer)]


def _model(adata: AnnData) -> Any:
    return adata.uns["hypergene"]["model"]["name"]
