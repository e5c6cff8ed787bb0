"""What a model is, apart from its weights: the part of a model folder a person can read.

``config.json`` of a model folder is one :class:`ModelConfig`. Unknown keys are refused, so that a
file from a newer or a foreign program is named as such instead of being half understood.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

FORMAT_VERSION: Final = 1

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

# What hypergene itself tells timm.create_model. A `checkpoint_path` would also be a pickle that a
# stranger's model folder makes its reader open.
_NOT_THE_USERS = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "model_name",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
    }
)


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Arguments = dict[str, int | float | str | bool | list[int]]
Embedding = Literal["pooled", "class", "class+mean"]
"""What of a network's output is the tile's vector.

``pooled`` is what the network itself makes of a tile, ``class`` its class token, ``class+mean`` the
class token and the mean of the patch tokens side by side, register tokens left out.
"""


def _shape_the_network(arguments: dict[str, Any] | None) -> dict[str, Any] | None:
    refused = sorted(_NOT_THE_USERS & (arguments or {}).keys())
    if refused:
        raise ValueError(f"{', '.join(refused)} cannot be given; arguments shape the network")
    return arguments


class EncoderConfig(Strict):
    """The image encoder and the crops it sees, with nothing left to look up.

    A spot is encoded once per crop width; the vectors of all widths are joined into the spot's
    features, in the order given.
    """

    name: str = Field("resnet10t", description="as the recipe named it")
    architecture: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.]+$", description="the timm network; None = `name`"
    )
    arguments: Arguments = Field(
        default_factory=dict, description="keyword arguments of the timm constructor"
    )
    pretrained: bool = Field(False, description="training started from weights, not from random")
    source: str = Field("", description="of those: repository and commit, file, or slides seen")
    licence: str = Field("", description="of those weights, as far as it is known")
    embedding: Embedding = "pooled"
    tile_um: tuple[Positive, ...] = Field((112.0,), min_length=1, description="crop widths, µm")
    tile_px: int = Field(112, ge=8, le=2048, description="crops are resampled to this width, px")
    mean: tuple[float, float, float] = Field((0.75, 0.60, 0.75), description="of RGB in 0..1")
    std: tuple[Positive, Positive, Positive] = Field((0.20, 0.20, 0.20), description="likewise")

    _arguments_shape_the_network = field_validator("arguments")(_shape_the_network)


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return where a record first breaks its rules (``"encoder.tile_px"``), and how."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")


class EncoderChoice(Strict):
    """The image encoder as a recipe asks for it; what is left out is the encoder's own.

    :func:`hypergene.zoo.find_encoder` makes an :class:`EncoderConfig` of it.
    """

    name: str = Field(
        "resnet10t", description="a foundation encoder, a timm name, or hf-hub:org/name@revision"
    )
    arguments: Arguments | None = Field(
        None, description="keyword arguments of the timm constructor"
    )
    pretrained: bool | None = Field(
        None, description="start from the published weights; None = unless it is a mere timm name"
    )
    weights: str | None = Field(None, description="a local safetensors file to start from instead")
    embedding: Embedding | None = None
    tile_um: tuple[Positive, ...] | None = Field(None, min_length=1, description="crop widths, µm")
    tile_px: int | None = Field(None, ge=8, le=2048, description="size of the crops, px")
    mean: tuple[float, float, float] | None = Field(None, description="of RGB in 0..1")
    std: tuple[Positive, Positive, Positive] | None = Field(None, description="likewise")

    _arguments_shape_the_network = field_validator("arguments")(_shape_the_network)


class LayoutConfig(Strict):
    """The lattice of spots the model was trained on, which is also that of its context."""

    name: str = Field(description="visium, st or grid")
    lattice: Literal["hexagon", "square"]
    shape: Literal["circle", "square"] = Field(description="of a spot")
    diameter_um: Positive = Field(description="of a spot; the side of a square one, µm")
    pitch_um: Positive = Field(description="from centre to centre of neighbours, µm")


class NicheConfig(Strict):
    """How far a spot looks around itself, and how it reads what it sees."""

    ring_edges_pitch: tuple[float, ...] = Field(
        (0.5, 1.25, 2.25, 3.25),
        min_length=2,
        description="edges of the rings of neighbours, in pitches of the model's own lattice",
    )
    source: Literal["neighbours", "crop"] = Field(
        "neighbours", description="the niche is the first ring, or the second crop of the spot"
    )
    reader: Literal["rings", "attention", "hyperbolic-attention"] = Field(
        "rings", description="what the head reads of the neighbours: the niche, or what it attends"
    )
    neighbours: int = Field(20, ge=1, le=128, description="attention: neighbours read, at most")
    heads: int = Field(4, ge=1, le=16, description="attention: heads of the Euclidean form")
    context_spots: int = Field(2000, ge=1, description="spots that give a slide's statistics")
    min_tissue: Share = Field(0.25, description="tissue share of a spot of the context")

    @model_validator(mode="after")
    def _edges_rise(self) -> NicheConfig:
        edges = self.ring_edges_pitch
        if edges[0] < 0 or any(b <= a for a, b in pairwise(edges)):
            raise ValueError("ring_edges_pitch must rise from 0 or above")
        return self

    @property
    def rings(self) -> int:
        """Number of rings."""
        return len(self.ring_edges_pitch) - 1


class GeometryConfig(Strict):
    """The space in which images and genes meet."""

    kind: Literal["lorentz", "euclidean"] = "lorentz"
    dim: int = Field(64, ge=2, le=1024, description="dimension of the embedding")
    archetypes: int = Field(0, ge=0, le=256, description="named tissue states; 0 = none")
    start: Literal["drawn", "unit"] = Field(
        "drawn", description="points start where random weights put them, or at a radius of about 1"
    )


HeadInput = Literal["features", "spot", "niche", "distances"]
"""What the trained head may read of a spot: its slide-centred features, the tangent vectors of its
point and of what it reads of its niche, and two distances, from the spot to that niche and to the
origin.
"""


class HeadConfig(Strict):
    """From embedding and features to gene modules."""

    modules: int = Field(50, ge=1, description="gene modules (rank of the prediction)")
    hidden: int = Field(0, ge=0, description="width of a hidden layer; 0 = a linear head")
    dropout: Share = Field(0.3, description="share of the head's inputs dropped in training")
    reads: tuple[HeadInput, ...] = Field(
        ("features", "spot", "niche", "distances"), min_length=1, description="its inputs"
    )


class ReadoutConfig(Strict):
    """What stands beside the trained head, fitted in closed form; validation weighs them."""

    ridge: bool = Field(True, description="ridge on the features and their ring means")
    kernel: Literal["none", "laplacian", "rbf", "hyperbolic"] = Field(
        "none", description="kernel ridge on the same, or on the points of the shared space"
    )
    inducing: int = Field(256, ge=1, le=4096, description="kernel: spots it is spanned by, at most")
    gallery: int = Field(
        0, ge=0, le=4096, description="residuals of held-out training spots kept to correct by"
    )
    anchor: bool = Field(
        False,
        description="the head adds to the ridge, from 0 on, and is not averaged with it",
    )

    @model_validator(mode="after")
    def _what_leans_on_the_ridge_has_one(self) -> ReadoutConfig:
        if self.anchor and not self.ridge:
            raise ValueError("anchor adds to the ridge, so ridge cannot be off")
        if self.gallery and not self.ridge:
            raise ValueError("gallery keeps what the ridge missed, so ridge cannot be off")
        return self


class Provenance(Strict):
    """Where a model comes from; copied into every prediction."""

    name: str
    revision: str = "1"
    licence: str = Field("unknown", description="SPDX identifier")
    tissue: str = "unknown"
    trained_on: tuple[str, ...] = Field((), description="samples")
    counts_of: tuple[str, ...] = Field(
        (), description="samples without slide whose counts gene modules were fitted on, too"
    )
    patients: int | None = Field(None, description="different patients among them; None = unknown")
    validated_on: tuple[str, ...] = Field((), description="samples")
    validation: str = Field("none", description="what was held out: patient, section or none")
    hypergene: str = Field("", description="version that wrote the model")


class HeldOutConfig(Strict):
    """How reliability and spread of a model were measured on samples held out of training."""

    interval: Literal["patient", "spot-block", "none"] = Field(
        description="what was resampled for the interval of each gene's correlation"
    )
    units: int = Field(ge=0, description="how many patients or blocks of spots there were")
    calibration: str = Field(description="what the spread was scaled by")
    scales: tuple[Literal["1 ring", "2 rings"], ...] = Field(
        (), description="means over neighbours at which genes and modules were measured, too"
    )
    distances: Literal["patient", "section"] | None = Field(
        None, description="whose distances ood_score is a percentile of; None = training spots'"
    )


class ModelConfig(Strict):
    """Everything about a model but its weights."""

    format_version: Literal[1] = FORMAT_VERSION
    provenance: Provenance
    encoder: EncoderConfig = EncoderConfig()
    layout: LayoutConfig
    niche: NicheConfig = NicheConfig()
    geometry: GeometryConfig = GeometryConfig()
    head: HeadConfig = HeadConfig()
    readout: ReadoutConfig = ReadoutConfig()
    genes: tuple[str, ...] = Field(min_length=1, description="symbols, in the order of the output")
    gene_ids: tuple[str, ...] | None = Field(None, description="Ensembl ids without version")
    held_out: HeldOutConfig | None = Field(None, description="None = nothing was measured, or less")
    stains: int = Field(0, ge=0, description="training slides whose dyes are kept")
    spectra: int = Field(0, ge=0, description="training slides whose fine structure is kept")

    @model_validator(mode="after")
    def _genes_are_distinct(self) -> ModelConfig:
        if len(set(self.genes)) != len(self.genes):
            raise ValueError("genes holds the same symbol twice")
        if self.gene_ids is not None and len(self.gene_ids) != len(self.genes):
            raise ValueError("gene_ids and genes differ in length")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        if self.niche.source == "crop" and len(self.encoder.tile_um) != 2:
            raise ValueError("niche.source = 'crop' needs two crop widths in encoder.tile_um")
        flat = self.geometry.kind != "lorentz"
        if flat and "hyperbolic" in f"{self.readout.kernel} {self.niche.reader}":
            raise ValueError("hyperbolic attention and kernels need geometry.kind = 'lorentz'")
        first_shell = 6 if self.layout.lattice == "hexagon" else 4
        if self.niche.reader != "rings" and self.niche.neighbours < first_shell:
            raise ValueError(
                f"niche.neighbours must be at least {first_shell}, the nearest of a "
                f"{self.layout.lattice} lattice: equally near ones are read together or not at all"
            )
        return self

    @property
    def ring_edges_um(self) -> tuple[float, ...]:
        """Edges of the rings of neighbours in µm."""
        return tuple(edge * self.layout.pitch_um for edge in self.niche.ring_edges_pitch)
