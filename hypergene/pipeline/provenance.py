"""What a result says about how it was made, kept in ``uns["hypergene"]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypergene import __version__
from hypergene.slide import Mpp
from hypergene.spots import Layout


def provenance(
    *,
    slide: Path,
    mpp: Mpp,
    layout: Layout,
    tissue: str,
    arguments: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Return the record every output of hypergene carries, in plain values.

    Parameters
    ----------
    slide
        The slide file.
    mpp
        Microns per pixel of level 0, with its source.
    layout
        The spots' layout.
    tissue
        Where the tissue mask came from.
    arguments
        The options of the run. None is left out, since AnnData stores differ in whether they know
        it; paths become text, tuples arrays.
    seconds
        Wall time by stage, in seconds.
    """
    return {
        "version": __version__,
        "slide": slide.name,
        "mpp": asdict(mpp),
        "layout": asdict(layout),
        "tissue": tissue,
        "arguments": {name: _plain(v) for name, v in arguments.items() if v is not None},
        "seconds": {stage: float(value) for stage, value in seconds.items()},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return text_array(value) if any(isinstance(v, str) for v in value) else np.array(value)
    return value


def text_array(texts: Sequence[str]) -> NDArray[np.str_]:
    """Return texts as an array, which stays one of text even if empty when written and read."""
    return np.array(texts, dtype=np.str_)
