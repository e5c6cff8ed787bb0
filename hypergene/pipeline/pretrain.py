"""``hypergene pretrain``: slides in, the weights of a small encoder out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from safetensors.torch import save

from hypergene import __version__
from hypergene.errors import OutputError, UsageError
from hypergene.features.cache import ArrayCache, file_fingerprint
from hypergene.features.device import pick_device
from hypergene.model.config import EncoderConfig
from hypergene.model.encoder import TileEncoder
from hypergene.output import atomic_path
from hypergene.pipeline.keywords import PretrainKeywords
from hypergene.pipeline.metrics_log import MetricsLog
from hypergene.pipeline.options import as_tuple, with_overrides
from hypergene.pipeline.slide_list import NamedSlide, list_slides
from hypergene.training.pretrain_tiles import DenseGrid, Tiles, dense_tiles
from hypergene.training.pretrainer import Budget, Pretrainer, SelfSupervision
from hypergene.training.recipe import load_recipe
from hypergene.zoo import find_encoder

log = logging.getLogger(__name__)

WEIGHTS = "encoder.safetensors"
RECIPE = "encoder.toml"


@dataclass(frozen=True)
class PretrainOptions:
    """Options of :func:`pretrain`, named as on the command line.

    Attributes
    ----------
    without
        Names of samples or slides that are left out, such as those a model will be tested on.
    recipe, set
        The recipe of the training to come, for its encoder: TOML file, and single values.
    mpp
        Microns per pixel of slides for which no sheet says it.
    epochs, minutes
        The budget: passes over all places, or minutes of training; one of them. None = 30 epochs.
    pitch_um
        Centre to centre of the places that are learnt from, µm.
    most
        Places a slide at most.
    seed
        Of weights, places and views.
    device
        ``auto``, ``cpu`` or ``cuda``.
    cache
        Folder of tiles that runs may share; None = ``cache/`` in the output folder.
    workers
        Threads that read tiles.
    resume
        Go on from the checkpoint in the output folder.
    overwrite
        Replace finished weights, training anew.
    """

    without: tuple[str, ...] = ()
    recipe: Path | None = None
    set: tuple[str, ...] = ()
    mpp: float | None = None
    epochs: int | None = None
    minutes: float | None = None
    pitch_um: float = DenseGrid.pitch_um
    most: int = DenseGrid.most
    seed: int = 0
    device: str = "auto"
    cache: Path | None = None
    workers: int = 2
    resume: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Take names as any sequence of texts, or one."""
        for field in ("set", "without"):
            object.__setattr__(self, field, as_tuple(getattr(self, field)))

    @property
    def budget(self) -> Budget:
        """When to stop.

        Raises
        ------
        UsageError
            Both are given, or one is not above 0.
        """
        if self.epochs is not None and self.minutes is not None:
            raise UsageError(
                "Both --epochs and --minutes are given.", hint="Give one: either ends the training."
            )
        if self.minutes is not None:
            if not self.minutes > 0:
                raise UsageError(f"{self.minutes:g} minutes are no time to train in.")
            return Budget(minutes=self.minutes)
        return Budget() if self.epochs is None else Budget(epochs=self.epochs)


