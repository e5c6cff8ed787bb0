"""``hypergene models pull``: a model of the hub into the cache, or into a folder to carry away."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from hypergene.errors import ModelError, OutputError, UsageError
from hypergene.output import atomic_path
from hypergene.zoo import find_model, verify_model
from hypergene.zoo.checksums import CHECKSUMS, checksums_text, known_files
from hypergene.zoo.folder import ARCHETYPES
from hypergene.zoo.hub import HUB_PREFIXES, fetch_file, refetch
from hypergene.zoo.registry import HUB_PREFIX


def pull_model(name: str, out: Path | None = None, *, overwrite: bool = False) -> Path:
    """Fetch a model, verify it, and if wanted copy it to a folder that needs no network.

    A file whose content is not what the hub published is fetched once more.

    Parameters
    ----------
    name
        ``hf-hub:org/name`` with an optional ``@revision``.
    out
        Folder for a copy, with ``SHA256SUMS``; None = the model stays in the cache.
    overwrite
        Replace a model that `out` holds.

    Returns
    -------
    pathlib.Path
        `out`, or the folder in the cache.

    Raises
    ------
    UsageError
        The name is not one of the hub.
    ModelError
        The model cannot be fetched, or is damaged or no model.
    OutputError
        `out` exists already or cannot be written, or what was written comes back otherwise.
    """
    if not name.startswith(HUB_PREFIXES):
        raise UsageError(
            f"{name!r} is no model of the hub.",
            hint=f"Give {HUB_PREFIX}org/name, or {HUB_PREFIX}org/name@revision.",
        )
    address = name.partition(":")[2]
    repository = address.partition("@")[0]
    folder = find_model(f"{HUB_PREFIX}{address}")
    with suppress(ModelError):  # not every model has them
        fetch_file(repository, folder.name, ARCHETYPES, what="model")
    pulled = f"{HUB_PREFIX}{repository}@{folder.name}"
    found = verify_model(pulled)
    damaged = [file.name for file in found.files if not file.ok]
    if damaged:
        for file in damaged:
            refetch(repository, folder.name, file, what="model")
        found = verify_model(pulled)
    if not found.ok:
        raise ModelError(found.problems[0], hint=found.hint)
    if out is None:
        return folder
    with atomic_path(out, overwrite=overwrite) as draft:
        draft.mkdir()
        for path in known_files(folder):
            shutil.copyfile(path, draft / path.name)
        # Of what was verified, not of the copy: it may be a worn USB stick.
        sums = {file.name: file.sha256 for file in found.files}
        (draft / CHECKSUMS).write_bytes(checksums_text(sums).encode())
        copied = verify_model(draft)
        if not copied.ok:
            raise OutputError(copied.problems[0], hint="Copy it again, or to another disk.")
    return out
