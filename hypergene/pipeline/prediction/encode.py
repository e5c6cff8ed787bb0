"""The tiles of a slide to features: those of the spots asked for, and of their context."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hypergene.features.batches import automatic_batch
from hypergene.features.context import Context
from hypergene.features.encode import encode_into
from hypergene.features.machine import available_cpus
from hypergene.features.table import FeatureTable, feature_file
from hypergene.pipeline.outcome import Stopwatch
from hypergene.pipeline.prediction.options import PredictOptions
from hypergene.pipeline.prediction.plan import Plan
from hypergene.slide import Slide

_CPU_READERS = 2


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of a slide.

    Attributes
    ----------
    table
        (places, features) float32, not centred.
    rows
        int64 (n,), where in the table the spots asked for are.
    context
        Of the slide, in the same table.
    unreadable
        Rows of the spots asked for that could not be read whole.
    batch_size
        Tiles encoded at once.
    """

    table: FeatureTable
    rows: NDArray[np.int64]
    context: Context
    unreadable: NDArray[np.int64]
    batch_size: int


@dataclass(frozen=True, eq=False)
class Places:
    """Places to be encoded, each once, though a spot and its context may share one.

    Attributes
    ----------
    xy_px
        float64 (places, 2), level-0 px.
    asked, around
        int64 (n,) and (m,), which place is that of each spot asked for, and of the context.
    """

    xy_px: NDArray[np.float64]
    asked: NDArray[np.int64]
    around: NDArray[np.int64]

    @classmethod
    def of(cls, plan: Plan) -> Places:
        """Join the spots asked for and those of the context."""
        every = np.concatenate([plan.around.xy_px, plan.placed.spots.xy_px])
        # As complex numbers, since sorting rows takes several times the time and memory; by y and
        # then x, so that a row of a lattice, with its rim, lies together in the table.
        yx = np.ascontiguousarray(every[:, ::-1]).view(np.complex128).ravel()
        points, rows = np.unique(yx, return_inverse=True)
        around, asked = np.split(rows.ravel(), [len(plan.around)])
        return cls(points.view(np.float64).reshape(-1, 2)[:, ::-1], asked, around)


def room_for_features(
    plan: Plan, places: Places, folder: Path | None
) -> AbstractContextManager[FeatureTable]:
    """Make room for the features of all places, in a nameless file on a disk or in memory.

    Parameters
    ----------
    plan, places
        What is to be encoded.
    folder
        On which disk; None = in memory.

    Raises
    ------
    OSError
        The disk has no room.
    """
    shape = (len(places.xy_px), plan.model.encoder.features)
    if folder is None:
        return nullcontext(np.zeros(shape, np.float32))
    return feature_file(folder, *shape)


def encode(
    slide: Slide,
    plan: Plan,
    places: Places,
    table: FeatureTable,
    options: PredictOptions,
    watch: Stopwatch,
) -> Encoded:
    """Encode all places of a slide into a table, each once.

    Raises
    ------
    HypergeneError
        As :func:`hypergene.features.encode.encode_into`.
    """
    config, device = plan.model.config, plan.device
    batch_size = options.batch_size
    if batch_size == "auto":
        batch_size = automatic_batch(device, config.encoder.tile_px)
    tiles = len(places.xy_px) * len(config.encoder.tile_um)
    with tqdm(total=tiles, desc=slide.path.name, unit="tile", disable=None) as bar:
        effort = encode_into(
            table,
            slide,
            places.xy_px,
            plan.model.encoder,
            tile_um=config.encoder.tile_um,
            tile_px=config.encoder.tile_px,
            device=device,
            batch_size=batch_size,
            workers=readers(options, device),
            compile=options.compile,
            progress=bar.update,
        )
    watch.seconds |= {"read": effort.reading_s, "encode": effort.encoding_s}
    return Encoded(
        table,
        places.asked,
        Context.of(plan.around.xy_um, table, config, places.around),
        np.flatnonzero(np.isin(places.asked, effort.unreadable)),
        effort.batch_size,
    )


def readers(options: PredictOptions, device: torch.device) -> int:
    """Return how many threads read tiles: all beside a GPU, few beside a CPU that encodes."""
    if options.workers != "auto":
        return options.workers
    cpus = available_cpus()
    return cpus if device.type == "cuda" else min(_CPU_READERS, cpus)
