"""A recipe: everything that decides how a model is trained, in one TOML file.

``hypergene finetune --preset NAME`` starts from a recipe that travels with the package, ``--recipe
FILE`` reads one over it, ``--set section.key=value`` changes a single value. A recipe that no one
can run (unknown key, value out of range) is refused before any data is read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from hypergene.errors import UsageError
from hypergene.model.config import (
    EncoderChoice,
    GeometryConfig,
    HeadConfig,
    LayoutConfig,
    NicheConfig,
    Positive,
    ReadoutConfig,
    Share,
    Strict,
    first_problem,
)
from hypergene.training.terms import Losses

DEFAULT_PRESET: Final = "hypergene"


class About(Strict):
    """What the model card says that no program can know."""

    licence: str = Field("unknown", description="of the weights, as an SPDX name")
    tissue: str = Field("unknown", description="tissue, disease, preparation and stain")
    attribution: str = Field("", description="where the data come from, and what they ask for")
    intended_use: str = Field("", description="what the model is for, and what it is not for")


class GeneChoice(Strict):
    """Which genes the model will know."""

    space: Literal["intersection", "union"] = Field(
        "intersection", description="genes that all training samples measured, or that any did"
    )
    panel: str | None = Field(None, description="file with the genes wanted, one a line")
    aliases: str | None = Field(None, description="CSV with columns alias,symbol to rename by")
    exclude: tuple[Literal["mitochondrial", "ribosomal"], ...] = Field(
        (), description="kinds of genes left out of the model (never out of the depth)"
    )
    min_detected: Share = Field(0.1, description="share of training spots with a count")
    most: int | None = Field(None, ge=1, description="at most so many, by variance; None = all")


class TargetChoice(Strict):
    """What is learnt of the training counts; what is tested is never touched."""

    denoise: Literal["none", "modules", "neighbours", "completion"] = Field(
        "none", description="what lends a training spot strength; tests are never denoised"
    )
    rank: int = Field(50, ge=1, description="modules: how many are kept")
    own: Share = Field(0.5, description="neighbours: weight of the spot itself")
    counts_only: bool = Field(
        False, description="fit gene modules on samples without slide, too (other patients only)"
    )


class Augmentation(Strict):
    """What a training tile may look like; none of it is used in prediction."""

    rotate: bool = Field(True, description="any angle, and mirrored")
    scale: Share = Field(0.1, description="zoom by up to this share")
    shift: Share = Field(0.06, description="shift by up to this share of half the width")
    stain: float = Field(0.2, ge=0, description="jitter of the stains' strength (HED)")


class Lora(Strict):
    """Low-rank adapters beside the attention matrices of a vision transformer."""

    rank: int = Field(8, ge=1, description="of the adapters")
    alpha: int = Field(16, ge=1, description="adapters are scaled by alpha / rank")
    last_blocks: int = Field(11, ge=1, description="blocks adapted, counted from the last")


class Optimisation(Strict):
    """Optimiser, batches and stopping."""

    encoder: Literal["train", "lora", "frozen"] = "train"
    lora: Lora = Lora()
    views: int = Field(1, ge=1, le=16, description="views of a spot that are kept, if frozen")
    epochs: int = Field(60, ge=1)
    slides_per_batch: int = Field(4, ge=1)
    spots_per_slide: int = Field(16, ge=2)
    balance: Share = Field(
        1.0, description="a section is drawn by patient (1), by its number of spots (0), or between"
    )
    lr: Positive = 1e-3
    weight_decay: float = Field(0.05, ge=0)
    warmup: Share = Field(0.1, description="share of all steps")
    clip: Positive = Field(1.0, description="largest gradient norm")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, per step")
    assess_every: int = Field(10, ge=1, description="epochs between looks at the validation")
    patience: int = Field(4, ge=1, description="looks without a better one before stopping")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the encoder alone; auto = bfloat16 where the hardware has it"
    )
    deterministic: bool = Field(False, description="slower algorithms that repeat bit by bit")
    refit: bool = Field(True, description="train again on all samples for the chosen epochs")

    @model_validator(mode="after")
    def _views_are_of_a_frozen_encoder(self) -> Optimisation:
        if self.views > 1 and self.encoder != "frozen":
            raise ValueError("views are kept of a frozen encoder only; others see new ones anyway")
        return self


class Recipe(Strict):
    """All of it."""

    about: About = About()
    encoder: EncoderChoice = EncoderChoice()
    layout: LayoutConfig | None = Field(None, description="None = that of the training samples")
    niche: NicheConfig = NicheConfig()
    geometry: GeometryConfig = GeometryConfig()
    head: HeadConfig = HeadConfig()
    readout: ReadoutConfig = ReadoutConfig()
    genes: GeneChoice = GeneChoice()
    targets: TargetChoice = TargetChoice()
    loss: Losses = Losses()
    augment: Augmentation = Augmentation()
    train: Optimisation = Optimisation()

    @model_validator(mode="after")
    def _an_anchor_holds_still(self) -> Recipe:
        if self.readout.anchor and self.train.encoder != "frozen":
            raise ValueError("readout.anchor needs train.encoder = 'frozen': it is fitted once")
        return self


def presets() -> tuple[str, ...]:
    """Return the names of the recipes that travel with the package (docs/presets.md)."""
    files = resources.files("hypergene.training.recipes").iterdir()
    names = (file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    return tuple(sorted(names))


def load_recipe(
    path: Path | None = None, overrides: Sequence[str] = (), preset: str = DEFAULT_PRESET
) -> Recipe:
    """Read a recipe over a preset.

    Parameters
    ----------
    path
        A TOML file; what it leaves out is that of the preset. None = the preset as it is.
    overrides
        ``"section.key=value"``, the value in TOML (bare words are taken as text).
    preset
        One of :func:`presets`.

    Raises
    ------
    UsageError
        There is no such preset, the file is missing or no TOML, or a key or value is not that of a
        recipe.
    """
    source = f"the preset {preset}"
    values = _read_preset(preset)
    if path is not None:
        source = str(path)
        values = _merged(values, _read_toml(path))
    single: dict[str, Any] = {}
    for override in overrides:
        source = f"--set {override}"
        single = _joined(single, _parse_override(override), whole=())
    values = _merged(values, single)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        place, problem = first_problem(error)
        raise UsageError(
            f"{place + ' in ' if place else ''}{source} is not right: {problem}.",
            hint="docs/recipes.md lists every key with its range.",
        ) from error


def _read_preset(name: str) -> dict[str, Any]:
    if name not in presets():
        raise UsageError(
            f"There is no preset {name!r}.", hint=f"The presets are {', '.join(presets())}."
        )
    file = resources.files("hypergene.training.recipes").joinpath(f"{name}.toml")
    return tomllib.loads(file.read_text("utf-8"))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The recipe {path} cannot be read.", hint="Give a TOML file with --recipe."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The recipe {path} is not TOML: {error}.") from error


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(
            f"--set {text!r} is not of the form section.key=value.",
            hint="For example --set loss.hea.weight=0.",
        )
    try:
        parsed: Any = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for name in reversed(keys):
        parsed = {name: parsed}
    result: dict[str, Any] = parsed
    return result


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Join two recipes; what was said of one encoder does not hold for another."""
    old, new = (table.get("encoder") for table in (base, over))
    if isinstance(old, dict) and isinstance(new, dict) and "name" in new:
        base = base if new["name"] == old.get("name") else {**base, "encoder": {}}
    return _joined(base, over)


def _joined(
    base: dict[str, Any], over: dict[str, Any], *, whole: tuple[str, ...] = ("arguments",)
) -> dict[str, Any]:
    """Join nested tables; ``encoder.arguments`` belong to one encoder and are replaced `whole`."""
    joined = dict(base)
    for key, value in over.items():
        old = joined.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict) and key not in whole
        joined[key] = _joined(old, value, whole=whole) if nested else value  # type: ignore[arg-type]
    return joined
