"""What a prediction says about itself, once all spots have been read."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from hypergene.features.device import precision_name
from hypergene.pipeline.gene_table import calibration_of, gene_table
from hypergene.pipeline.inputs import SlideInput
from hypergene.pipeline.outcome import Stopwatch, wait_share
from hypergene.pipeline.placement import slide_images, spot_quality, spot_table
from hypergene.pipeline.prediction.encode import Encoded, readers
from hypergene.pipeline.prediction.options import PredictOptions
from hypergene.pipeline.prediction.plan import Plan
from hypergene.pipeline.prediction.readout import SpotScores
from hypergene.pipeline.provenance import provenance, text_array
from hypergene.pipeline.slide_card import sentence, slide_card
from hypergene.st import UNITS

log = logging.getLogger(__name__)


def describe(
    found: SlideInput,
    plan: Plan,
    encoded: Encoded,
    scores: SpotScores,
    options: PredictOptions,
    watch: Stopwatch,
) -> tuple[dict[str, Any], list[str]]:
    """Return the parts of the AnnData that are no predicted matrix.

    Returns
    -------
    parts
        ``obs``, ``var``, ``uns`` and ``obsm`` (spatial).
    warnings
        What a careful user wants to read about the slide.
    """
    slide, model, placed = found.slide, plan.model, plan.placed
    obs = spot_table(placed, min_tissue=options.min_tissue, unreadable=encoded.unreadable)
    obs = obs.assign(**scores.columns())
    if options.qc:
        with watch("quality"):
            workers = readers(options, plan.device)
            quality = spot_quality(slide, placed.spots, workers=workers)
        obs = obs.assign(**quality.columns())
    with watch("images"):
        images = slide_images(slide, placed.spots.layout)
    card, warnings = slide_card(slide, placed.mask, obs, model)
    log.info("%s: %s", slide.path.name, sentence(card))
    about = model.config.provenance
    encoder, held_out = model.config.encoder, model.config.held_out
    made = {
        **provenance(
            slide=slide.path,
            mpp=slide.mpp,
            layout=placed.spots.layout,
            tissue=placed.mask.source,
            arguments=found.arguments(options),
            seconds=watch.seconds,
        ),
        "wait_share": wait_share(watch.seconds),
        "batch_size": encoded.batch_size,
        "model": {
            **about.model_dump(
                mode="json", include={"name", "revision", "licence", "tissue", "validation"}
            ),
            "interval": "none" if held_out is None else held_out.interval,
            "sha256": plan.sha256,
        },
        "tile_um": np.array(encoder.tile_um),
        "tile_px": encoder.tile_px,
        "units": UNITS,
        "calibration": calibration_of(model),
        "device": str(plan.device),
        "precision": precision_name(plan.device),
        "seed": options.seed,
        "card": card,
        "warnings": text_array(warnings),
    }
    parts: dict[str, Any] = {
        "obs": obs,
        "var": gene_table(model, plan.genes),
        "uns": {"spatial": images, "hypergene": made},
        "obsm": {"spatial": placed.spots.xy_px},
    }
    return parts, warnings
