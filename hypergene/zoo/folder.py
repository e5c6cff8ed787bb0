"""A model folder on disk: ``config.json``, ``model.safetensors``, ``README.md``, ``SHA256SUMS``.

With archetypes also ``archetypes.csv``, for people: it is written, and never read. The checksums
are read by :mod:`hypergene.zoo.verify` alone.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hypergene.errors import ModelError, OutputError, UsageError
from hypergene.model.config import ModelConfig, first_problem
from hypergene.zoo.checksums import sha256_of, write_checksums
from hypergene.zoo.registry import DEFAULT_MODEL, find_model

if TYPE_CHECKING:
    from torch import Tensor

    from hypergene.model.network import HyperGene

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
ARCHETYPES = "archetypes.csv"

_MAY_BE_UNKNOWN = ("heldout_pcc", "ceiling_pcc", "held_out.")
"""What tensors begin with that hold NaN where nothing was measured."""


def load_model(name: str | Path = DEFAULT_MODEL, *, device: str = "cpu") -> HyperGene:
    """Load a model for prediction.

    Only JSON and safetensors are read: a model folder from a stranger cannot run code.

    Parameters
    ----------
    name
        A bundled model, the path of a model folder, or ``hf-hub:org/name``.
    device
        A torch device.

    Returns
    -------
    HyperGene
        In evaluation mode.

    Raises
    ------
    ModelError
        No such model; a file is missing or damaged; the configuration has unknown keys or values
        out of range; a tensor is missing, unknown, of another shape or type, or not a number; the
        archetypes are no points of the model's space.
    UsageError
        There is no such device.

    Examples
    --------
    >>> import hypergene
    >>> model = hypergene.load_model("her2st-small")
    >>> model.config.layout.name, len(model.config.genes)
    ('st', 9731)
    """
    from hypergene.model.network import HyperGene

    folder = find_model(name)
    config = read_config(folder)
    weights = _read_weights(folder)
    model = HyperGene(config)
    _check_tensors(model.state_dict(), weights, folder / WEIGHTS)
    model.load_state_dict(weights)
    _check_archetypes(model, folder / WEIGHTS)
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch says either of a missing device
        raise UsageError(
            f"The model cannot be put on the device {str(device)!r}.", hint="Choose cpu or cuda."
        ) from error


def read_config(folder: Path) -> ModelConfig:
    """Read and validate ``config.json`` of a model folder.

    Raises
    ------
    ModelError
        The file is missing, no JSON, or not the configuration of a model.
    """
    path = folder / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{folder} is not a model folder: {CONFIG} is missing or unreadable.",
            hint=f"A model folder holds {CONFIG} and {WEIGHTS}.",
        ) from error
    try:
        # Strict: a number in quotes is a mistake, not a number.
        return ModelConfig.model_validate_json(text, strict=True)
    except ValidationError as error:
        place, problem = first_problem(error)
        what = f"{place}: {problem}" if place else problem
        raise ModelError(
            f"{path} is not a model configuration ({what}).",
            hint="Fetch the model again, or use the hypergene version it was made with.",
        ) from error


def write_model(folder: Path, model: HyperGene, card: str) -> None:
    """Write a model into an existing, empty folder.

    A model with archetypes gets ``archetypes.csv`` as well: a row a gene, a column an archetype,
    mean expression as natural log1p of counts per 10,000. ``SHA256SUMS`` is written last.

    Parameters
    ----------
    folder
        Where to; the caller renames it into place when whole.
    model
        The model, with its configuration.
    card
        Text of ``README.md``.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save

    # Copies: safetensors takes no views, and no two names for one tensor.
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    config = model.config.model_dump(mode="json", exclude_none=True)
    try:
        # Not save_file: its files can be read by their owner alone, and models are shared.
        (folder / WEIGHTS).write_bytes(save(tensors))
        (folder / CONFIG).write_text(_readable_json(config), encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        if model.archetypes is not None:
            (folder / ARCHETYPES).write_text(_expression_of_archetypes(model), encoding="utf-8")
        write_checksums(folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"The model cannot be written to {folder} ({error}).",
            hint="Free some space, or choose another folder.",
        ) from error


def weights_sha256(folder: Path) -> str:
    """Return the sha256 of a model's weights, in hexadecimal.

    Raises
    ------
    ModelError
        The weights are missing or unreadable.
    """
    return sha256_of(folder / WEIGHTS)


def _readable_json(config: dict[str, object]) -> str:
    """Indent sections, but keep a long list of genes on one line."""
    lists = {key: config.pop(key) for key in ("genes", "gene_ids") if key in config}
    text = json.dumps(config, indent=2, ensure_ascii=False).removesuffix("\n}")
    rows = [f'  "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in lists.items()]
    return text + ",\n" + ",\n".join(rows) + "\n}\n"


def _expression_of_archetypes(model: HyperGene) -> str:
    """Lay out the mean expression of every archetype as CSV, one row a gene."""
    assert model.archetypes is not None
    expression = model.modules_to_genes.expression(model.archetypes.scores).T.tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["gene", *(f"archetype_{k}" for k in range(len(model.archetypes)))])
    for gene, row in zip(model.config.genes, expression, strict=True):
        writer.writerow([gene, *(f"{value:.4f}" for value in row)])
    return text.getvalue()


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(
            f"{folder} is not a model folder: {WEIGHTS} is missing.",
            hint=f"A model folder holds {CONFIG} and {WEIGHTS}.",
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or not a safetensors file.", hint="Fetch the model again."
        ) from error


def _check_tensors(wanted: dict[str, Tensor], given: dict[str, Tensor], path: Path) -> None:
    hint = "The weights and config.json do not belong together; fetch the model again."
    for name in sorted(wanted.keys() | given.keys()):
        if name not in given:
            raise ModelError(f"{path} lacks the tensor {name!r}.", hint=hint)
        if name not in wanted:
            raise ModelError(f"{path} has a tensor {name!r} that no part uses.", hint=hint)
        what, asked = _kind(given[name]), _kind(wanted[name])
        if what != asked:
            raise ModelError(
                f"The tensor {name!r} in {path} is {what}, where config.json asks for {asked}.",
                hint=hint,
            )
        if not name.startswith(_MAY_BE_UNKNOWN) and bool(given[name].isnan().any()):
            raise ModelError(
                f"The tensor {name!r} in {path} holds values that are not numbers.",
                hint="Its training failed; use another model.",
            )


def _check_archetypes(model: HyperGene, path: Path) -> None:
    damage = None if model.archetypes is None else model.archetypes.damage()
    if damage is not None:
        raise ModelError(
            f"The archetypes in {path} have {damage}.",
            hint="They cannot come from a training; fetch the model again.",
        )


def _kind(tensor: Tensor) -> str:
    """Type and shape of a tensor in words, such as ``float32 (3, 4)``."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
