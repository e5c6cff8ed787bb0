"""Whether a model is what was published or written: checksums, configuration, tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypergene.errors import HypergeneError, ModelError
from hypergene.zoo.cached import CachedModel, content_damage, find_cached
from hypergene.zoo.checksums import CHECKSUMS, HOW_TO_RENEW, known_files, read_checksums, sha256_of
from hypergene.zoo.folder import load_model
from hypergene.zoo.hub import HUB_PREFIXES
from hypergene.zoo.registry import MODEL_FILES, find_model

Against = Literal["hub", "SHA256SUMS", "nothing"]


@dataclass(frozen=True)
class VerifiedFile:
    """One file and what it was compared with.

    Attributes
    ----------
    name, size_bytes, sha256
        Of the file.
    against
        ``"hub"``: the checksum that the hub gave when the file was fetched; ``"SHA256SUMS"``: the
        file of that name beside it; ``"nothing"``.
    ok
        Whether they agree; True where there was nothing to compare with.
    """

    name: str
    size_bytes: int
    sha256: str
    against: Against
    ok: bool


@dataclass(frozen=True)
class Verified:
    """What was found out about a model.

    Attributes
    ----------
    name
        As it was asked for.
    folder
        Where it is; None if there is none.
    files
        Of the model.
    problems
        What is wrong, one sentence each; none = nothing is.
    hint
        What to do about it; empty if nothing is wrong.
    """

    name: str
    folder: Path | None
    files: tuple[VerifiedFile, ...] = ()
    problems: tuple[str, ...] = ()
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_model(name: str | Path) -> Verified:
    """Compare a model with its checksums, and load it.

    Parameters
    ----------
    name
        A bundled model, the path of a model folder, or ``hf-hub:org/name`` of the cache: the hub is
        not asked.

    Returns
    -------
    Verified
        With what is wrong, if anything is; nothing is raised for it.
    """
    text = str(name)
    try:
        cached, folder = _find(text)
    except HypergeneError as error:
        return Verified(text, None, problems=(error.message,), hint=error.hint or "")
    problems: list[str] = []
    hints: list[str] = []
    files = []
    try:
        written = read_checksums(folder)
    except ModelError as error:
        written = {}
        problems.append(error.message)
        hints.append(error.hint or "")
    for path in known_files(folder):
        file, damage = _compare(path, cached, written or {})
        files.append(file)
        problems += damage
    there = {file.name for file in files}
    named = (written or {}).keys() if cached is None else ()
    for missing in sorted(set(named) - there):
        problems.append(f"{folder / missing} is missing, and {CHECKSUMS} names it.")
    if there and not any(file.against != "nothing" for file in files) and not problems:
        problems.append(f"{folder} has no {CHECKSUMS}, so there is nothing to compare it with.")
        hints.append(f"If you trust it as it is, run in that folder: {HOW_TO_RENEW}")
    try:
        load_model(folder)
    except HypergeneError as error:
        problems.append(error.message)
        hints.append(error.hint or "")
    if problems and not any(hints):
        hints.append(_what_to_do(cached, problems))
    return Verified(
        text, folder, tuple(files), tuple(problems), next((hint for hint in hints if hint), "")
    )


def _find(text: str) -> tuple[CachedModel | None, Path]:
    if text.startswith(HUB_PREFIXES):
        cached = find_cached(text.partition(":")[2])
        return cached, cached.folder
    return None, find_model(text)


def _compare(
    path: Path, cached: CachedModel | None, written: dict[str, str]
) -> tuple[VerifiedFile, list[str]]:
    """Compare a file with the hub's checksum, or else with the one beside it."""
    blob = None if cached is None else cached.blobs.get(path.name)
    try:
        own, size = sha256_of(path), path.stat().st_size
        damage = None if blob is None else content_damage(path, blob)
    except (ModelError, OSError) as error:
        text = error.message if isinstance(error, ModelError) else f"{path} cannot be read."
        return VerifiedFile(path.name, 0, "", "nothing", ok=False), [text]
    problems = []
    against: Against = "nothing"
    if blob is not None:
        # And no other: a card may have been edited on the hub's page since the model was written.
        against = "hub"
        if damage is not None:
            problems.append(f"{path} is not what was published: {damage}.")
    elif path.name in written:
        against = "SHA256SUMS"
        if written[path.name] != own:
            problems.append(
                f"{path} is not what was written: its sha256 is {own[:12]}…, {CHECKSUMS} says "
                f"{written[path.name][:12]}…."
            )
    elif written and path.name in MODEL_FILES[:2]:
        problems.append(f"{path} is not in {CHECKSUMS}.")
    return VerifiedFile(path.name, size, own, against, ok=not problems), problems


def _what_to_do(cached: CachedModel | None, problems: list[str]) -> str:
    if cached is not None:
        return f"Fetch it again: hypergene models pull {cached.name}"
    card = MODEL_FILES[2]
    if all(card in problem for problem in problems):
        return f"If you changed the card on purpose, run in that folder: {HOW_TO_RENEW}"
    return "Fetch or copy the model again."
