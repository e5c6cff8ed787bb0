"""Models that can be named now: bundled, in the cache, on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypergene.errors import ModelError
from hypergene.zoo.cached import cached_models
from hypergene.zoo.checksums import known_files
from hypergene.zoo.folder import read_config
from hypergene.zoo.hub_api import HubModel, hub_models, plain
from hypergene.zoo.registry import HUB_PREFIX, bundled_models

Where = Literal["bundled", "cached", "hub"]


@dataclass(frozen=True)
class ListedModel:
    """A line of ``hypergene models list``; None where it is not known.

    Attributes
    ----------
    name
        What ``--model`` takes.
    where
        ``"bundled"``, ``"cached"`` (from the hub, on this machine) or ``"hub"`` (not fetched yet).
    size_bytes, genes, tissue, licence
        Of the model.
    note
        What is wrong with it, or that access must be asked for; empty if there is nothing to say.
    """

    name: str
    where: Where
    size_bytes: int | None = None
    genes: int | None = None
    tissue: str | None = None
    licence: str | None = None
    note: str = ""


def list_local_models() -> list[ListedModel]:
    """Return the bundled and the cached models; the hub is not asked."""
    found = [_of_folder(name, "bundled", folder) for name, folder in bundled_models().items()]
    return found + [_of_folder(each.name, "cached", each.folder) for each in cached_models()]


def list_hub_models() -> list[ListedModel]:
    """Return the models on the hub that are tagged as hypergene's.

    Raises
    ------
    HubOutOfReachError
        No answer, or ``HF_HUB_OFFLINE`` is set.
    ModelError
        The hub refuses.
    """
    return [_of_hub(model) for model in hub_models()]


def _of_folder(name: str, where: Where, folder: Path) -> ListedModel:
    try:
        size = sum(path.stat().st_size for path in known_files(folder))
        config = read_config(folder)
    except (ModelError, OSError) as error:
        said = error.message if isinstance(error, ModelError) else str(error)
        return ListedModel(name, where, note=said)
    about = config.provenance
    return ListedModel(
        name, where, size, len(config.genes), plain(about.tissue), plain(about.licence)
    )


def _of_hub(model: HubModel) -> ListedModel:
    notes = [word for word, is_so in (("gated", model.gated), ("private", model.private)) if is_so]
    return ListedModel(
        name=f"{HUB_PREFIX}{model.repository}",
        where="hub",
        size_bytes=model.size_bytes,
        genes=_number(model.about, "genes"),
        tissue=plain(str(model.about["tissue"])) if model.about.get("tissue") else None,
        licence=model.licence or None,
        note=", ".join(notes),
    )


def _number(about: Mapping[str, Any], key: str) -> int | None:
    value = about.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