def pretrain(
    slides: str | Path | Sequence[str | Path],
    out: str | Path,
    options: PretrainOptions | None = None,
    **overrides: Unpack[PretrainKeywords],
) -> Path:
    """Train an image encoder on slides alone, without any expression.

    Parameters
    ----------
    slides
        A samples sheet, a folder of samples or of slides, slide files, or several of these. Of a
        sheet only the slides are looked at.
    out
        Folder of the run: ``encoder.safetensors`` (what a recipe's ``encoder.weights`` takes),
        ``encoder.toml`` (a recipe that does so), ``metrics.csv``, ``checkpoints/`` and ``cache/``.
    options
        See :class:`PretrainOptions`.
    **overrides
        Single options by name, over `options`.

    Returns
    -------
    pathlib.Path
        ``encoder.safetensors``.

    Raises
    ------
    HypergeneError
        Whatever is wrong with slides, recipe or output, in one sentence.

    Examples
    --------
    >>> import hypergene
    >>> weights = hypergene.pretrain(
    ...     "sections.csv", "start", recipe="small.toml", without=("B1", "B2"), epochs=1
    ... )
    >>> weights.name
    'encoder.safetensors'
    """
    options = with_overrides(options or PretrainOptions(), overrides)
    out, budget, device = Path(out), options.budget, pick_device(options.device)
    recipe = load_recipe(None if options.recipe is None else Path(options.recipe), options.set)
    sources = [slides] if isinstance(slides, str | Path) else list(slides)
    listed = list_slides([Path(source) for source in sources], options.without)
    target = out / WEIGHTS
    if target.exists() and not options.overwrite:
        raise OutputError(
            f"{target} exists already.", hint="Give --overwrite to replace it, or another --out."
        )
    torch.manual_seed(options.seed)
    found = find_encoder(recipe.encoder)
    encoder = found.load()
    checkpoint = out / "checkpoints" / "pretrain.pt"
    tiles = _tiles(listed, found.config, options, out)
    if options.overwrite or not options.resume:
        _forget(checkpoint, out / "metrics.csv")

    settings = SelfSupervision()
    about = {
        "method": "Barlow Twins within slides",
        "slides": [slide.name for slide in listed],
        "files": [file_fingerprint(slide.path)["sha256_of_samples"] for slide in listed],
        "places": [len(one) for one in tiles],
        "settings": {**asdict(settings), "augment": settings.augment.model_dump()},
        "budget": budget._asdict(),
        "encoder": found.config.model_dump(mode="json"),
        "seed": options.seed,
    }
    pretrainer = Pretrainer(
        encoder,
        found.config.tile_px,
        tiles,
        settings,
        budget,
        device=device,
        seed=options.seed,
        run=hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest(),
        checkpoint=checkpoint,
        log_row=MetricsLog(out / "metrics.csv", "pretrain"),
    )
    pretrainer.fit()
    about |= {"steps": pretrainer.step, "minutes": round(pretrainer.seconds / 60, 1)}
    _write(out, encoder, found.config, about, overwrite=options.overwrite)
    return target


def _tiles(
    listed: Sequence[NamedSlide], config: EncoderConfig, options: PretrainOptions, out: Path
) -> list[Tiles]:
    """Read the tiles of all slides, one after the other, or take them from the cache."""
    cache = ArrayCache(Path(options.cache or out / "cache"))
    grid = DenseGrid(pitch_um=options.pitch_um, most=options.most)
    tiles = []
    for one in listed:
        with one.open(options.mpp) as slide:
            tiles.append(dense_tiles(slide, config, grid, cache, workers=options.workers))
            for warning in slide.warnings:
                log.warning("%s: %s", one.name, warning)
        log.info("%s: %s places", one.name, f"{len(tiles[-1]):,}")
    return tiles


def _forget(*files: Path) -> None:
    """Remove what an earlier run left."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file} of an earlier run cannot be removed ({error.strerror or error}).",
                hint="Choose another --out.",
            ) from error


def _write(
    out: Path,
    encoder: TileEncoder,
    config: EncoderConfig,
    about: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write the recipe first and the weights last, for these say that a run is finished."""
    weights = {name: value.contiguous().cpu() for name, value in network(encoder).items()}
    with atomic_path(out / RECIPE, overwrite=True) as draft:
        draft.write_text(_recipe(config, (out / WEIGHTS).resolve(), about), encoding="utf-8")
    metadata = {"hypergene": json.dumps({"version": __version__, **about}, sort_keys=True)}
    with atomic_path(out / WEIGHTS, overwrite=overwrite) as draft:
        draft.write_bytes(save(weights, metadata))


def network(encoder: TileEncoder) -> dict[str, torch.Tensor]:
    """Return the weights of an encoder's network by timm's names, as `encoder.weights` wants."""
    return encoder.network.state_dict()


def _recipe(config: EncoderConfig, weights: Path, about: dict[str, Any]) -> str:
    """Write the encoder as a recipe that starts from its weights."""
    lines = [
        "# An encoder trained on slides alone by hypergene pretrain; for hypergene finetune "
        "--recipe.",
        f"# Slides: {', '.join(about['slides'])}. Test no model that starts from it on these.",
        "",
        "[encoder]",
    ]
    kept = config.model_dump(mode="json", include=_OF_A_CHOICE)
    if config.architecture is not None:
        kept["name"] = config.architecture
    kept["weights"] = str(weights)
    return "\n".join([*lines, *(f"{key} = {_toml(value)}" for key, value in kept.items()), ""])


_OF_A_CHOICE = {"name", "arguments", "embedding", "tile_um", "tile_px", "mean", "std"}


def _toml(value: Any) -> str:
    """Write a value of a configuration in TOML, which is JSON but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
