"""What ``hypergene pretrain`` leaves in the weights of an encoder, for whoever starts from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def about_weights(path: Path) -> dict[str, Any]:
    """Read what hypergene wrote beside the weights in a safetensors file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        ``version``, ``slides`` (names), ``files`` (fingerprints) that the encoder learnt from, how
        and how long; empty for weights of others, and for a file that cannot be read: whoever reads
        the weights themselves says what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("hypergene", "{}"))
    except (OSError, SafetensorError, ValueError, TypeError):
        return {}
    return about if isinstance(about, dict) else {}
