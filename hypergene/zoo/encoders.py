"""From an encoder's name in a recipe to its network, its transform and its published weights."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError

from hypergene.errors import ModelError
from hypergene.model.config import (
    Arguments,
    Embedding,
    EncoderChoice,
    EncoderConfig,
    Positive,
    Strict,
    first_problem,
)
from hypergene.zoo.hub import HOW_TO_CONVERT, HUB_PREFIXES, fetch_file, fetch_weights
from hypergene.zoo.layouts import Layout, to_timm
from hypergene.zoo.own_weights import about_weights

if TYPE_CHECKING:
    from hypergene.model.encoder import TileEncoder

TILE_UM: Final = 112.0
"""Crop width of an encoder that has none of its own, µm."""


class KnownEncoder(Strict):
    """A row of the table of encoders; ``encoders.toml`` says what each value means."""

    title: str
    paper: str
    repository: str
    licence: str
    gated: bool
    file: str
    layout: Layout
    architecture: str
    arguments: Arguments
    parameters: Positive = Field(description="millions")
    embedding: Embedding
    tile_px: int
    mpp: Positive
    mpp_from: Literal["stated", "magnification", "convention", "none"]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]

    @property
    def tile_um(self) -> float:
        """Width of the crop it is meant for, µm."""
        return self.tile_px * self.mpp


@cache
def known_encoders() -> dict[str, KnownEncoder]:
    """Return the table of encoders that a recipe can name, by name."""
    text = resources.files("hypergene.zoo").joinpath("encoders.toml").read_text("utf-8")
    return {name: KnownEncoder.model_validate(row) for name, row in tomllib.loads(text).items()}


def encoder_table() -> str:
    """Return the table of encoders as Markdown, as docs/encoders.md shows it."""
    rules = {"class": "class", "class+mean": "class + mean"}
    said = {"stated": "stated", "convention": "habit", "none": "none"}
    lines = [
        "| `encoder.name` | encoder | million weights | vector | crop, µm | tile, px | µm/px | "
        "licence | gate | file | cite |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in known_encoders().items():
        pooled = "class" if "vit" in row.architecture else "mean"
        source = said.get(row.mpp_from, f"{10 / row.mpp:.0f}x")
        cells = (
            f"`{name}`",
            f"[{row.title}](https://huggingface.co/{row.repository})",
            f"{row.parameters:,.1f}",
            rules.get(row.embedding, pooled),
            f"{row.tile_um:g}",
            f"{row.tile_px}",
            f"{row.mpp:g} ({source})",
            row.licence,
            "yes" if row.gated else "no",
            "not known" if row.file == "unknown" else f"`{row.file}`",
            row.paper,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class FoundEncoder:
    """An encoder with nothing left to look up.

    Attributes
    ----------
    config
        Goes into the model folder.
    weights
        Local safetensors file of published weights; None = random weights.
    layout
        Of the names in that file.
    """

    config: EncoderConfig
    weights: Path | None = None
    layout: Layout = "timm"

    def load(self) -> TileEncoder:
        """Make the network, with its published weights if it has any.

        Raises
        ------
        ModelError
            The file is no safetensors file, its tensors do not fit, or the network cannot be made.
        """
        from hypergene.model.encoder import TileEncoder

        if self.weights is None:
            return TileEncoder(self.config)
        return TileEncoder(self.config, to_timm(_read(self.weights), self.layout))


@dataclass(frozen=True)
class _Own:
    """What an encoder brings of its own, before the recipe has its say."""

    architecture: str
    arguments: Arguments
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tile_px: int
    tile_um: float = TILE_UM
    embedding: Embedding = "pooled"
    layout: Layout = "timm"
    licence: str = ""
    repository: str | None = None
    revision: str | None = None
    starts_pretrained: bool = True


def find_encoder(choice: EncoderChoice) -> FoundEncoder:
    """Look up an encoder and see to its weights, so that trouble shows before any work is done.

    The hub is asked only for what is needed: for weights, and for the configuration of a
    ``hf-hub:`` repository that the table does not know. What is in the local cache is used without
    a network.

    Parameters
    ----------
    choice
        What the recipe asks for. What it leaves out is the encoder's own: of the table, of the
        repository's configuration, or of timm.

    Raises
    ------
    ModelError
        The name is unknown; access is refused, or the hub out of reach and nothing cached; the
        weights are a pickle or missing.
    """
    own = _own(choice.name)
    pretrained = choice.pretrained
    if pretrained is None:
        pretrained = own.starts_pretrained or choice.weights is not None
    arguments = own.arguments if choice.arguments is None else choice.arguments
    config: dict[str, Any] = {
        "name": choice.name,
        "architecture": None if own.architecture == choice.name else own.architecture,
        "arguments": arguments,
        "pretrained": pretrained,
        "embedding": choice.embedding or own.embedding,
        "tile_um": choice.tile_um or (own.tile_um,),
        "tile_px": choice.tile_px or _image_size(arguments) or own.tile_px,
        "mean": choice.mean or own.mean,
        "std": choice.std or own.std,
    }
    if not pretrained:
        return FoundEncoder(_valid(config))
    weights, config["source"] = _weights(choice, own)
    slides = about_weights(weights).slides if choice.weights is not None else ()
    if slides:  # not timm's or a hub's, so neither is the licence
        config["source"] = f"hypergene pretrain on {', '.join(slides)}"
    else:
        config["licence"] = own.licence
    return FoundEncoder(_valid(config), weights, own.layout)


def _own(name: str) -> _Own:
    known = known_encoders().get(name)
    if known is not None:
        return _of_table(known)
    if name.startswith(HUB_PREFIXES):
        repository, _, revision = name.partition(":")[2].partition("@")
        for row in known_encoders().values():
            if row.repository.casefold() == repository.casefold():
                return replace(_of_table(row), revision=revision or None)
        return _of_hub(repository, revision or None)
    return _of_timm(name)


def _of_table(row: KnownEncoder) -> _Own:
    return _Own(
        architecture=row.architecture,
        arguments=row.arguments,
        mean=row.mean,
        std=row.std,
        tile_px=row.tile_px,
        tile_um=row.tile_um,
        embedding=row.embedding,
        layout=row.layout,
        licence=row.licence,
        repository=row.repository,
    )


def _of_hub(repository: str, revision: str | None) -> _Own:
    """Read the configuration that timm writes beside weights."""
    path = fetch_file(repository, revision, "config.json", what="encoder")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        # In its older form the file is one table, in its newer one the transform is apart.
        transform = held.get("pretrained_cfg", held)
        arguments = dict(held.get("model_args") or {})
        if held.get("global_pool") is not None:
            arguments.setdefault("global_pool", held["global_pool"])
        arguments.pop("num_classes", None)
        found = _Own(
            architecture=held["architecture"],
            arguments=arguments,
            mean=_three(transform["mean"]),
            std=_three(transform["std"]),
            tile_px=int(transform["input_size"][-1]),
            licence=str(transform.get("license") or ""),
            repository=repository,
            revision=revision,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"The repository {repository} does not hold an encoder of timm (its config.json names "
            "no architecture with its transform).",
            hint="Name a repository that timm.create_model takes, or one of docs/encoders.md.",
        ) from error
    return found


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _of_timm(name: str) -> _Own:
    import timm

    transform = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if transform is None:
        raise ModelError(
            f"There is no image encoder {name!r}.",
            hint="Give one of docs/encoders.md, a name of timm.list_models(), or "
            "hf-hub:org/name for a repository of the hub.",
        )
    return _Own(
        architecture=name,
        arguments={},
        mean=_three(transform.mean),
        std=_three(transform.std),
        tile_px=transform.input_size[-1],
        licence=transform.license or "",
        repository=transform.hf_hub_id,
        starts_pretrained=False,
    )


def _weights(choice: EncoderChoice, own: _Own) -> tuple[Path, str]:
    """Find the weights' file, and say where it came from."""
    if choice.weights is not None:
        path = Path(choice.weights).expanduser()
        if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt"):
            raise ModelError(
                f"{path} is a pickle, which can run code and is not opened: encoder.weights takes "
                "safetensors only.",
                hint=HOW_TO_CONVERT,
            )
        if not path.is_file():
            raise ModelError(
                f"There is no file {path} with weights for the image encoder {choice.name!r}.",
                hint="Give encoder.weights the path of a safetensors file.",
            )
        return path, path.name
    if own.repository is None:
        raise ModelError(
            f"timm publishes no weights for the image encoder {choice.name!r}.",
            hint="Set encoder.pretrained = false, or give encoder.weights=FILE.safetensors.",
        )
    path = fetch_weights(own.repository, own.revision, what="encoder")
    return path, f"hf-hub:{own.repository}@{path.parent.name}"


def _image_size(arguments: Arguments) -> int | None:
    """Return the size that the arguments ask for, where they do, px."""
    size = arguments.get("img_size")
    if isinstance(size, list):
        size = size[0]
    return size if isinstance(size, int) else None


def _valid(config: dict[str, Any]) -> EncoderConfig:
    try:
        return EncoderConfig.model_validate(config)
    except ValidationError as error:
        place, problem = first_problem(error)
        raise ModelError(
            f"The image encoder {config['name']!r} cannot be used: {place}: {problem}.",
            hint="Set that value in the recipe.",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or not a safetensors file.",
            hint=f"Fetch it again. If it is a pickle under another name: {HOW_TO_CONVERT}",
        ) from error
