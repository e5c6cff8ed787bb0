"""What is to be predicted of a slide, and with what; no tile is read yet."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hypergene.errors import SpotsError, UsageError
from hypergene.features.context import context_layout, context_spots
from hypergene.features.device import pick_device
from hypergene.features.machine import fit_threads
from hypergene.model.config import ModelConfig
from hypergene.model.network import HyperGene
from hypergene.pipeline.inputs import SlideInput
from hypergene.pipeline.outcome import Stopwatch
from hypergene.pipeline.placement import SpotsOnTissue, place_spots
from hypergene.pipeline.prediction.options import PredictOptions
from hypergene.spots import Layout, Spots, layout_named
from hypergene.zoo import find_model, load_model, weights_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Plan:
    """One slide's prediction before it is made.

    Attributes
    ----------
    model, sha256
        The model on its device, and the checksum of its weights.
    genes
        int64 (g,), places of the wanted genes in the model's list.
    placed
        The n spots asked for.
    around
        The m spots of the model's own lattice, which are their context.
    device
        Where to compute.
    """

    model: HyperGene
    sha256: str
    genes: NDArray[np.int64]
    placed: SpotsOnTissue
    around: Spots
    device: torch.device


def make_plan(found: SlideInput, options: PredictOptions, watch: Stopwatch) -> Plan:
    """Load the model, find the genes, lay the spots.

    Raises
    ------
    HypergeneError
        If the device, the model, the genes or the spots cannot be used as asked.
    """
    slide = found.slide
    device = pick_device(options.device)
    fit_threads()
    torch.manual_seed(options.seed)
    with watch("model"):
        model, sha256 = _load(options.model, device)
        genes = _gene_numbers(model.config, options.genes)
    with watch("spots"):
        placed = place_spots(
            slide,
            _layout(options, model.config),
            coords=found.coords,
            tissue=found.tissue,
            min_tissue=options.min_tissue,
            offset_um=options.offset_um,
        )
        around = context_spots(slide, placed.mask, model.config)
    log.info("%s: %s spots", slide.path.name, f"{len(placed.spots):,}")
    return Plan(model, sha256, genes, placed, around, device)


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
