"""The index of several predictions' pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anndata import AnnData

from hypergene.report.gene_reliability import gene_reliability
from hypergene.report.page_parts import asset, content_policy, environment, jpeg_uri

_THUMBNAIL_PX = 360
_BEST = 5


@dataclass(frozen=True)
class IndexEntry:
    """One prediction in the index.

    Attributes
    ----------
    name, link
        What it is called, and its page's file name.
    verdict
        ``"ok"``, ``"caution"``, ``"refuse"`` or ``"unknown"``.
    reasons
        For the verdict.
    spots
        How many.
    model
        The model's name.
    best
        The first genes of the page with their held-out correlation.
    thumbnail
        The slide as a data address; "" = none.
    """

    name: str
    link: str
    verdict: str
    reasons: tuple[str, ...]
    spots: int
    model: str
    best: tuple[str, ...]
    thumbnail: str


def index_entry(adata: AnnData, *, name: str, link: str, spots: int) -> IndexEntry:
    """Return what the index says of a prediction.

    Parameters
    ----------
    adata
        What its page shows, best genes first.
    name, link
        What it is called, and its page's file name.
    spots
        How many the prediction has.
    """
    about = adata.uns["hypergene"]
    card = about.get("card", {})
    images = next(iter(adata.uns["spatial"].values())).get("images", {})
    image = images.get("lowres", images.get("hires"))
    known = gene_reliability(adata.var.iloc[:_BEST])
    best = tuple(
        str(symbol) if one["r"] is None else f"{symbol} ({one['r']:.2f})"
        for symbol, one in zip(adata.var_names[:_BEST], known, strict=True)
    )
    return IndexEntry(
        name=name,
        link=link,
        verdict=str(card.get("verdict", "unknown")),
        reasons=tuple(str(reason) for reason in card.get("reasons", ())),
        spots=spots,
        model=str(about.get("model", {}).get("name", "unknown")),
        best=best,
        thumbnail="" if image is None else jpeg_uri(image, longest_px=_THUMBNAIL_PX),
    )


def index_page(entries: Sequence[IndexEntry], failed: Sequence[tuple[str, str]]) -> str:
    """Return the index page.

    Parameters
    ----------
    entries
        The predictions that have a page.
    failed
        Names of those that have none, with the reason.
    """
    return (
        environment()
        .get_template("predictions.html")
        .render(entries=entries, failed=failed, policy=content_policy([]), style=asset("page.css"))
    )
