"""What ``hypergene pretrain`` leaves in the weights of an encoder, for whoever starts from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class AboutWeights(NamedTuple):
    """What an encoder learnt from.

    Attributes
    ----------
    slides
        Their names.
    files
        Their fingerprints.
    """

    slides: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def about_weights(path: Path) -> AboutWeights:
    """Read what hypergene wrote beside the weights in a safetensors file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    AboutWeights
        Empty for weights of others, and for a file that cannot be read: whoever reads the weights
        themselves says what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("hypergene", "{}"))
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError):
        return AboutWeights()
    if not isinstance(about, dict):
        return AboutWeights()
    return AboutWeights(_texts(about.get("slides")), _texts(about.get("files")))


def _texts(value: Any) -> tuple[str, ...]:
    """Take a list for texts; a file may say anything."""
    return tuple(map(str, value)) if isinstance(value, list) else ()
