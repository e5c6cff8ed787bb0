"""``hypergene predict``: a slide in, the expression of every spot out."""

from __future__ import annotations

import difflib
import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from hypergene.errors import SpotsError, UsageError
from hypergene.features.context import Context, context_layout, context_spots
from hypergene.features.device import pick_device, precision_name
from hypergene.features.encode import encode_spots
from hypergene.model.archetypes import Archetypes, Assignment
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.output import atomic_path, write_anndata
from hypergene.pipeline.gene_table import calibration_of, gene_table
from hypergene.pipeline.options import as_tuple
from hypergene.pipeline.outcome import Outcome, Stopwatch
from hypergene.pipeline.placement import (
    SpotsOnTissue,
    place_spots,
    slide_images,
    spot_quality,
    spot_table,
)
from hypergene.pipeline.provenance import provenance, text_array
from hypergene.pipeline.slide_card import sentence, slide_card
from hypergene.report.quality_map import save_quality_map
from hypergene.slide import Slide, open_slide
from hypergene.spots import Layout, Spots, layout_named
from hypergene.st import UNITS
from hypergene.zoo import DEFAULT_MODEL, find_model, load_model, weights_sha256

log = logging.getLogger(__name__)

_SPOTS_PER_BLOCK = 1024


@dataclass(frozen=True)
class PredictOptions:
    """Options of :func:`predict`, named as on the command line.

    Attributes
    ----------
    model
        Name or folder of a model, or ``hf-hub:org/name``.
    layout
        A name that :func:`hypergene.spots.layout_named` knows; None = the lattice the model was
        trained on.
    diameter_um, pitch_um
        Spot diameter (or side of a square) and centre-to-centre distance in µm; None = the
        layout's own.
    orientation_deg
        By how much the lattice is turned about its centre, degrees, clockwise.
    offset_um
        (x, y) where the lattice starts, µm from the slide's top left corner; None = centred.
    coords
        A file of spot centres instead of a lattice.
    mpp
        Microns per pixel of level 0, over the slide's own word.
    tissue
        ``"auto"``, ``"none"``, the name of a plugin, or a mask as a picture or GeoJSON.
    min_tissue
        Least share of a laid spot's area on tissue, 0..1.
    qc
        Measure focus, pen, saturation and brightness of the spots, into ``obs``;
        :func:`predict_to_file` also draws them in ``<stem>.qc.png``.
    genes
        Symbols to predict; None = all the model knows.
    format
        Kind of file written.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    batch_size
        Tiles encoded at once.
    workers
        Threads that read tiles.
    seed
        Of torch; prediction itself draws nothing.
    overwrite
        Replace an output that exists.
    """

    model: str = DEFAULT_MODEL
    layout: str | None = None
    diameter_um: float | None = None
    pitch_um: float | None = None
    orientation_deg: float = 0.0
    offset_um: tuple[float, float] | None = None
    coords: Path | None = None
    mpp: float | None = None
    tissue: str = "auto"
    min_tissue: float = 0.25
    qc: bool = False
    genes: tuple[str, ...] | None = None
    format: Literal["zarr", "h5ad"] = "zarr"
    device: str = "auto"
    batch_size: int = 64
    workers: int = 2
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Take genes as any sequence of texts, or one."""
        if self.genes is not None:
            object.__setattr__(self, "genes", as_tuple(self.genes))


def predict(slide: str | Path, options: PredictOptions | None = None, **overrides: Any) -> AnnData:
    """Predict the expression of every spot of tissue on a slide.

    Parameters
    ----------
    slide
        The slide file.
    options
        See :class:`PredictOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    AnnData
        n spots × genes. ``X``: float32, predicted natural log1p of counts per 10,000;
        ``layers["std"]``: its predicted standard deviation; ``obs``: in_tissue, array_row,
        array_col, tissue_fraction, ood_score (share of training spots less unusual, 0..1), radius,
        and with a model that has archetypes: archetype, archetype_0 …, archetype_ood; with ``qc``
        focus, pen, saturation and brightness (:class:`hypergene.slide.SpotQuality`);
        ``var``: heldout_pcc, ceiling_pcc, reliable, and with a model that has their intervals:
        heldout_low, heldout_high, coverage_80, reliability; ``obsm``: spatial (x, y) in level-0 px
        and X_hypergene; ``uns``: spatial (squidpy's) and hypergene (how this was made).

    Raises
    ------
    HypergeneError
        If the slide, the resolution, the spots or the model cannot be used as asked.

    Examples
    --------
    >>> import hypergene
    >>> adata = hypergene.predict("slide.svs", genes=("ERBB2", "CD3E"))  # doctest: +SKIP
    """
    options = replace(options or PredictOptions(), **overrides)
    watch = Stopwatch()
    with watch("open"):
        opened = open_slide(slide, mpp=options.mpp)
    with opened:
        adata, _ = _predict(opened, options, watch)
    return adata


def predict_to_file(
    slide: str | Path,
    out: str | Path | None = None,
    options: PredictOptions | None = None,
    *,
    name: str | None = None,
) -> Outcome:
    """Predict a slide and write ``<stem>.zarr`` (or ``.h5ad``), with ``qc`` also ``<stem>.qc.png``.

    The files appear under their names when they are whole, or not at all.

    Parameters
    ----------
    slide
        The slide file.
    out
        Folder for the output; None = beside the slide.
    options
        See :class:`PredictOptions`.
    name
        Of the output instead of the slide's stem.

    Raises
    ------
    HypergeneError
        As :func:`predict`, and if the output exists or cannot be written.
    """
    slide, options = Path(slide), options or PredictOptions()
    folder = slide.parent if out is None else Path(out)
    target = folder / f"{name or slide.stem}.{options.format}"
    watch = Stopwatch()
    with watch("open"):
        opened = open_slide(slide, mpp=options.mpp)
    maps = folder / f"{name or slide.stem}.qc.png"
    with (
        opened,
        atomic_path(maps, overwrite=options.overwrite) if options.qc else nullcontext() as drawn,
        atomic_path(target, overwrite=options.overwrite) as draft,
    ):
        adata, warnings = _predict(opened, options, watch)
        with watch("write"):
            write_anndata(adata, draft, format=options.format, overwrite=True)
            if drawn is not None:
                save_quality_map(adata, drawn)
    return Outcome(
        slide=slide,
        output=target,
        spots=adata.n_obs,
        genes=adata.n_vars,
        seconds=watch.seconds,
        warnings=warnings,
    )


def _predict(slide: Slide, options: PredictOptions, watch: Stopwatch) -> tuple[AnnData, list[str]]:
    """Predict an open slide; return the table, and what a careful user wants to read about it."""
    device = pick_device(options.device)
    torch.manual_seed(options.seed)
    with watch("model"):
        model, sha256 = _load(options.model, device)
        genes = _gene_numbers(model.config, options.genes)
    with watch("spots"):
        placed = place_spots(
            slide,
            _layout(options, model.config),
            coords=options.coords,
            tissue=options.tissue,
            min_tissue=options.min_tissue,
            offset_um=options.offset_um,
        )
        around = context_spots(slide, placed.mask, model.config)
    log.info("%s: %s spots", slide.path.name, f"{len(placed.spots):,}")
    encoded = _encode(slide, model, placed.spots, around, options, device, watch)
    with watch("predict"):
        adata = _read_out(model, placed, encoded, genes, options, device)
    if options.qc:
        with watch("quality"):
            quality = spot_quality(slide, placed.spots, workers=options.workers)
        adata.obs = adata.obs.assign(**quality.columns())
    with watch("images"):
        adata.uns["spatial"] = slide_images(slide, placed.spots.layout)
    card, warnings = slide_card(slide, placed.mask, adata, model)
    log.info("%s: %s", slide.path.name, sentence(card))
    about = model.config.provenance
    encoder = model.config.encoder
    adata.uns["hypergene"] = {
        **provenance(
            slide=slide.path,
            mpp=slide.mpp,
            layout=placed.spots.layout,
            tissue=placed.mask.source,
            arguments=asdict(options),
            seconds=watch.seconds,
        ),
        "model": {
            **about.model_dump(mode="json", include={"name", "revision", "licence", "tissue"}),
            "sha256": sha256,
        },
        "tile_um": np.array(encoder.tile_um),
        "tile_px": encoder.tile_px,
        "units": UNITS,
        "calibration": calibration_of(model),
        "device": str(device),
        "precision": precision_name(device),
        "seed": options.seed,
        "card": card,
        "warnings": text_array(warnings),
    }
    return adata, warnings


def _load(name: str | Path, device: torch.device) -> tuple[HyperGene, str]:
    """Load a model, once for all slides of a call; return it with the sha256 of its weights."""
    folder = find_model(name).resolve()
    # A model that was replaced in the meantime is loaded again.
    files = (folder / "config.json", folder / "model.safetensors")
    stamps = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
    return _loaded(folder, stamps, str(device))


@lru_cache(maxsize=1)
def _loaded(folder: Path, stamps: tuple[int, ...], device: str) -> tuple[HyperGene, str]:
    return load_model(folder, device=device), weights_sha256(folder)


def _layout(options: PredictOptions, config: ModelConfig) -> Layout:
    """Return the layout that is asked for, or else the model's own, in the sizes asked for."""
    sizes = {"diameter_um": options.diameter_um, "pitch_um": options.pitch_um}
    if options.layout is not None:
        return layout_named(options.layout, **sizes, orientation_deg=options.orientation_deg)
    given = {name: value for name, value in sizes.items() if value is not None}
    given["orientation_deg"] = options.orientation_deg
    try:
        return replace(context_layout(config), **given)  # type: ignore[arg-type]
    except SpotsError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _gene_numbers(config: ModelConfig, wanted: tuple[str, ...] | None) -> NDArray[np.int64]:
    """Return the places of the wanted genes in the model's list, in the order asked for."""
    known = {gene: number for number, gene in enumerate(config.genes)}
    if wanted is None:
        return np.arange(len(known))
    if not wanted:
        raise UsageError("No gene is asked for.", hint="Leave --genes out to predict all.")
    unknown = [gene for gene in wanted if gene not in known]
    if unknown:
        listed = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        close = difflib.get_close_matches(unknown[0].upper(), known, n=3)
        raise UsageError(
            f"The model {config.provenance.name} does not know {len(unknown)} of the "
            f"{len(wanted)} genes asked for: {listed}.",
            hint=f"Close to {unknown[0]}: {', '.join(close)}."
            if close
            else f"It knows {len(known):,} symbols, listed in its config.json.",
        )
    return np.array([known[gene] for gene in dict.fromkeys(wanted)])


class _Encoded(NamedTuple):
    """Features of the spots asked for, (n, features) float32 and not centred; their context.

    Rows of those spots that could not be read whole.
    """

    features: NDArray[np.float32]
    context: Context
    unreadable: NDArray[np.int64]


def _encode(
    slide: Slide,
    model: HyperGene,
    asked: Spots,
    around: Spots,
    options: PredictOptions,
    device: torch.device,
    watch: Stopwatch,
) -> _Encoded:
    """Encode the spots asked for and those of the context, each place once."""
    places, rows = np.unique(
        np.concatenate([around.xy_px, asked.xy_px]), axis=0, return_inverse=True
    )
    context_rows, asked_rows = np.split(rows.ravel(), [len(around)])
    encoder = model.config.encoder
    tiles = len(places) * len(encoder.tile_um)
    with tqdm(total=tiles, desc=slide.path.name, unit="tile", disable=None) as bar:
        encoding = encode_spots(
            slide,
            places,
            model.encoder,
            tile_um=encoder.tile_um,
            tile_px=encoder.tile_px,
            device=device,
            batch_size=options.batch_size,
            workers=options.workers,
            progress=bar.update,
        )
    watch.seconds |= {"read": encoding.reading_s, "encode": encoding.encoding_s}
    return _Encoded(
        encoding.features[asked_rows],
        Context.of(around.xy_um, encoding.features[context_rows], model.config),
        np.flatnonzero(np.isin(asked_rows, encoding.unreadable)),
    )


@torch.inference_mode()
def _read_out(
    model: HyperGene,
    placed: SpotsOnTissue,
    encoded: _Encoded,
    genes: NDArray[np.int64],
    options: PredictOptions,
    device: torch.device,
) -> AnnData:
    """Read expression, spread, embedding and scores of the asked spots, block by block."""
    n = len(placed.spots)
    columns = torch.from_numpy(genes).to(device)
    expression = np.empty((n, len(genes)), np.float32)
    spread = np.empty_like(expression)
    embedding = np.empty((n, model.config.geometry.dim), np.float32)
    radius, unusual = np.empty(n, np.float32), np.empty(n, np.float32)
    xy_um = placed.spots.xy_um
    for start in range(0, n, _SPOTS_PER_BLOCK):
        rows = slice(start, start + _SPOTS_PER_BLOCK)
        raw = torch.from_numpy(encoded.features[rows]).to(device)
        mean = torch.from_numpy(encoded.context.mean).to(device)
        reading = model(raw - mean, encoded.context.around(xy_um[rows], device))
        decode = model.modules_to_genes
        expression[rows] = decode.expression(reading.scores.mean, columns).cpu().numpy()
        spread[rows] = decode.spread(reading.scores.log_variance, columns).cpu().numpy()
        embedding[rows] = reading.image.spot.cpu().numpy()
        radius[rows] = model.space.radius(reading.image.spot).cpu().numpy()
        unusual[rows] = model.reference(raw).cpu().numpy()
    obs = spot_table(placed, min_tissue=options.min_tissue, unreadable=encoded.unreadable)
    obs["ood_score"], obs["radius"] = unusual, radius
    if model.archetypes is not None:
        points = torch.from_numpy(embedding).to(device)
        obs = obs.assign(**_likened(model.archetypes, points, model.space.curvature))
    return AnnData(
        expression,
        obs=obs,
        var=gene_table(model, genes),
        layers={"std": spread},
        obsm={"spatial": placed.spots.xy_px, "X_hypergene": embedding},
    )


def _likened(archetypes: Archetypes, points: Tensor, curvature: Tensor) -> dict[str, Any]:
    """Return the columns of ``obs`` that liken image points (n, dim) to the archetypes."""
    assigned: Assignment = archetypes(points, curvature)
    weights = assigned.weights.cpu().numpy()
    names = [str(k) for k in range(len(archetypes))]
    return {
        "archetype": pd.Categorical.from_codes(weights.argmax(1), categories=names),
        **{f"archetype_{name}": weights[:, k] for k, name in enumerate(names)},
        "archetype_ood": archetypes.percentile(assigned.nearest).cpu().numpy(),
    }
