"""The page of a prediction: one HTML file that opens from disk and asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from bokeh.palettes import Cividis256, Colorblind, TolRainbow, Viridis256
from markupsafe import Markup

from hypergene.report.gene_reliability import MEANING, gene_reliability, held_out_sentence
from hypergene.report.packed_columns import PackedColumn, decimals_for, pack, pack_names, summary_of
from hypergene.report.page_parts import (
    asset,
    content_policy,
    environment,
    jpeg_uri,
    json_in_script,
)
from hypergene.report.run_facts import run_facts
from hypergene.report.spot_columns import SpotColumn, spot_columns
from hypergene.report.spot_map import map_scripts, spot_map

_EXPRESSION_LEVELS = 400
"""At least so many values of a gene are told apart on the page: 9 to 12 bits."""
_SPREAD_LEVELS = 50
"""Likewise of its spread: 6 to 9 bits."""
_PLACE_DECIMALS = 1
"""Of places in px of level 0."""
_IMAGE_PX = 2000


@dataclass(frozen=True)
class _Packed:
    """Texts to stand in script tags by their ids, and what the page's script knows of them."""

    texts: dict[str, str]
    about: dict[str, Any]


def prediction_page(
    adata: AnnData,
    *,
    name: str,
    spots_in_file: int,
    genes_in_file: int,
    chosen_by: str,
    warnings: Sequence[str] = (),
    index: str | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    adata
        The spots and genes to show, of a prediction: dense ``X`` and, if there,
        ``layers["std"]``, with hypergene's ``obs``, ``var``, ``obsm["spatial"]`` and ``uns``.
    name
        What the page is called: the prediction's name.
    spots_in_file, genes_in_file
        How many the prediction has in all.
    chosen_by
        How those on the page were chosen, to stand behind "200 of 9,731 genes, ".
    warnings
        What else a reader should know of the page, beside the prediction's own warnings.
    index
        Name of the index page beside it; None = there is none.

    Returns
    -------
    str
        HTML with everything inside.

    Raises
    ------
    DataError
        If a value is beyond what a page can hold.
    """
    about = adata.uns["hypergene"]
    library = next(iter(adata.uns["spatial"].values()))
    packed = _pack(adata, about, library)
    scripts = [*map_scripts(), asset("prediction.js")]
    card = about.get("card", {})
    return (
        environment()
        .get_template("prediction.html")
        .render(
            name=name,
            index=index,
            policy=content_policy(scripts, evaluates=True),
            scripts=[Markup(text) for text in scripts],
            style=asset("page.css"),
            page=json_in_script(packed.about),
            map=json_in_script(_map(about, library)),
            packed=packed.texts,
            genes=[gene | {"number": number} for number, gene in enumerate(packed.about["genes"])],
            columns=packed.about["columns"],
            has_spread="std" in adata.layers,
            has_image=_image(library) is not None,
            spots=adata.n_obs,
            spots_in_file=spots_in_file,
            genes_in_file=genes_in_file,
            chosen_by=chosen_by,
            units=str(about.get("units", "unknown")),
            model=_names(about, "model"),
            mpp=_names(about, "mpp"),
            verdict=str(card.get("verdict", "unknown")),
            reasons=[str(reason) for reason in card.get("reasons", ())],
            warnings=[*map(str, about.get("warnings", ())), *warnings],
            card=run_facts(card, without=("verdict", "reasons")),
            facts=run_facts(about, without=("card", "warnings")),
            held_out=held_out_sentence(about),
            calibration=str(about.get("calibration", "unknown")),
        )
    )


def _pack(adata: AnnData, about: Mapping[str, Any], library: Mapping[str, Any]) -> _Packed:
    """Pack places, names, genes and columns of the spots."""
    texts = {"names": pack_names(list(adata.obs_names))}

    def keep(key: str, column: PackedColumn) -> dict[str, int]:
        texts[key] = column.text
        return column.about()

    xy = np.asarray(adata.obsm["spatial"], np.float64)
    places = {
        axis: keep(axis, pack(xy[:, number], _PLACE_DECIMALS)) for number, axis in enumerate("xy")
    }
    spreads = adata.layers.get("std")
    reliability = gene_reliability(adata.var)
    genes = []
    for number, (symbol, known) in enumerate(zip(adata.var_names, reliability, strict=True)):
        gene = {"name": str(symbol), **known}
        gene["expression"] = _layer(keep, f"g{number}", adata.X[:, number], _EXPRESSION_LEVELS)
        if spreads is not None:
            gene["spread"] = _layer(keep, f"s{number}", spreads[:, number], _SPREAD_LEVELS)
        genes.append(gene)
    columns = [
        _spot_layer(keep, f"c{number}", column)
        for number, column in enumerate(spot_columns(adata.obs))
    ]
    mpp = _mpp(about)
    scale = _scale(library)
    return _Packed(
        texts,
        {
            "spots": adata.n_obs,
            "units": str(about.get("units", "unknown")),
            "mm_per_px": [mpp[0] / 1000, mpp[1] / 1000],
            "diameter_mm": scale * mpp[0] / 1000,
            "places": places,
            "genes": genes,
            "columns": columns,
            "palettes": {"viridis": list(Viridis256), "cividis": list(Cividis256)},
            "meaning": MEANING,
        },
    )


def _layer(keep: Any, key: str, values: Any, levels: int) -> dict[str, Any]:
    numbers = np.asarray(values, np.float64).ravel()
    decimals = decimals_for(numbers, levels)
    return {"id": key, **keep(key, pack(numbers, decimals)), **summary_of(numbers)}


def _spot_layer(keep: Any, key: str, column: SpotColumn) -> dict[str, Any]:
    layer = _layer(keep, key, column.values, 1 if column.categories else _EXPRESSION_LEVELS)
    if column.limits is not None:
        layer["low"], layer["high"] = column.limits
    palette: Sequence[str] = ()
    if column.categories:
        palette = _category_colours(len(column.categories))
    return layer | {
        "key": column.key,
        "label": column.label,
        "unit": column.unit,
        "categories": list(column.categories),
        "palette": list(palette),
    }


def _category_colours(count: int) -> Sequence[str]:
    """Return colours that colour-blind readers tell apart, as far as there are so many."""
    if count <= 8:
        return tuple(Colorblind[max(count, 3)][:count])
    if count <= max(TolRainbow):
        return tuple(TolRainbow[count])
    return tuple(Viridis256[round(at)] for at in np.linspace(0, 255, count))


def _map(about: Mapping[str, Any], library: Mapping[str, Any]) -> dict[str, Any]:
    mpp = _mpp(about)
    layout = about.get("layout", {})
    image = _image(library)
    size = library.get("metadata", {})
    width, height = (float(size.get(f"fullres_{side}_px", 1000)) for side in ("width", "height"))
    return spot_map(
        image=None if image is None else jpeg_uri(image, longest_px=_IMAGE_PX),
        slide_mm=(width * mpp[0] / 1000, height * mpp[1] / 1000),
        shape=str(layout.get("shape", "circle")),
        diameter_mm=_scale(library) * mpp[0] / 1000,
        orientation_deg=float(layout.get("orientation_deg", 0.0)),
    )


def _image(library: Mapping[str, Any]) -> Any:
    return library.get("images", {}).get("hires")


def _scale(library: Mapping[str, Any]) -> float:
    return float(library["scalefactors"]["spot_diameter_fullres"])


def _mpp(about: Mapping[str, Any]) -> tuple[float, float]:
    return float(about["mpp"]["x"]), float(about["mpp"]["y"])


def _names(about: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = about.get(key, {})
    return dict(value) if isinstance(value, Mapping) else {}
