"""Options of ``hypergene predict``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hypergene.errors import UsageError
from hypergene.pipeline.options import as_tuple
from hypergene.spots import layout_named
from hypergene.zoo import DEFAULT_MODEL

Dtype = Literal["float16", "float32"]
Auto = Literal["auto"]


@dataclass(frozen=True)
class PredictOptions:
    """Options of :func:`hypergene.predict`, named as on the command line.

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
        :func:`hypergene.pipeline.predict.predict_to_file` also draws them in ``<stem>.qc.png``.
    genes
        Symbols to predict; None = all the model knows. Others are not computed.
    dtype
        In which expression and spread are written. ``"float16"`` takes half the room and keeps
        three digits.
    format
        Kind of file written.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    compile
        Compile the image encoder with ``torch.compile``.
    batch_size
        Tiles encoded at once, at most; ``"auto"`` = what suits the device and fits its memory.
    workers
        Threads that read tiles; ``"auto"`` = 2 beside a CPU that encodes, all of them beside a
        GPU.
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
    dtype: Dtype = "float32"
    format: Literal["zarr", "h5ad"] = "zarr"
    device: str = "auto"
    compile: bool = False
    batch_size: int | Auto = "auto"
    workers: int | Auto = "auto"
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Take genes as any sequence of texts, or one, and paths as text or not."""
        object.__setattr__(self, "model", os.fspath(self.model))
        if self.coords is not None:
            object.__setattr__(self, "coords", Path(self.coords))
        if self.layout is not None:  # a slip is said before any work, and before a comparison
            layout_named(self.layout, diameter_um=self.diameter_um, pitch_um=self.pitch_um)
        if self.genes is not None:
            object.__setattr__(self, "genes", as_tuple(self.genes))
        if self.dtype not in get_args(Dtype):
            raise UsageError(
                f"Predictions cannot be written as {self.dtype!r}.", hint="Known: float32, float16."
            )
