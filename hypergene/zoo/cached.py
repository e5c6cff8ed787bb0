"""Models that the Hugging Face cache of this user holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypergene.errors import ModelError
from hypergene.zoo.registry import HUB_PREFIX, MODEL_FILES

_OURS = frozenset({"format_version", "provenance", "genes"})
_SHA256_DIGITS, _SHA1_DIGITS = 64, 40


@dataclass(frozen=True)
class CachedModel:
    """A model of the hub as it lies in the cache.

    Attributes
    ----------
    repository
        ``org/name``.
    commit
        Its revision, in hexadecimal.
    refs
        Branches and tags that led to it when it was fetched.
    folder
        Where its files are.
    blobs
        Of each file, the name under which the cache keeps its content: the sha256 of a large file,
        git's sha1 of a small one. Empty where the cache keeps no such names (Windows without
        symbolic links).
    """

    repository: str
    commit: str
    refs: tuple[str, ...]
    folder: Path
    blobs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What ``--model`` takes."""
        if "main" in self.refs:
            return f"{HUB_PREFIX}{self.repository}"
        return f"{HUB_PREFIX}{self.repository}@{self.refs[0] if self.refs else self.commit}"


def cached_models() -> list[CachedModel]:
    """Return the models of hypergene that are in the cache, by repository and commit.

    Encoders and other people's models lie in the same cache and are passed over; so is what was
    fetched by half.
    """
    return [model for model in _with_weights() if _is_ours(model.folder / MODEL_FILES[0])]


def find_cached(address: str) -> CachedModel:
    """Return a cached model without asking the hub.

    Parameters
    ----------
    address
        ``org/name`` with an optional ``@revision``: a branch, a tag, or the beginning of a commit.

    Raises
    ------
    ModelError
        It is not in the cache.
    """
    repository, _, revision = address.partition("@")
    for model in _with_weights():  # a damaged one has to be found, too
        if model.repository == repository and _is_revision(revision or "main", model):
            return model
    raise ModelError(
        f"The model {address} is not in the Hugging Face cache.",
        hint=f"Fetch it: hypergene models pull {HUB_PREFIX}{address}",
    )


def content_damage(path: Path, blob: str) -> str | None:
    """Compare a cached file with the name of its content.

    Parameters
    ----------
    path
        The file.
    blob
        The name that the hub gave its content: a sha256, or git's sha1 of it.

    Returns
    -------
    str or None
        What is wrong, in words; None if nothing is.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if len(blob) == _SHA256_DIGITS:
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
    elif len(blob) == _SHA1_DIGITS:
        content = path.read_bytes()
        # What git calls a blob; sha1 is what the hub gives, and here it only has to find damage.
        own = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return f"the hub gave it no checksum but {blob!r}"
    return None if own == blob else f"its content is {own[:12]}…, the hub's was {blob[:12]}…"


def _with_weights() -> list[CachedModel]:
    """Return whatever in the cache has a configuration and weights."""
    from huggingface_hub import constants, errors, scan_cache_dir

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (errors.CacheNotFound, OSError, ValueError):
        return []
    found = []
    for repository in repositories:
        for revision in repository.revisions if repository.repo_type == "model" else ():
            folder = revision.snapshot_path
            files = [file.file_path for file in revision.files if file.file_path.parent == folder]
            if {path.name for path in files} >= set(MODEL_FILES[:2]):
                found.append(
                    CachedModel(
                        repository=repository.repo_id,
                        commit=revision.commit_hash,
                        refs=tuple(sorted(revision.refs)),
                        folder=folder,
                        blobs={p.name: p.readlink().name for p in files if p.is_symlink()},
                    )
                )
    return sorted(found, key=lambda model: (model.repository, model.commit))


def _is_ours(config: Path) -> bool:
    """Whether a ``config.json`` is that of a model of hypergene, whole or not."""
    try:
        held: Any = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(held, dict) and held.keys() >= _OURS


def _is_revision(wanted: str, model: CachedModel) -> bool:
    return wanted in model.refs or (len(wanted) >= 7 and model.commit.startswith(wanted))
