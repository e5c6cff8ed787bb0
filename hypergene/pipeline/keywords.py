"""The options of the public functions as keywords, so that editors and type checkers know them.

Each is an option of the class of the same name (``PredictKeywords``: ``PredictOptions``), whose
docstring says what it means; a test holds the two together. Texts are allowed for paths, and any
sequence of texts, or one, for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from anndata import AnnData

    from hypergene.evaluation.protocols import ProtocolName
    from hypergene.pipeline.evaluation.others import Units

AnyPath: TypeAlias = "str | PathLike[str]"
Names: TypeAlias = str | Sequence[str]


class _SpotKeywords(TypedDict, total=False):
    diameter_um: float | None
    pitch_um: float | None
    orientation_deg: float
    offset_um: tuple[float, float] | None
    coords: AnyPath | AnnData | None
    mpp: float | None
    tissue: str
    min_tissue: float
    qc: bool
    overwrite: bool


class PredictKeywords(_SpotKeywords, total=False):
    """Keywords of :func:`hypergene.predict`."""

    model: str | PathLike[str]
    layout: str | None
    genes: Names | None
    dtype: Literal["float16", "float32"]
    format: Literal["zarr", "h5ad"]
    device: str
    compile: bool
    batch_size: int | Literal["auto"]
    workers: int | Literal["auto"]
    seed: int


class CohortKeywords(PredictKeywords, total=False):
    """Keywords of :func:`hypergene.predict_cohort`."""

    resume: bool
    engine: Literal["local", "ray"]
    processes: int | None
    address: str | None
    gpus_per_worker: float | None


class TileKeywords(_SpotKeywords, total=False):
    """Keywords of :func:`hypergene.tile`."""

    layout: str
    geojson: bool
    pixels: bool
    width_um: float
    size_px: int
    workers: int


class _TrainingKeywords(TypedDict, total=False):
    recipe: AnyPath | None
    set: Names
    mpp: float | None
    seed: int
    device: str
    cache: AnyPath | None
    workers: int
    overwrite: bool


class FinetuneKeywords(_TrainingKeywords, total=False):
    """Keywords of :func:`hypergene.finetune`."""

    name: str | None
    preset: str
    test: Names
    validation: Names
    epochs: int | None
    tensorboard: bool
    resume: bool


class PretrainKeywords(_TrainingKeywords, total=False):
    """Keywords of :func:`hypergene.pretrain`."""

    without: Names
    epochs: int | None
    minutes: float | None
    pitch_um: float
    most: int
    resume: bool


class EvaluateKeywords(_TrainingKeywords, total=False):
    """Keywords of :func:`hypergene.evaluate`."""

    model: str | PathLike[str] | None
    predictions: AnyPath | None
    cv: Literal["patient", "section"] | None
    preset: str | None
    seeds: int
    units: Units | None
    layer: str | None
    train: AnyPath | None
    only: Names
    genes: Names | None
    genes_list: str | None
    protocol: ProtocolName | None
    gene_sets: AnyPath | None
    labels: AnyPath | None
    replicates: int


class PlotKeywords(TypedDict, total=False):
    """Keywords of :func:`hypergene.plot`."""

    genes: Names | None
    layer: Literal["mean", "std"]
    color: str | None
    image: bool
    title: str | None


class ExportKeywords(TypedDict, total=False):
    """Keywords of :func:`hypergene.export`."""

    genes: Names | None
    max_genes: int | None
    spread: bool | None
    slide: AnyPath | None
    pixel_um: float | None
    overwrite: bool
