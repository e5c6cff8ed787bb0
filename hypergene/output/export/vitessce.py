"""A folder that Vitessce shows: a view config, the prediction, the slide small, and a page."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hypergene.output.atomic import atomic_path
from hypergene.output.export.chosen import Chosen, best_predicted
from hypergene.output.store import ZARR_FORMAT, Store, open_store

CONFIG_VERSION = "1.0.17"
"""Of the view config: the one before the newest, which Vitessce 3.9 and later read as it is."""

VITESSCE = "4.0.8"
"""What the page fetches, and what it was looked at with."""

DATA, IMAGE, CONFIG, PAGE = "prediction.zarr", "he.ome.zarr", "vitessce.json", "index.html"

FEATURE = "predicted gene"
"""What Vitessce calls the genes; of a plain ``gene`` it would fetch descriptions from afar."""

_GENES_OF_A_CHUNK, _SPOTS_OF_A_CHUNK = 4, 2**16
"""One gene is fetched at a time: of 50,000 spots its chunk is 0.8 MB."""

_VALUES_AT_ONCE = 2**24
_IMAGE_PX = 512


def write_vitessce(chosen: Chosen, path: Path, *, overwrite: bool = False) -> None:
    """Write a folder with ``vitessce.json``, the data it names and ``index.html``.

    ``prediction.zarr`` is an AnnData (``X``, ``obs``, ``var``, ``obsm["spatial_um"]``) cut into
    chunks of few genes, ``he.ome.zarr`` the slide small as OME-Zarr 0.5; both are of Zarr format 3
    and in µm from the slide's top left corner. Served from one address, the page shows them.

    Parameters
    ----------
    chosen
        The prediction and its genes.
    path
        The folder.
    overwrite
        Whether an earlier one may be replaced.

    Raises
    ------
    OutputError
        If the folder exists and may not be replaced, or cannot be written.
    DataError
        If the prediction is damaged.

    References
    ----------
    Vitessce (Keller et al., Nature Methods 2024), view config schema 1.0.17; OME-NGFF 0.5.
    """
    with atomic_path(path, overwrite=overwrite) as draft:
        draft.mkdir()
        _write_anndata(chosen, draft / DATA)
        _write_image(chosen, draft / IMAGE)
        config = json.dumps(_config(chosen), ensure_ascii=False, indent=1)
        (draft / CONFIG).write_text(config, encoding="utf-8")
        (draft / PAGE).write_text(_page(chosen), encoding="utf-8")


def _write_anndata(chosen: Chosen, path: Path) -> None:
    n, g = len(chosen), len(chosen.genes)
    with open_store(path, "zarr") as store:
        var = chosen.prediction.var.loc[list(chosen.genes)]
        parts: dict[str, Any] = {
            "obs": chosen.prediction.obs,
            "var": var,
            "uns": {"hypergene": chosen.about},
            "obsm": {"spatial_um": chosen.spots.xy_um.astype(np.float32)},
            **{parent: {} for parent in ("layers", "varm", "obsp", "varp")},
        }
        for key, element in parts.items():
            store.write(key, element)
        _write_expression(chosen, store, n, g)
        store.group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def _write_expression(chosen: Chosen, store: Store, n: int, g: int) -> None:
    matrix = store.group.create_array(
        "X",
        shape=(n, g),
        chunks=(max(1, min(n, _SPOTS_OF_A_CHUNK)), max(1, min(g, _GENES_OF_A_CHUNK))),
        dtype=np.float32,
        attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
    )
    step = max(1, _VALUES_AT_ONCE // max(1, n) // _GENES_OF_A_CHUNK) * _GENES_OF_A_CHUNK
    for start in range(0, g, step):
        some = chosen.genes[start : start + step]
        matrix[:, start : start + len(some)] = chosen.prediction.read(some, layers=()).X


def _write_image(chosen: Chosen, path: Path) -> None:
    import zarr

    image = chosen.hires
    height, width = image.shape[:2]
    (full_width, full_height), (mpp_x, mpp_y) = chosen.size_px, chosen.mpp
    scale = [1.0, full_height / height * mpp_y, full_width / width * mpp_x]
    group = zarr.open_group(path, mode="w", zarr_format=ZARR_FORMAT)
    array = group.create_array(
        "0",
        shape=(3, height, width),
        chunks=(1, min(_IMAGE_PX, height), min(_IMAGE_PX, width)),
        dtype=np.uint8,
        dimension_names=("c", "y", "x"),
    )
    array[:] = np.moveaxis(image, -1, 0)
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    channels = [("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF")]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": "H&E",
                "axes": [
                    {"name": "c", "type": "channel"},
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                ],
            }
        ],
        "omero": {
            "channels": [
                {"label": label, "color": colour, "window": window, "active": True}
                for label, colour in channels
            ],
            "rdefs": {"model": "color"},
        },
    }


def _config(chosen: Chosen) -> dict[str, Any]:
    options: dict[str, Any] = {
        "obsSpots": {"path": "obsm/spatial_um"},
        "obsFeatureMatrix": {"path": "X"},
    }
    sets = [
        {"name": str(name), "path": f"obs/{name}"}
        for name, values in chosen.prediction.obs.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
    ]
    if sets:
        options["obsSets"] = sets
    files = [
        {
            "fileType": "anndata.zarr",
            "url": DATA,
            "options": options,
            "coordinationValues": {
                "obsType": "spot",
                "featureType": FEATURE,
                "featureValueType": "predicted expression",
            },
        },
        {"fileType": "image.ome-zarr", "url": IMAGE, "coordinationValues": {"fileUid": "he"}},
    ]
    return {
        "version": CONFIG_VERSION,
        "name": f"Predicted expression, {chosen.slide}",
        "description": chosen.statement,
        "datasets": [{"uid": "A", "name": chosen.slide, "files": files}],
        "initStrategy": "auto",
        "coordinationSpace": _coordination(chosen),
        "layout": _layout(with_sets=bool(sets)),
    }


def _coordination(chosen: Chosen) -> dict[str, Any]:
    """Return what the views share: spots over one image, coloured by the best predicted gene."""
    single = {
        "dataset": "A",
        "obsType": "spot",
        "featureType": FEATURE,
        "featureValueType": "predicted expression",
        "obsColorEncoding": "geneSelection",
        "featureSelection": list(best_predicted(chosen.prediction, chosen.genes, 1)),
        "featureValueColormap": "viridis",
        "featureValueColormapRange": [0, 1],
    }
    spots = {
        "spatialLayerVisible": True,
        "spatialLayerOpacity": 0.9,
        "spatialSpotRadius": chosen.spots.layout.diameter_um / 2,
        "tooltipsVisible": True,
    }
    image = {
        "fileUid": "he",
        "spatialLayerVisible": True,
        "spatialLayerOpacity": 1,
        "photometricInterpretation": "RGB",
    }
    of_spots = [name for name in single if name != "dataset"]
    space: dict[str, dict[str, Any]] = {name: {"shared": value} for name, value in single.items()}
    for layer, values in (("spots", spots), ("image", image)):
        for name, value in values.items():
            space.setdefault(name, {})[layer] = value
    space["spotLayer"] = {"spots": "__dummy__"}
    space["imageLayer"] = {"image": "__dummy__"}
    everywhere = dict.fromkeys(single, "shared")
    space["metaCoordinationScopes"] = {
        "all": {**everywhere, "spotLayer": ["spots"], "imageLayer": ["image"]}
    }
    space["metaCoordinationScopesBy"] = {
        "all": {
            "spotLayer": {
                **{name: {"spots": "spots"} for name in spots},
                **{name: {"spots": "shared"} for name in of_spots},
            },
            "imageLayer": {name: {"image": "image"} for name in image},
        }
    }
    return space


def _layout(*, with_sets: bool) -> list[dict[str, Any]]:
    scopes = {"metaCoordinationScopes": ["all"], "metaCoordinationScopesBy": ["all"]}
    views = [
        ("spatialBeta", 0, 0, 8, 12),
        ("featureList", 8, 0, 4, 5 if with_sets else 7),
        *([("obsSets", 8, 5, 4, 2)] if with_sets else []),
        ("layerControllerBeta", 8, 7, 4, 3),
        ("description", 8, 10, 4, 2),
    ]
    return [
        {"component": component, "coordinationScopes": scopes, "x": x, "y": y, "w": w, "h": h}
        for component, x, y, w, h in views
    ]


def _page(chosen: Chosen) -> str:
    """Return a page that shows the folder it stands in; the viewer itself comes from a network."""
    title = html.escape(f"Predicted expression, {chosen.slide}")
    modules = {
        "react": "https://esm.sh/react@18.3.1",
        "react/jsx-runtime": "https://esm.sh/react@18.3.1/jsx-runtime",
        "react-dom": "https://esm.sh/react-dom@18.3.1?external=react",
        "react-dom/client": "https://esm.sh/react-dom@18.3.1/client?external=react",
        "vitessce": f"https://unpkg.com/vitessce@{VITESSCE}/dist/index.min.js",
    }
    return _PAGE.format(title=title, modules=json.dumps({"imports": modules}), config=CONFIG)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
html, body, #view {{ margin: 0; height: 100%; background: Canvas; color: CanvasText; }}
p {{ font: 1rem sans-serif; margin: 2rem; }}
</style>
<script type="importmap">{modules}</script>
</head>
<body>
<div id="view"><p>Vitessce is fetched from unpkg.com. If nothing comes, see that this page was
opened from a web server (<code>python -m http.server</code>) on a machine with a network.</p></div>
<script type="module">
import {{ createElement }} from "react";
import {{ createRoot }} from "react-dom/client";
import {{ Vitessce }} from "vitessce";
const config = await (await fetch("{config}")).json();
const here = (url) => new URL(url, document.baseURI).href;
for (const dataset of config.datasets)
  for (const file of dataset.files) file.url = here(file.url);
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const root = createRoot(document.getElementById("view"));
const height = window.innerHeight;
root.render(createElement(Vitessce, {{ config, theme, height }}));
</script>
</body>
</html>
"""
