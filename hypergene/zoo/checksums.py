"""``SHA256SUMS``: what the files of a model folder were when the model was written.

The form is that of GNU coreutils, so that ``sha256sum -c SHA256SUMS`` reads it without hypergene.
It finds damage on the way, not malice: who can change the weights can change this file too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hypergene.errors import ModelError

CHECKSUMS: Final = "SHA256SUMS"
KNOWN_FILES: Final = ("config.json", "model.safetensors", "README.md", "archetypes.csv")
"""Files of a model, in the order in which they are listed; the last is not in every model."""
HOW_TO_RENEW: Final = f"sha256sum {' '.join(KNOWN_FILES[:3])} > {CHECKSUMS}"
"""For whoever changed a file on purpose, such as the card."""

_LINE = re.compile(r"(?P<sha256>[0-9a-fA-F]{64}) [ *](?P<name>\S.*)")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises
    ------
    ModelError
        The file is missing or unreadable.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror or error}).", hint="Fetch the model again."
        ) from error


def known_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a model that are there, checksums apart."""
    return tuple(folder / name for name in KNOWN_FILES if (folder / name).is_file())


def checksums_text(checksums: Mapping[str, str]) -> str:
    """Lay out checksums by file name as ``sha256sum`` does."""
    return "".join(f"{value}  {name}\n" for name, value in checksums.items())


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the files of a model that are in its folder.

    Raises
    ------
    ModelError
        A file cannot be read.
    OSError
        The folder cannot be written to.
    """
    text = checksums_text({path.name: sha256_of(path) for path in known_files(folder)})
    # Bytes: sha256sum takes a carriage return for a part of the name.
    (folder / CHECKSUMS).write_bytes(text.encode())


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Read ``SHA256SUMS`` of a folder.

    Returns
    -------
    dict or None
        sha256 in lower case by file name; None if the folder has no such file.

    Raises
    ------
    ModelError
        The file cannot be read, or has a line that is no checksum of a file of the folder.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} cannot be read as text.", hint="Fetch the model again."
        ) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None or Path(match["name"]).name != match["name"]:
            raise ModelError(
                f"Line {number} of {path} is no checksum of a file beside it.",
                hint=f"Fetch the model again, or renew it in that folder: {HOW_TO_RENEW}",
            )
        found[match["name"]] = match["sha256"].lower()
    return found
